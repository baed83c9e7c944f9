"""A speaker's prosody just before a moment, relative to how they talked until then.

Nothing after the moment is used, neither sound nor words: a speaker's usual values come from their own talk
before it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from corpus.align.cues.repair_words import CLASSES, word_class
from corpus.schemas.conversation import Conversation, Word
from corpus.schemas.prosody import HOP_US, Tracks
from corpus.schemas.turn_taking import normal

_ENDING_US = 300_000
"""Pitch and loudness are measured over this last part of the talk."""
_USUAL_FRAMES = 3000
"""A speaker's usual values come from so many frames of talk (30 s); fewer than a tenth are too few."""
_USUAL_WORDS = 100
_FEWEST_WORDS = 10
_QUIET_HALF_DB = 40
"""Frames 20 dB below the usual loudness are not talk (levels are in half decibels)."""
_FEWEST_VOICED = 5
"""Voiced frames needed for a slope."""
_FUNCTION = frozenset(
    ("subject", "contracted", "determiner", "preposition", "auxiliary", "modal", "conjunction")
)
_NAMES = tuple(CLASSES)


@dataclass(frozen=True, slots=True)
class Sounded:
    """A word's audible length, relative to the usual."""

    word: Word
    sounded_us: int
    """From its beginning to its last frame as loud as talk."""
    times_usual: float | None
    """1 if it is as long as expected from the speaker's words before it; None if these are too few."""
    voiced: float
    """Share of its last 200 ms that has a pitch."""


def _usual_us(text: str) -> int:
    """Expected duration of a word by its letters: a rough linear fit to the words of AMI meetings."""
    syllables = len(re.findall("[aeiouy]+", text.rstrip("e") or text))
    short = 75_000 if _NAMES[word_class(text)] in _FUNCTION else 0
    return max(60_000, 105_000 + 53_000 * max(1, syllables) + 25_000 * len(text) - short)


class Heard:
    """The prosody tracks of a conversation's speakers, queried for a time."""

    def __init__(self, tracks: Tracks, conversation: Conversation) -> None:
        rows = {name: row for row, name in enumerate(tracks.head.speakers)}
        words: dict[str, list[Word]] = {name: [] for name in rows}
        for word in conversation.words:
            if word.start_us is not None and word.speaker in rows:
                words[word.speaker].append(word)
        self._voices = {name: _Voice(tracks, row, words[name]) for name, row in rows.items()}

    def before(self, speaker: str, time_us: int) -> dict[str, float]:
        """Pitch, its slope, loudness and lengthening at the end of the speaker's talk up to the time.

        Unknown values are left out: a voice without pitch, a speaker who has hardly talked yet.
        """
        voice = self._voices.get(speaker)
        return voice.before(time_us) if voice else {}

    def words(self, speaker: str) -> Sequence[Sounded]:
        """The speaker's timed words in order."""
        voice = self._voices.get(speaker)
        return voice.words if voice else ()


class _Voice:
    def __init__(self, tracks: Tracks, row: int, words: list[Word]) -> None:
        self._pitch, self._level = tracks.pitch[row], tracks.level[row]
        self._loud = np.flatnonzero(self._level > 0)
        self._voiced = np.flatnonzero(self._pitch)
        words.sort(key=lambda w: (w.start_us or 0, w.stop_us or 0, w.text))
        self.words = self._sounded(words)
        self._stops_us = [word.word.stop_us or 0 for word in self.words]

    def before(self, time_us: int) -> dict[str, float]:
        stop = min(len(self._level), time_us // HOP_US)
        values: dict[str, float] = {}
        usual = self._usual_level(stop)
        if usual is not None:
            # The talk's end is its last frame that is loud enough, wherever the given time lies behind it.
            near = self._level[max(0, stop - 100) : stop] >= usual - _QUIET_HALF_DB
            if near.any():
                stop -= int(np.argmax(near[::-1]))
                first = max(0, stop - _ENDING_US // HOP_US)
                values["level_db"] = round(float(self._level[first:stop].mean() - usual) / 2, 1)
                values.update(self._melody(first, stop, usual))
        place = bisect_right(self._stops_us, time_us) - 1
        if place >= 0 and (times := self.words[place].times_usual) is not None:
            values["last_word_times_usual"] = times
        return values

    def _melody(self, first: int, stop: int, usual_level: float) -> dict[str, float]:
        """Pitch against the usual, in semitones, and how fast it rises."""
        known = self._voiced[: int(np.searchsorted(self._voiced, first))][-_USUAL_FRAMES:]
        known = known[self._level[known] >= usual_level - _QUIET_HALF_DB]
        ending = self._pitch[first:stop]
        at = np.flatnonzero(ending)
        if len(known) * 10 < _USUAL_FRAMES or len(at) < _FEWEST_VOICED:
            return {}
        cents = ending[at].astype(np.float64)
        usual = float(np.median(self._pitch[known]))
        values = {"pitch_semitones": round((float(np.median(cents)) - usual) / 100, 1)}
        since_s = (at - at.mean()) * (HOP_US / 1e6)
        # Least squares slope over the voiced frames.
        rise = float((since_s * (cents - cents.mean())).sum() / (since_s * since_s).sum())
        return {**values, "pitch_slope_semitones_per_s": round(rise / 100, 1)}

    def _usual_level(self, stop: int) -> float | None:
        known = self._loud[: int(np.searchsorted(self._loud, stop))][-_USUAL_FRAMES:]
        if len(known) * 10 < _USUAL_FRAMES:
            return None
        # Half of the frames with any sound in them are louder than pauses and breath between words.
        return float(np.percentile(self._level[known], 75))

    def _sounded(self, words: Sequence[Word]) -> list[Sounded]:
        sounded: list[Sounded] = []
        ratios: list[float] = []
        for word in words:
            start, stop = (word.start_us or 0) // HOP_US, -(-(word.stop_us or 0) // HOP_US)
            usual = self._usual_level(start)
            talk = self._level[start:stop] >= (1 if usual is None else usual - _QUIET_HALF_DB)
            frames = int(len(talk) - np.argmax(talk[::-1])) if talk.any() else 0
            # Normalised by the expected duration, so that long and short words can be compared.
            ratio = frames * HOP_US / _usual_us(normal(word.text))
            known = ratios[-_USUAL_WORDS:]
            times = None
            if len(known) >= _FEWEST_WORDS and frames:
                times = round(ratio / float(np.median(known)), 2)
            if frames:
                ratios.append(ratio)
            last = self._pitch[max(start, start + frames - 20) : start + frames]
            voiced = float(np.count_nonzero(last)) / len(last) if len(last) else 0.0
            sounded.append(Sounded(word, frames * HOP_US, times, round(voiced, 2)))
        return sounded
