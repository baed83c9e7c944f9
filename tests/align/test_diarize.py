"""Stretches, linking and naming; the default models against the bar on the sample call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from corpus.align import diarize
from corpus.align.backend import Bounds, Found
from corpus.align.diarize import Stretch, in_order_of_speech, open_diarizer, split, together, without_flicker
from corpus.align.linking import Voice, link
from corpus.schemas.artifacts import Segment
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import MissingModelError, SettingsError
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import DiarizeSettings

RATE = 16_000
SECOND = 1_000_000


def silent(folder: Path, segments: list[tuple[int, int]]) -> Pcm:
    """A recording of zeros, as a file with a hole: nothing is written."""
    windows = sum(count for _, count in segments)
    with (folder / "channel-0.i16").open("wb") as file:
        file.truncate(windows * 3200 * 2)
    found = [Segment(first_window=first, windows=count) for first, count in segments]
    return Pcm(folder, 1, found, RATE)


def test_stretches_cover_every_sample_once_and_are_bounded(tmp_path: Path) -> None:
    pcm = silent(tmp_path, [(0, 15_001), (20_000, 3), (30_000, 4_000)])
    stretches = list(split(pcm))
    covered = [(s.start, s.stop) for s in stretches]
    joined = [covered[0]]
    for start, stop in covered[1:]:
        if start == joined[-1][1]:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    assert joined == [(0, 15_001 * 3200), (20_000 * 3200, 20_003 * 3200), (30_000 * 3200, 34_000 * 3200)]
    for stretch in stretches:
        assert stretch.high - stretch.low <= (900 + 20) * RATE
        assert stretch.low <= stretch.start < stretch.stop <= stretch.high
    assert max(s.stop - s.start for s in stretches if s.low != s.start or s.high != s.stop) <= 601 * RATE


def unit(*numbers: float) -> npt.NDArray[np.float64]:
    vector = np.array(numbers)
    return vector / np.linalg.norm(vector)


def test_voices_are_linked_across_stretches() -> None:
    a, b, c = unit(1, 0, 0.1), unit(0, 1, 0.1), unit(0.1, 0, 1)
    voices = [
        Voice(0, "x", a, 9 * SECOND),
        Voice(0, "y", b, 9 * SECOND),
        Voice(1, "x", b, 9 * SECOND),
        Voice(1, "y", unit(1, 0.2, 0.1), 9 * SECOND),
        Voice(2, "x", c, 9 * SECOND),
    ]
    first, second, third, fourth, fifth = link(voices, 0.45)
    assert first == fourth and second == third
    assert len({first, second, fifth}) == 3
    assert len(set(link(voices, 0.45, at_most=2))) == 2
    assert len(set(link(voices[:4], 0.45, at_least=3))) == 3


def test_two_speakers_of_one_stretch_stay_two() -> None:
    same = unit(1, 0)
    assert len(set(link([Voice(0, "x", same, 9 * SECOND), Voice(0, "y", same, 9 * SECOND)], 0.45))) == 2


def test_a_little_voice_may_be_a_piece_of_another_in_its_stretch() -> None:
    """It is like one voice of its stretch and of all others; one that is not like it stays apart."""
    a, like_a, b = unit(1, 0), unit(1, 0.8), unit(0, 1)
    others = [Voice(n, "x", a, 90 * SECOND) for n in (1, 2)]

    def numbers(vector: object, talk_us: int) -> list[int]:
        return link([Voice(0, "x", a, 90 * SECOND), Voice(0, "y", vector, talk_us), *others], 0.45)

    assert len(set(numbers(like_a, 2 * SECOND))) == 1
    assert len(set(numbers(like_a, 4 * SECOND))) == 2
    assert len(set(numbers(b, 2 * SECOND))) == 2


def test_a_voice_that_could_not_be_measured_joins_the_loudest() -> None:
    voices = [
        Voice(0, "x", unit(1, 0), 5 * SECOND),
        Voice(0, "y", unit(0, 1), 9 * SECOND),
        Voice(1, "x", None, 1 * SECOND),
    ]
    numbers = link(voices, 0.45)
    assert numbers[2] == numbers[1]
    assert link([], 0.45) == []
    assert link([Voice(0, "x", None, 1 * SECOND), Voice(1, "x", None, 1 * SECOND)], 0.45) == [0, 0]


def test_a_turn_over_the_seam_is_one_turn() -> None:
    stretches = [
        Stretch(start=0, stop=10 * RATE, low=0, high=12 * RATE),
        Stretch(start=10 * RATE, stop=20 * RATE, low=8 * RATE, high=20 * RATE),
    ]
    a, b = unit(1, 0), unit(0, 1)
    found = [
        Found(((9.0, 12.0, "p"), (1.0, 3.0, "q")), {"p": a, "q": b}),
        # its zero is at 8 s; "q" is now the voice that was "p"
        Found(((0.0, 5.0, "q"), (6.0, 7.0, "p")), {"q": a, "p": b}),
    ]
    assert together(stretches, found, RATE, Bounds(at_most=7), 0.45) == [
        Turn(speaker="S1", start_us=1 * SECOND, stop_us=3 * SECOND),
        Turn(speaker="S2", start_us=9 * SECOND, stop_us=13 * SECOND),
        Turn(speaker="S1", start_us=14 * SECOND, stop_us=15 * SECOND),
    ]


def test_slivers_go_to_the_turn_they_touch() -> None:
    def turn(speaker: str, start_ms: int, stop_ms: int) -> Turn:
        return Turn(speaker=speaker, start_us=start_ms * 1000, stop_us=stop_ms * 1000)

    turns = [turn("a", 0, 17), turn("b", 17, 500), turn("a", 500, 530), turn("a", 900, 920)]
    assert without_flicker(turns) == [turn("b", 0, 530), turn("a", 900, 920)]
    long = [turn("a", 0, 400), turn("b", 400, 900)]
    assert without_flicker(long) == long


def test_speakers_are_named_in_order_of_first_speech() -> None:
    turns = [Turn(speaker=name, start_us=start, stop_us=9) for name, start in (("z", 2), ("a", 3), ("m", 1))]
    assert [turn.speaker for turn in in_order_of_speech(turns)] == ["S1", "S2", "S3"]


def test_a_backend_that_is_not_there_is_told_before_any_work(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    with pytest.raises(MissingModelError, match=r"corpus models pull segmentation-3\.0"):
        open_diarizer(DiarizeSettings(), tmp_path)
    with pytest.raises(MissingModelError, match="corpus models pull some/pipeline"):
        open_diarizer(DiarizeSettings(backend="pyannote:some/pipeline"), tmp_path)
    with pytest.raises(SettingsError, match=r"holds no config\.yaml"):
        open_diarizer(DiarizeSettings(backend=f"pyannote:{tmp_path}"))
    with pytest.raises(SettingsError, match="unknown"):
        open_diarizer(DiarizeSettings(backend="magic"))


@pytest.mark.models
def test_error_on_the_sample_call_is_within_the_bar(sample_pcm: Pcm, sample_error: object) -> None:
    diarizer = open_diarizer(DiarizeSettings())
    turns, drops = diarizer(sample_pcm)
    assert drops == []
    assert callable(sample_error)
    assert sample_error(turns, 1) <= 0.06
    assert {turn.speaker for turn in turns} == {"S1", "S2"}
    assert diarizer(sample_pcm) == (turns, [])


@pytest.mark.models
@pytest.mark.slow
def test_a_long_recording_keeps_its_speakers(
    sample_pcm: Pcm, sample_error: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times the call as one recording in four stretches whose seams fall anywhere."""
    monkeypatch.setattr(diarize, "STRETCH_S", 24)
    monkeypatch.setattr(diarize, "LONGEST_STRETCH_S", 30)
    samples = np.tile(sample_pcm.read(0, 0, sample_pcm.stop_sample), 3)
    samples.astype("<i2").tofile(tmp_path / "channel-0.i16")
    pcm = Pcm(tmp_path, 1, [Segment(first_window=0, windows=450)], RATE)
    assert len(list(split(pcm))) == 4
    turns, _ = open_diarizer(DiarizeSettings())(pcm)
    assert {turn.speaker for turn in turns} == {"S1", "S2"}
    assert callable(sample_error)
    assert sample_error(turns, 3) <= 0.12


@pytest.mark.models
@pytest.mark.slow
def test_no_more_speakers_than_asked_for(sample_pcm: Pcm) -> None:
    turns, _ = open_diarizer(DiarizeSettings(max_speakers=1))(sample_pcm)
    assert {turn.speaker for turn in turns} == {"S1"}


@pytest.mark.models
def test_silence_has_no_turns(tmp_path: Path) -> None:
    try:
        diarizer = open_diarizer(DiarizeSettings())
    except MissingModelError as error:
        pytest.skip(str(error))
    assert diarizer(silent(tmp_path, [(0, 15)])) == ([], [])
