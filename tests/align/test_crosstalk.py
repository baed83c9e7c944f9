"""Copies of one speaker in another's channel are no turns; clocks that run apart are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from corpus.align import crosstalk, drift
from corpus.align.channels_vad import open_channels_vad
from corpus.schemas.artifacts import Segment
from corpus.schemas.clock import sample_at
from corpus.schemas.conversation import Turn
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings
from corpus.schemas.span import Span, intersect, subtract, union

RATE = 16_000
Sound = npt.NDArray[np.float64]


def pcm_of(folder: Path, *channels: Sound) -> Pcm:
    windows = len(channels[0]) // 3200
    for number, sound in enumerate(channels):
        whole = np.clip(np.rint(sound[: windows * 3200]), -32768, 32767)
        whole.astype("<i2").tofile(folder / f"channel-{number}.i16")
    return Pcm(folder, len(channels), [Segment(first_window=0, windows=windows)], RATE)


def room(sound: Sound, gain_db: float, late_ms: float) -> Sound:
    """What a far microphone hears: late, quieter, with a tail of 60 ms."""
    rng = np.random.default_rng(11)
    tail = rng.standard_normal(int(0.06 * RATE)) * np.exp(-np.arange(int(0.06 * RATE)) / (0.015 * RATE))
    tail[0] = 3.0
    late = np.concatenate([np.zeros(int(late_ms * RATE / 1000)), np.convolve(sound, tail)])[: len(sound)]
    quieter: Sound = late * np.sqrt((sound**2).mean() / (late**2).mean()) * 10 ** (gain_db / 20)
    return quieter


def two_people(sample_pcm: Pcm, turns: list[Turn]) -> tuple[list[Sound], list[list[Span]]]:
    """The call with each speaker's solo speech in a channel of his own, and where that is."""
    call = sample_pcm.read(0, 0, sample_pcm.stop_sample).astype(np.float64)
    spans = {name: union(t.span for t in turns if t.speaker == name) for name in {t.speaker for t in turns}}
    names = sorted(spans)
    rng = np.random.default_rng(3)
    sounds: list[Sound] = []
    alone: list[list[Span]] = []
    for name in names:
        own = subtract(spans[name], [s for other in names if other != name for s in spans[other]])
        sound = rng.standard_normal(len(call)) * 3
        for span in own:
            first, last = sample_at(span.start_us, RATE), sample_at(span.stop_us, RATE)
            sound[first:last] += call[first:last]
        sounds.append(sound)
        alone.append(own)
    return sounds, alone


def duration_us(spans: list[Span]) -> int:
    return sum(span.duration_us for span in spans)


@pytest.mark.parametrize(("gain_db", "late_ms"), [(-20.0, 8.0), (-14.0, 120.0)])
def test_a_quieter_copy_makes_no_turn(
    gain_db: float, late_ms: float, sample_pcm: Pcm, sample_turns: list[Turn], tmp_path: Path
) -> None:
    """Bleed of a room and echo of a call; what is truly said stays, compared with channels without copies."""
    pytest.importorskip("faster_whisper")
    sounds, alone = two_people(sample_pcm, sample_turns)
    for folder in ("clean", "bleeding"):
        (tmp_path / folder).mkdir()
    clean = pcm_of(tmp_path / "clean", *sounds)
    bleeding = pcm_of(
        tmp_path / "bleeding",
        sounds[0] + room(sounds[1], gain_db, late_ms),
        sounds[1] + room(sounds[0], gain_db, late_ms),
    )
    vad = open_channels_vad(DiarizeSettings(), ["A", "B"])
    wanted, none = vad(clean)
    found, drops = vad(bleeding)
    assert none == []
    assert {drop.code for drop in drops} == {"cross_talk"}
    assert all("'s microphone hears the others (" in drop.reason for drop in drops)
    for name, others in (("A", alone[1]), ("B", alone[0])):
        before = union(turn.span for turn in wanted if turn.speaker == name)
        after = union(turn.span for turn in found if turn.speaker == name)
        assert duration_us(intersect(before, after)) >= 0.9 * duration_us(before)
        assert duration_us(intersect(after, others)) <= 0.05 * duration_us(after)
        assert not any(duration_us(intersect([span], others)) > 0.5 * span.duration_us for span in after)


