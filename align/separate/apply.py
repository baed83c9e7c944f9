"""Separates the overlaps of a recording, if the self-test shows that this is better than leaving them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.diarize import heard
from corpus.align.separate.estimate import estimate
from corpus.align.separate.mixtures import Mixture, flags, mixtures, solo_pieces
from corpus.align.separate.overlaps import LONGEST_US, Overlap, Talk, alone, near, overlaps, several_talk
from corpus.align.separate.self_test import Tested, WordsOf, self_test
from corpus.align.separate.separator import Separator
from corpus.align.separate.share_out import shared_out
from corpus.schemas.arrays import Float32Array, Int16Array
from corpus.schemas.clock import sample_at
from corpus.schemas.codec import digest
from corpus.schemas.pcm import Pcm
from corpus.schemas.span import Span

_VERSION = "separate/1"


@dataclass(frozen=True, slots=True)
class Separating:
    """A separator and the recogniser that judges it."""

    separator: Separator
    words_of: WordsOf | None
    recogniser: str
    """Identifies the recogniser; empty if there is none."""
    threads: int = 1

    @property
    def key(self) -> str:
        return digest([_VERSION, self.separator.identity, self.recogniser, self.threads])


@dataclass(frozen=True, slots=True)
class Apart:
    """A separated overlap: samples of its speakers and of the room, whose sum is the mix."""

    overlap: Overlap
    sounds: Int16Array
    """[speakers + room, samples]."""
    start: int
    """First sample on the recording's clock."""
    taken_back_samples: int


@dataclass(frozen=True, slots=True)
class Judged:
    """The result of the self-test, and the tested speakers."""

    tested: Tested
    speakers: frozenset[str]


def judge(separating: Separating, pcm: Pcm, talk: Talk, written: Sequence[Span]) -> Judged:
    """Try the separator on the recording's own speech."""
    import torch

    torch.set_num_threads(separating.threads)
    pieces = solo_pieces(talk, written)
    tests: list[Mixture] = []
    if len(pieces) > 1:
        tests = mixtures(talk, pieces, functools.partial(_sound_of, pcm))
    return Judged(self_test(separating.separator.load, tests, separating.words_of), frozenset(pieces))


def taken_apart(
    separating: Separating, pcm: Pcm, talk: Talk, written: Sequence[Span], judged: Judged
) -> Iterator[Apart]:
    """Separated overlaps between tested speakers, by time, if the sources can be assigned to speakers."""
    separate = separating.separator.load()
    both = several_talk(talk)
    solo = {name: alone(talk, name) for name in talk}
    for overlap in overlaps(talk, written):
        if len(overlap.speakers) > separating.separator.most_speakers:
            continue
        if not judged.speakers.issuperset(overlap.speakers) or overlap.span.duration_us > LONGEST_US:
            continue
        start, stop = (
            sample_at(t, pcm.sample_rate_hz) for t in (overlap.span.start_us, overlap.span.stop_us)
        )
        if start == stop:
            continue
        sound = _sound_of(pcm, overlap.heard)
        here = functools.partial(flags, heard=overlap.heard, samples=len(sound))
        own = np.stack([here(near(solo[name], overlap.heard)) for name in overlap.speakers])
        voices = estimate(separate, sound, own, here(near(both, overlap.heard)))
        if voices is not None:
            yield _apart(pcm, overlap, voices)


def _sound_of(pcm: Pcm, span: Span) -> Float32Array:
    """The mix at the networks' rate."""
    return heard(pcm, *(sample_at(time_us, pcm.sample_rate_hz) for time_us in (span.start_us, span.stop_us)))


def _apart(pcm: Pcm, overlap: Overlap, found: Float32Array) -> Apart:
    rate = pcm.sample_rate_hz
    zero, start, stop = (
        sample_at(time_us, rate)
        for time_us in (overlap.heard.start_us, overlap.span.start_us, overlap.span.stop_us)
    )
    at_rate = _from_model_rate(found, rate)[:, start - zero : stop - zero]
    short = stop - start - at_rate.shape[1]
    sounds, taken_back = shared_out(pcm.mix(start, stop), np.pad(at_rate, ((0, 0), (0, max(0, short)))))
    return Apart(overlap, sounds, start, taken_back)


def _from_model_rate(found: Float32Array, rate_hz: int) -> Float32Array:
    if rate_hz == MODEL_RATE_HZ:
        return found
    import torch
    from torchaudio.functional import resample

    resampled: Float32Array = resample(torch.from_numpy(found), MODEL_RATE_HZ, rate_hz).numpy()
    return resampled
