"""Overlaps taken apart: only after a passed test, only the overlaps, and the sum stays the mix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align.separate.apply import Separating
from corpus.align.separate.asteroid import asteroid_separator
from corpus.align.separate.overlaps import near
from corpus.align.separate.self_test import si_sdr_db
from corpus.align.separate.separator import Separate, Separator
from corpus.align.separate.share_out import shared_out
from corpus.align.voices import split_voices
from corpus.schemas.activity import OVERLAP, SEPARATED, SPEECH, UNRELIABLE
from corpus.schemas.artifacts import Segment, Voices
from corpus.schemas.drops import Drop
from corpus.schemas.pcm import Pcm, VoicePcm
from corpus.schemas.span import Span, union
from tests.align.separate.made_talk import LIVELY, RATE, MadeTalk, made_talk, words_of
from tests.align.separate.networks import by_filter, by_nothing, filter_checkpoint, of


@pytest.fixture
def talk(tmp_path: Path) -> MadeTalk:
    return made_talk(tmp_path / "decode", LIVELY)


def split(
    talk: MadeTalk, out: Path, separator: Separator | None, *, words: bool = True
) -> tuple[Voices, np.ndarray, np.ndarray, list[Drop]]:
    """Voices, sound [channels, samples], flags [channels, frames], drops."""
    out.mkdir()
    given = Separating(separator, words_of if words else None, "made") if separator else None
    voices, drops = split_voices(talk.decoded, talk.folder, talk.turns, ["A", "B"], out, given)
    pcm = VoicePcm(voices, out, talk.folder)
    sound = np.stack([pcm.read(channel, 0, pcm.stop_sample) for channel in range(3)])
    mix = Pcm(talk.folder, 1, talk.decoded.segments, RATE).mix(0, pcm.stop_sample)
    assert np.array_equal(sound.sum(axis=0, dtype=np.int32), mix)
    return voices, sound, np.load(out / "activity.npy").reshape(3, -1), drops


def test_a_right_separator_is_accepted_and_gives_each_speaker_his_sound(
    talk: MadeTalk, tmp_path: Path
) -> None:
    voices, sound, flags, drops = split(talk, tmp_path / "voices", of(by_filter))
    separation = voices.separation
    assert separation is not None and separation.accepted and not drops
    assert separation.si_sdri_db is not None and separation.si_sdri_db > 15
    assert separation.words_found is not None and separation.words_found > 0
    assert separation.words_invented is not None and separation.words_invented <= 0
    for channel, name in enumerate("AB"):
        # the filter cuts what a word's edge spreads beyond its band: 20 dB is far above that
        assert si_sdr_db(sound[channel].astype(np.float32), talk.truth[name].astype(np.float32)) > 20
    both = np.repeat((flags[0] & OVERLAP) > 0, 400)
    assert np.abs(sound[2][both]).mean() < 0.1 * np.abs(sound[0][both]).mean()
    overlapped = flags[:2][(flags[:2] & OVERLAP) > 0]
    assert len(overlapped) > 200
    assert set(overlapped.tolist()) == {SPEECH | OVERLAP | SEPARATED}
    assert not (flags & UNRELIABLE).any()
    # 1 s, 1 s, .5 s inside a turn, .5 s, .5 s, 1 s
    assert "of 4.5 s in which several talk, 14.1% of the speech, 4.5 s are a separator" in separation.reason


def test_outside_overlaps_nothing_changes(talk: MadeTalk, tmp_path: Path) -> None:
    _, masked, plain_flags, _ = split(talk, tmp_path / "mask", None)
    _, separated, flags, _ = split(talk, tmp_path / "filter", of(by_filter))
    alone = np.repeat((plain_flags[:2] & OVERLAP).max(axis=0) == 0, 400)
    # a frame is flagged from its half on: at an overlap's edges half a frame may differ
    edges = np.convolve(~alone, np.ones(801), mode="same") > 0
    assert np.array_equal(masked[:, ~edges], separated[:, ~edges])
    assert np.array_equal(flags & (SPEECH | OVERLAP), plain_flags & (SPEECH | OVERLAP))


@pytest.mark.parametrize("bad", ["nothing", "noise", "silence", "not_a_number", "one_source"])
def test_a_bad_separator_leaves_the_overlap_in_the_room(talk: MadeTalk, tmp_path: Path, bad: str) -> None:
    broken: dict[str, Separate] = {
        "nothing": by_nothing,
        "noise": lambda sound, n: np.random.default_rng(0).normal(size=(n, len(sound))).astype(np.float32),
        "silence": lambda sound, n: np.zeros((n, len(sound)), np.float32),
        "not_a_number": lambda sound, n: np.full((n, len(sound)), np.nan, np.float32),
        "one_source": lambda sound, n: sound[None],
    }
    _, masked, masked_flags, _ = split(talk, tmp_path / "mask", None)
    voices, sound, flags, drops = split(talk, tmp_path / "bad", of(broken[bad]))
    separation = voices.separation
    assert separation is not None and not separation.accepted
    assert separation.si_sdri_db is not None and separation.si_sdri_db < 8
    assert "in the room and silent in their channels" in separation.reason
    assert [drop.code for drop in drops] == ["separator_not_accepted"]
    assert np.array_equal(sound, masked) and np.array_equal(flags, masked_flags)


def test_purer_voices_without_more_words_are_not_enough(talk: MadeTalk, tmp_path: Path) -> None:
    """A recogniser that always hears the same gains nothing by a separator."""
    (tmp_path / "voices").mkdir()
    deaf = Separating(of(by_filter), lambda sound: ["so"] * 30, "deaf")
    voices, _ = split_voices(talk.decoded, talk.folder, talk.turns, ["A", "B"], tmp_path / "voices", deaf)
    assert voices.separation is not None and not voices.separation.accepted
    assert voices.separation.words_found == 0


def test_without_a_recogniser_nothing_is_accepted(talk: MadeTalk, tmp_path: Path) -> None:
    voices, _, _, _ = split(talk, tmp_path / "voices", of(by_filter), words=False)
    assert voices.separation is not None and not voices.separation.accepted
    assert "transcribe.backend" in voices.separation.reason


def test_too_little_speech_alone_is_no_test(tmp_path: Path) -> None:
    short = made_talk(tmp_path / "decode", [("A", 0.5, 20), ("B", 4.5, 60)])
    voices, _, _, drops = split(short, tmp_path / "voices", of(by_filter))
    assert voices.separation is not None and not voices.separation.accepted
    assert "too little" in voices.separation.reason and voices.separation.si_sdri_db is None
    assert len(drops) == 1


def test_a_third_speaker_who_was_not_tested_stays_in_the_room(talk: MadeTalk, tmp_path: Path) -> None:
    guest = replace(talk.turns[0], speaker="C", start_us=21_000_000, stop_us=21_400_000)
    (tmp_path / "voices").mkdir()
    given = Separating(of(by_filter), words_of, "made")
    voices, _ = split_voices(
        talk.decoded, talk.folder, [*talk.turns, guest], ["A", "B", "C"], tmp_path / "voices", given
    )
    flags = np.load(tmp_path / "voices" / "activity.npy").reshape(4, -1)
    assert voices.separation is not None and voices.separation.accepted
    assert (flags[2] & SEPARATED).sum() == 0
    assert (flags[2, 21 * 40 : 21 * 40 + 16] & UNRELIABLE).all()
    assert (flags[:2] & SEPARATED).any()


def test_a_checkpoint_in_asteroids_form_does_the_same(talk: MadeTalk, tmp_path: Path) -> None:
    filter_checkpoint(tmp_path / "bands.pth", swapped=True)
    voices, sound, _, _ = split(talk, tmp_path / "voices", asteroid_separator(tmp_path / "bands.pth", "cpu"))
    assert voices.separation is not None and voices.separation.accepted
    assert voices.separation.separator.startswith("asteroid/1 ConvTasNet ")
    for channel, name in enumerate("AB"):
        assert si_sdr_db(sound[channel].astype(np.float32), talk.truth[name].astype(np.float32)) > 15


def test_an_overlap_shorter_than_a_sample_stays_where_it_is(talk: MadeTalk, tmp_path: Path) -> None:
    end_us = talk.decoded.duration_us
    turns = [
        *talk.turns,
        *(replace(talk.turns[0], speaker=name, start_us=end_us - 10, stop_us=end_us + 500) for name in "AB"),
        replace(talk.turns[0], speaker="B", start_us=100, stop_us=600_001),
    ]
    (tmp_path / "voices").mkdir()
    given = Separating(of(by_filter), words_of, "made")
    voices, _ = split_voices(talk.decoded, talk.folder, turns, ["A", "B"], tmp_path / "voices", given)
    before, after = (
        Pcm(talk.folder, 1, talk.decoded.segments, RATE),
        VoicePcm(voices, tmp_path / "voices", talk.folder),
    )
    assert voices.form == "channels"
    assert np.array_equal(after.mix(0, before.stop_sample), before.mix(0, before.stop_sample))


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 400), st.integers(1, 60)), max_size=12),
    st.integers(0, 400),
    st.integers(1, 60),
)
def test_near_finds_what_a_search_of_all_finds(
    turns: list[tuple[str, int, int]], start: int, length: int
) -> None:
    spans = union(Span(first, first + long) for _, first, long in turns)
    around = Span(start, start + length)
    assert list(near(spans, around)) == [span for span in spans if span.overlaps(around)]


def test_the_same_bytes_again(talk: MadeTalk, tmp_path: Path) -> None:
    for name in ("one", "two"):
        split(talk, tmp_path / name, of(by_filter))
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_holes_and_a_higher_rate(tmp_path: Path) -> None:
    """24 kHz, and an overlap that a hole in the recording cuts."""
    made = made_talk(tmp_path / "decode", LIVELY)
    windows = made.decoded.segments[0].windows
    sound = np.fromfile(tmp_path / "decode" / "channel-0.i16", "<i2")
    np.repeat(sound, 3)[::2].tofile(tmp_path / "decode" / "channel-0.i16")
    cut = replace(
        made.decoded,
        sample_rate_hz=24_000,
        segments=(Segment(first_window=0, windows=29), Segment(first_window=90, windows=windows - 29)),
    )
    moved = [
        replace(turn, start_us=turn.start_us + by, stop_us=turn.stop_us + 12_200_000)
        for turn in made.turns
        for by in [12_200_000 if turn.start_us >= 5_800_000 else 0]
    ]
    (tmp_path / "voices").mkdir()
    given = Separating(of(by_filter), words_of, "made")
    voices, _ = split_voices(cut, made.folder, moved, ["A", "B"], tmp_path / "voices", given)
    before, after = (
        Pcm(made.folder, 1, cut.segments, 24_000),
        VoicePcm(voices, tmp_path / "voices", made.folder),
    )
    assert voices.form == "channels"
    for start, stop in before.blocks(1 << 40):
        assert np.array_equal(after.mix(start, stop), before.mix(start, stop))


@settings(max_examples=200)
@given(st.integers(1, 7), st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 3.0]))
def test_the_sum_is_the_mix_whatever_is_estimated(speakers: int, seed: int, level: float) -> None:
    random = np.random.default_rng(seed)
    mix = random.choice([-32768, 32767, *random.integers(-32768, 32768, 8)], 64).astype(np.int32)
    estimates = (level * random.uniform(-1, 1, (speakers, 64))).astype(np.float32)
    sounds, taken_back = shared_out(mix, estimates)
    assert sounds.dtype == np.int16
    assert np.array_equal(sounds.sum(axis=0, dtype=np.int64), mix)
    wanted = np.clip(np.rint(estimates.astype(np.float64) * 32768), -32768, 32767)
    # nobody's estimate is turned over or made louder, and none is touched without need
    assert (sounds[:-1] * wanted >= 0).all() and (np.abs(sounds[:-1]) <= np.abs(wanted)).all()
    touched = (sounds[:-1] != wanted).any(axis=0)
    room = mix - wanted.sum(axis=0)
    assert np.array_equal(touched, (room < -32768) | (room > 32767))
    assert taken_back == touched.sum()


def test_si_sdr_is_the_librarys() -> None:
    metrics = pytest.importorskip("torchmetrics.functional.audio")
    import torch

    random = np.random.default_rng(2)
    for noise in (0.01, 0.3, 3.0):
        truth = random.normal(size=4000).astype(np.float32)
        found = (0.3 * truth + noise * random.normal(size=4000) + 0.1).astype(np.float32)
        theirs = metrics.scale_invariant_signal_distortion_ratio(
            torch.from_numpy(found), torch.from_numpy(truth), zero_mean=True
        )
        assert si_sdr_db(found, truth) == pytest.approx(float(theirs), abs=1e-3)