def test_gains_are_those_that_were_mixed_in(
    sample_pcm: Pcm, sample_turns: list[Turn], tmp_path: Path
) -> None:
    sounds, alone = two_people(sample_pcm, sample_turns)
    mixed = (sounds[0] + room(sounds[1], -20, 8), sounds[1] + room(sounds[0], -26, 8))
    levels = crosstalk.smoothed(crosstalk.levels_of(pcm_of(tmp_path, *mixed)))
    talking = np.stack([crosstalk.flags_of(spans, levels.shape[1]) for spans in alone])
    gains = 10 * np.log10(crosstalk.gains(levels, talking) + np.eye(2))
    # a tail spreads a copy over time, so that its level in a step is a few dB below its whole
    assert -26 <= gains[0, 1] <= -18 and -32 <= gains[1, 0] <= -24
    assert not crosstalk.gains(levels, np.zeros_like(talking)).any()


def test_a_channel_that_hears_nobody_keeps_all_it_has() -> None:
    """A monologue without a pause, whose quietest tenth is speech too."""
    levels = np.random.default_rng(2).random((2, 500)) * np.array([[1000.0], [1e-3]])
    talking = np.array([[True] * 500, [False] * 500])
    assert crosstalk.own(levels, np.zeros((2, 2)), talking).all()
    speech = [Span(0, 10_000_000)]
    assert crosstalk.own_spans(speech, np.ones(500, bool)) == speech


def test_levels_are_the_power_of_each_step(tmp_path: Path) -> None:
    sound = np.random.default_rng(1).integers(-3000, 3000, 3200 * 7).astype(np.float64)
    levels = crosstalk.levels_of(pcm_of(tmp_path, sound))
    assert levels.shape == (1, 70)
    assert levels[0, 33] == pytest.approx((sound[33 * 320 : 34 * 320] ** 2).mean())


def talk(seconds: int) -> Sound:
    """Noise that comes and goes as speech does."""
    rng = np.random.default_rng(7)
    slow = np.repeat(rng.random(seconds * 4) > 0.3, RATE // 4)
    made: Sound = rng.standard_normal(seconds * RATE) * 2000 * slow
    return made


@pytest.mark.parametrize("ppm", [50.0, -120.0, 0.0])
def test_a_drift_is_found_within_five_millionths(ppm: float, tmp_path: Path) -> None:
    """The far microphone's clock counts `ppm` too many; its copy is 20 dB below, under its own speaker."""
    source = talk(120)
    times = np.arange(len(source)) / (1 + ppm * 1e-6) - 0.012 * RATE
    copy = np.interp(times, np.arange(len(source)), source, left=0.0, right=0.0)
    rng = np.random.default_rng(5)
    own = rng.standard_normal(len(source)) * 1500 * np.repeat(rng.random(120) > 0.6, RATE)
    target = 0.1 * copy + own + rng.standard_normal(len(source)) * 5
    found = drift.drift(pcm_of(tmp_path, source, target), 0, 1, [Span(0, 120_000_000)])
    assert found is not None
    assert abs(found.ppm - ppm) <= 5
    assert found.lag_us == pytest.approx(12_000, abs=500)


def test_channels_that_share_nothing_have_no_drift(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    pcm = pcm_of(tmp_path, talk(60), rng.standard_normal(60 * RATE) * 1000)
    assert drift.drift(pcm, 0, 1, [Span(0, 60_000_000)]) is None
    assert drift.drift(pcm, 0, 1, []) is None
