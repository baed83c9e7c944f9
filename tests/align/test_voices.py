"""Channels: their sum is the mix, sample for sample; flags say what each 25 ms frame holds."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.voices import split_voices
from corpus.schemas.activity import OVERLAP, PADDED, SPEECH, UNRELIABLE
from corpus.schemas.artifacts import ChannelSpan, Decoded, Segment, Voices
from corpus.schemas.clip import Separation
from corpus.schemas.codec import from_json
from corpus.schemas.conversation import Turn
from corpus.schemas.errors import CorpusError
from corpus.schemas.pcm import Pcm, VoicePcm

RATE = 16_000
WINDOW = 3_200
FRAME_US = 25_000


def decoded(
    folder: Path,
    segments: tuple[Segment, ...],
    channels: tuple[str | None, ...] = (None,),
    rate_hz: int = RATE,
    padded: tuple[ChannelSpan, ...] = (),
    saturated: tuple[ChannelSpan, ...] = (),
) -> Decoded:
    """A decode folder with noise in every channel, loud enough to reach the ends of int16."""
    folder.mkdir(parents=True)
    windows = sum(segment.windows for segment in segments)
    random = np.random.default_rng(7)
    for number in range(len(channels)):
        samples = random.integers(-32768, 32768, windows * rate_hz // 5, dtype=np.int16)
        samples.astype("<i2").tofile(folder / f"channel-{number}.i16")
    stop = max((segment.first_window + segment.windows for segment in segments), default=0)
    return Decoded(
        duration_us=stop * 200_000,
        sample_rate_hz=rate_hz,
        segments=segments,
        channels=channels,
        streams=(),
        padded=padded,
        saturated=saturated,
    )


def split(
    tmp_path: Path, source: Decoded, turns: list[Turn], speakers: list[str]
) -> tuple[Pcm, Pcm, np.ndarray]:
    out = tmp_path / "voices"
    out.mkdir()
    voices, _ = split_voices(source, tmp_path / "decode", turns, speakers, out)
    assert from_json(Voices, (out / "voices.json").read_text()) == voices
    before = Pcm(tmp_path / "decode", len(source.channels), source.segments, source.sample_rate_hz)
    after = VoicePcm(voices, out, tmp_path / "decode")
    return before, after, np.load(out / "activity.npy")


def turn(speaker: str, start_us: int, stop_us: int) -> Turn:
    return Turn(speaker=speaker, start_us=start_us, stop_us=stop_us)


turn_lists = st.lists(
    st.builds(
        lambda speaker, start, length: turn(speaker, start, start + length),
        st.sampled_from("ABC"),
        st.integers(0, 5_000_000),
        st.integers(1, 2_000_000),
    ),
    max_size=12,
)
segment_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=4).map(
    lambda gaps: tuple(
        Segment(first_window=sum(g + w for g, w in gaps[:i]) + gaps[i][0], windows=gaps[i][1])
        for i in range(len(gaps))
    )
)


@settings(max_examples=80)
@given(turn_lists, segment_lists, st.sampled_from([16000, 24000]))
def test_every_sample_has_one_owner_and_the_sum_is_the_mix(
    tmp_path_factory: pytest.TempPathFactory,
    turns: list[Turn],
    segments: tuple[Segment, ...],
    rate_hz: int,
) -> None:
    folder = tmp_path_factory.mktemp("sum")
    source = decoded(folder / "decode", segments, rate_hz=rate_hz)
    before, after, activity = split(folder, source, turns, ["A", "B", "C"])
    for start, stop in before.blocks(1 << 40):
        assert np.array_equal(after.mix(start, stop), before.mix(start, stop))
        for sample in {start, stop - 1, *range(start, stop, 997)}:
            talking = {
                t.speaker for t in turns if t.start_us * rate_hz <= sample * 10**6 < t.stop_us * rate_hz
            }
            owner = "ABC".index(talking.pop()) if len(talking) == 1 else 3
            found = [int(after.read(channel, sample, sample + 1)[0]) for channel in range(4)]
            assert found[owner] == int(before.read(0, sample, sample + 1)[0])
            assert [value for channel, value in enumerate(found) if channel != owner] == [0, 0, 0]
    assert activity.shape == (4, source.windows, 8)
    assert np.array_equal(activity, slow_activity(source, turns))


def slow_activity(source: Decoded, turns: list[Turn]) -> np.ndarray:
    """The definition of the flags, microsecond by microsecond: without an index, without vectors."""
    flags = np.zeros((4, source.windows, 8), np.uint8)
    windows = [s.first_window + i for s in source.segments for i in range(s.windows)]
    for row, window in enumerate(windows):
        for frame in range(8):
            low = window * 200_000 + frame * FRAME_US
            edges = {low, low + FRAME_US}
            edges |= {e for t in turns for e in (t.start_us, t.stop_us) if low < e < low + FRAME_US}
            covered, doubtful = [0, 0, 0], set()
            points = sorted(edges)
            for start, stop in pairwise(points):
                talking = {"ABC".index(t.speaker) for t in turns if t.start_us <= start < t.stop_us}
                for place in talking:
                    covered[place] += stop - start
                if len(talking) > 1:
                    doubtful |= talking | {3}
            speech = [2 * us >= FRAME_US for us in covered]
            for place in range(3):
                if speech[place]:
                    flags[place, row, frame] |= SPEECH | (OVERLAP if sum(speech) > 1 else 0)
            for place in doubtful:
                flags[place, row, frame] |= UNRELIABLE
    return flags


def test_own_channels_stay_whole_and_the_room_is_silent(tmp_path: Path) -> None:
    source = decoded(tmp_path / "decode", (Segment(first_window=0, windows=10),), ("B", "A"))
    turns = [turn("A", 0, 1_000_000), turn("B", 500_000, 1_500_000)]
    before, after, activity = split(tmp_path, source, turns, ["A", "B", "quiet"])
    assert np.array_equal(after.read(0, 0, 32_000), before.read(1, 0, 32_000))
    assert np.array_equal(after.read(1, 0, 32_000), before.read(0, 0, 32_000))
    assert not after.read(2, 0, 32_000).any() and not after.read(3, 0, 32_000).any()
    assert np.array_equal(after.mix(0, 32_000), before.mix(0, 32_000))
    flat = activity.reshape(4, -1)
    assert list(flat[0, [0, 19, 20, 39, 40]]) == [
        SPEECH,
        SPEECH,
        SPEECH | OVERLAP,
        SPEECH | OVERLAP,
        0,
    ]
    assert not (flat & UNRELIABLE).any()


def test_padding_and_saturation_are_flagged_on_the_channels_they_concern(tmp_path: Path) -> None:
    source = decoded(
        tmp_path / "decode",
        (Segment(first_window=5, windows=5),),
        ("A", "B"),
        padded=(ChannelSpan(channel=0, start_us=1_024_999, stop_us=1_025_001),),
        saturated=(ChannelSpan(channel=1, start_us=1_200_000, stop_us=1_400_000),),
    )
    _, _, activity = split(tmp_path, source, [], ["A", "B"])
    flat = activity.reshape(3, -1)
    assert list(np.flatnonzero(flat[0] & PADDED)) == [0, 1]
    assert list(np.flatnonzero(flat[1] & UNRELIABLE)) == list(range(8, 16))
    assert not flat[2].any()


def test_a_mix_that_saturates_is_unreliable_in_every_channel(tmp_path: Path) -> None:
    source = decoded(
        tmp_path / "decode",
        (Segment(first_window=0, windows=2),),
        padded=(ChannelSpan(channel=0, start_us=200_000, stop_us=400_000),),
        saturated=(ChannelSpan(channel=0, start_us=0, stop_us=200_000),),
    )
    _, _, activity = split(tmp_path, source, [], ["A"])
    assert (activity[:, 0] == UNRELIABLE).all()
    assert (activity[:, 1] == PADDED).all()


def test_a_recording_without_sound_is_padded_throughout(tmp_path: Path) -> None:
    source = decoded(tmp_path / "decode", (Segment(first_window=0, windows=2),), ())
    _, after, activity = split(tmp_path, source, [], [])
    assert not after.mix(0, 6400).any()
    assert (activity == PADDED).all()


def test_a_speaker_nobody_listed_is_an_error(tmp_path: Path) -> None:
    source = decoded(tmp_path / "decode", (Segment(first_window=0, windows=1),))
    with pytest.raises(CorpusError, match="'Z' talks"):
        split_voices(source, tmp_path / "decode", [turn("Z", 0, 1)], ["A"], tmp_path)
    own = decoded(tmp_path / "own", (Segment(first_window=0, windows=1),), ("A", "Z"))
    with pytest.raises(CorpusError, match="channel 1 belongs to 'Z'"):
        split_voices(own, tmp_path / "own", [], ["A"], tmp_path)


def test_turns_where_no_window_is_written_are_reported(tmp_path: Path) -> None:
    source = decoded(tmp_path / "decode", (Segment(first_window=0, windows=1),))
    out = tmp_path / "voices"
    out.mkdir()
    turns = [turn("A", 0, 300_000), turn("A", 250_000, 300_000)]
    _, (drop,) = split_voices(source, tmp_path / "decode", turns, ["A"], out)
    assert (drop.code, drop.kind, drop.count, drop.start_us) == ("turn_outside_windows", "trim", 1, 250_000)


def separation_of(
    folder: Path, turns: list[Turn], speakers: list[str], channels: tuple[str | None, ...]
) -> Separation | None:
    source = decoded(folder / "decode", (Segment(first_window=0, windows=10),), channels)
    (folder / "voices").mkdir()
    voices, _ = split_voices(source, folder / "decode", turns, speakers, folder / "voices")
    return voices.separation


def test_what_lies_in_the_room_is_told_with_its_share(tmp_path: Path) -> None:
    """A talks 1.0 s, B 0.5 s, 0.25 s of it together: 0.25 of 1.25 s."""
    turns = [turn("A", 0, 1_000_000), turn("B", 750_000, 1_250_000)]
    told = separation_of(tmp_path, turns, ["A", "B"], (None,))
    assert told is not None and not told.accepted and told.separator == "mask/1"
    assert "0.2 s in which several talk, 20.0% of the speech" in told.reason


def test_nothing_is_told_without_overlap_or_with_channels_of_their_own(tmp_path: Path) -> None:
    apart = [turn("A", 0, 1_000_000), turn("B", 1_000_000, 1_250_000)]
    over = [turn("A", 0, 1_000_000), turn("B", 500_000, 1_250_000)]
    for name in ("alone", "own"):
        (tmp_path / name).mkdir()
    assert separation_of(tmp_path / "alone", apart, ["A", "B"], (None,)) is None
    assert separation_of(tmp_path / "own", over, ["A", "B"], ("A", "B")) is None
