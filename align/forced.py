"""Word times by forced alignment of the recognised words, with PocketSphinx's English model.

A sequence model's own word times come from its attention, and are off by tenths of a second where people
pause or overlap. An acoustic model that is given the words finds their edges within some 20 ms, or loses the
sentence altogether; so its times are only accepted near the recogniser's.

    recogniser   |--so--|-I--|----think------|         |-yes-|     groups: no gap over `GROUP_GAP_US` inside
    sound given |~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~|   |~~~~~~~~~~|   with `MARGIN_US` on either side
    aligned      |-so-|I|-think-|                     |yes|        or None, and the recogniser's time stays
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from corpus.align.heard import Heard
from corpus.align.models import HINT
from corpus.align.pronounce import phones_of, spoken_parts
from corpus.schemas.errors import MissingDependencyError
from corpus.schemas.span import Span

VERSION = "forced/1"
RATE_HZ = 16_000
FRAME_US = 10_000
GROUP_GAP_US = 500_000
"""Words closer than this are aligned together."""
LONGEST_GROUP_US = 12_000_000
MARGIN_US = 250_000
"""Sound before and after a group that is also given, as the recogniser's first and last times may be off."""
BELIEVED_US = 600_000
"""A start further from the recogniser's is rejected."""
BEAMS = {"beam": 0.0, "pbeam": 0.0, "wbeam": 0.0}
"""No pruning: aligning known words costs little, and with beams real sentences get lost."""
LONGEST_WORD_US = 1_500_000
"""An aligned word that lasts longer has swallowed a pause."""
LONGEST_TEXT = 60
"""Characters of one word; a longer one is not a word."""
LANGUAGE = "en"

Sound = npt.NDArray[np.float32]
Read = Callable[[int, int], Sound]
"""The sound between two times in microseconds, at `RATE_HZ`."""


class Aligner(Protocol):
    """Finds word times in the sound."""

    language: str
    """The only language it knows."""
    key: str
    """Identifies its model and how it is used."""

    def __call__(self, words: Sequence[Heard], read: Read) -> list[Heard]:
        """The words, by time, each either `aligned` or with its given time."""
        ...


def open_aligner() -> Aligner:
    """The bundled aligner.

    Raises:
        MissingDependencyError: pocketsphinx, which holds the model, is not installed.
    """
    if importlib.util.find_spec("pocketsphinx") is None:
        raise MissingDependencyError("pocketsphinx is not installed", todo=HINT)
    return PocketSphinx()


class PocketSphinx:
    """English only; other languages have no words in its dictionary."""

    language = LANGUAGE

    def __init__(self) -> None:
        self.key = f"{VERSION} pocketsphinx={version('pocketsphinx')}"

    def __call__(self, words: Sequence[Heard], read: Read) -> list[Heard]:
        decoder = _decoder()
        aligned = list(words)
        parts = [spoken_parts(word.written) if len(word.written) <= LONGEST_TEXT else [] for word in words]
        for first, last, span in groups(words, [bool(some) for some in parts]):
            edges = _edges(decoder, [part for some in parts[first:last] for part in some], read, span)
            group = _placed(words[first:last], parts[first:last], edges)
            aligned[first:last] = in_order(group, words[first:last])
        return aligned


def _decoder() -> Any:
    """A fresh decoder: what one adapts to in a recording must not move another's times."""
    from pocketsphinx import Decoder

    # lm=None: the language model is 27 MB and not needed to align
    return Decoder(samprate=RATE_HZ, lm=None, bestpath=False, loglevel="FATAL", cmn="batch", **BEAMS)


