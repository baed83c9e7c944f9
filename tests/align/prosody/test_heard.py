"""What is heard before a moment, and the labels that listen, on made-up voices."""

from __future__ import annotations

import json

import numpy as np

from corpus.align.label import label_cues
from corpus.align.prosody.heard import Heard
from corpus.schemas.conversation import Conversation, Turn, Word
from corpus.schemas.prosody import Prosody, Tracks
from corpus.schemas.settings import CueSettings

WORD_US = 240_000
"""What a short word takes in these voices."""


class Talk:
    """One voice, word by word; pitch and loudness stand where its words are."""

    def __init__(self) -> None:
        self.words: list[Word] = []
        self.turns: list[Turn] = []
        self.pitch = np.zeros(6000, np.int16)
        self.level = np.zeros(6000, np.uint8)
        self.at_us = 0

    def say(self, text: str, *, sounds_us: int = WORD_US, word_us: int = 0, cents: int = 1500) -> None:
        stop_us = self.at_us + max(sounds_us, word_us)
        self.words.append(Word(speaker="A", start_us=self.at_us, stop_us=stop_us, text=text))
        self.turns.append(Turn(speaker="A", start_us=self.at_us, stop_us=stop_us))
        frames = slice(self.at_us // 10_000, (self.at_us + sounds_us) // 10_000)
        self.pitch[frames], self.level[frames] = cents, 200
        self.at_us = stop_us

    def pause(self, length_us: int) -> None:
        self.at_us += length_us

    def conversation(self) -> Conversation:
        return Conversation(
            recording="made up",
            duration_us=60_000_000,
            speakers=("A",),
            turns=tuple(self.turns),
            words=tuple(self.words),
        )

    def tracks(self) -> Tracks:
        return Tracks(Prosody(speakers=("A",), frames=6000), self.pitch[None], self.level[None])


def begun() -> Talk:
    """Twenty ordinary words, from which the voice is known."""
    talk = Talk()
    for number in range(20):
        talk.say(("we", "can", "put", "one", "here")[number % 5])
    return talk


def kinds(talk: Talk) -> list[str]:
    found = label_cues(talk.conversation(), CueSettings(), tracks=talk.tracks())
    return [cue.kind for cue in found if cue.label == "hesitation" and cue.kind != "stall"]


def test_a_word_drawn_out_is_a_prolongation_and_the_pause_behind_it_a_hesitation() -> None:
    talk = begun()
    talk.say("the", sounds_us=700_000)
    talk.pause(400_000)
    talk.say("box")
    assert kinds(talk) == ["prolongation", "silent_pause"]


def test_word_times_that_run_on_into_silence_are_no_prolongation() -> None:
    talk = begun()
    talk.say("the", word_us=700_000)
    talk.pause(400_000)
    talk.say("box")
    assert kinds(talk) == []


def test_a_last_word_drawn_out_and_a_bare_pause_are_no_hesitation() -> None:
    talk = begun()
    talk.say("box", sounds_us=900_000)
    talk.pause(600_000)
    talk.say("there")
    assert kinds(talk) == []


def test_without_sound_a_pause_beside_a_filler_is_found_still() -> None:
    talk = begun()
    talk.say("um")
    talk.pause(400_000)
    talk.say("box")
    found = label_cues(talk.conversation(), CueSettings())
    assert "silent_pause" in {cue.kind for cue in found}
    assert "prolongation" not in {cue.kind for cue in found}


def test_a_pause_says_what_was_heard_before_it_and_what_came() -> None:
    talk = begun()
    for step in range(6):
        talk.say("go", cents=1500 + 100 * step)
    talk.say("the", cents=2100)
    talk.pause(500_000)
    talk.say("town")
    (cue,) = (
        c
        for c in label_cues(talk.conversation(), CueSettings(), tracks=talk.tracks())
        if c.label == "thinking"
    )
    evidence = json.loads(cue.evidence)
    assert evidence["then"] == {"goes_on_after_us": 500_000}
    assert evidence["before"]["word"] == "the"
    assert evidence["before"]["pitch_semitones"] == 6.0
    assert evidence["before"]["pitch_slope_semitones_per_s"] > 0
    assert evidence["before"]["level_db"] == 0.0
    assert 0.8 <= evidence["before"]["last_word_times_usual"] <= 1.5


def test_what_comes_after_a_moment_changes_nothing_of_what_is_heard_before_it() -> None:
    rng = np.random.default_rng(0)
    talk = begun()
    for _ in range(20):
        talk.say("go", cents=int(rng.integers(1200, 2000)))
    until_us = talk.at_us
    short = Heard(talk.tracks(), talk.conversation()).before("A", until_us)
    for _ in range(40):
        talk.say("later", cents=2400, sounds_us=400_000)
    assert Heard(talk.tracks(), talk.conversation()).before("A", until_us) == short
    assert short.keys() >= {"pitch_semitones", "pitch_slope_semitones_per_s", "level_db"}


def test_a_voice_hardly_heard_yet_or_not_at_all_tells_nothing() -> None:
    talk = begun()
    heard = Heard(talk.tracks(), talk.conversation())
    assert heard.before("A", 300_000) == {}
    assert heard.before("B", 5_000_000) == {}
    assert heard.words("B") == ()


def test_switched_off_nothing_is_heard() -> None:
    talk = begun()
    talk.say("the", sounds_us=700_000)
    talk.pause(400_000)
    talk.say("box")
    quiet = label_cues(talk.conversation(), CueSettings(prosody=False), tracks=talk.tracks())
    assert quiet == label_cues(talk.conversation(), CueSettings(prosody=False))