def _edges(decoder: Any, spoken: Sequence[str], read: Read, sound: Span) -> list[Span]:
    """A span for each part; an empty list if the alignment fails."""
    for part in dict.fromkeys(spoken):
        if decoder.lookup_word(part) is None:
            decoder.add_word(part, phones_of(part), True)
    try:
        decoder.set_align_text(" ".join(spoken))
        decoder.start_utt()
        decoder.process_raw(_int16(read(sound.start_us, sound.stop_us)).tobytes(), full_utt=True)
        decoder.end_utt()
        segments = [segment for segment in decoder.seg() or () if segment.word[0] not in "<[+"]
    except RuntimeError:
        return []
    # "(2)" marks a variant pronunciation; any other difference means that words were skipped.
    if [segment.word.partition("(")[0] for segment in segments] != list(spoken):
        return []
    return [
        Span(s.start_frame * FRAME_US, (s.end_frame + 1) * FRAME_US).shift(sound.start_us) for s in segments
    ]


def _placed(words: Sequence[Heard], parts: Sequence[Sequence[str]], edges: Sequence[Span]) -> list[Heard]:
    """The words at the edges of their parts, where these are accepted."""
    placed: list[Heard] = []
    done = 0
    for word, own in zip(words, parts, strict=True):
        inside = edges[done : done + len(own)]
        done += len(own)
        span = Span(inside[0].start_us, inside[-1].stop_us) if inside else None
        sure = span is not None and believed(word.span, span)
        placed.append(replace(word, span=span, aligned=True) if span is not None and sure else word)
    return placed


def in_order(placed: Sequence[Heard], given: Sequence[Heard]) -> list[Heard]:
    """The placed words, except those that cross a neighbour that was not placed: these stay as given."""
    kept = list(placed)
    # Taking one back may make it cross its other neighbour: repeat until none does.
    while crossing := [
        place + (1 if after.aligned else 0)
        for place, (before, after) in enumerate(pairwise(kept))
        if before.aligned != after.aligned and before.span.stop_us > after.span.start_us
    ]:
        for place in crossing:
            kept[place] = given[place]
    return kept


def _int16(sound: Sound) -> npt.NDArray[np.int16]:
    pcm: npt.NDArray[np.int16] = np.clip(np.rint(sound * 32768.0), -32768, 32767).astype("<i2")
    return pcm


def groups(words: Sequence[Heard], speakable: Sequence[bool]) -> Iterator[tuple[int, int, Span]]:
    """(first word, one past the last, the sound to align them in).

    They end at pauses, when they grow long, and at unpronounceable words, which are in no group.
    """
    first = 0
    while first < len(words):
        if not speakable[first]:
            first += 1
            continue
        last = first + 1
        while last < len(words) and speakable[last] and _goes_on(words, first, last):
            last += 1
        yield first, last, _sound_of(words, first, last)
        first = last


def _sound_of(words: Sequence[Heard], first: int, last: int) -> Span:
    """From the group's first word to its last with a margin, except what is nearer to a neighbour."""
    start_us = words[first].span.start_us
    stop_us = max(word.span.stop_us for word in words[first:last])
    before_us = words[first - 1].span.stop_us if first else 0
    low_us = max(start_us - MARGIN_US, min(start_us, (before_us + start_us) // 2), 0)
    high_us = stop_us + MARGIN_US
    if last < len(words):
        high_us = min(high_us, max(stop_us, (stop_us + words[last].span.start_us) // 2))
    return Span(low_us, high_us)


def _goes_on(words: Sequence[Heard], first: int, place: int) -> bool:
    gap_us = words[place].span.start_us - words[place - 1].span.stop_us
    length_us = words[place].span.stop_us - words[first].span.start_us
    return gap_us < GROUP_GAP_US and length_us <= LONGEST_GROUP_US


def believed(recognised: Span, aligned: Span) -> bool:
    """Whether the two agree; if the recogniser's word is absurdly long, the aligned one need only lie in
    it."""
    near = abs(aligned.start_us - recognised.start_us) <= BELIEVED_US
    inside = recognised.duration_us > LONGEST_WORD_US and recognised & aligned == aligned
    return (near or inside) and 0 < aligned.duration_us <= LONGEST_WORD_US
