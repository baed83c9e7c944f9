"""Silence that only says who speaks is heard as the room, and tells nothing."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.schemas.activity import SPEECH
from corpus.schemas.clock import FRAME_US, WINDOW_US
from corpus.shards.mel import mel_bytes, mel_shape
from corpus.shards.read import Clips, open_clips
from corpus.trainer.config import DataConfig
from corpus.trainer.data.hearing import heard_alone
from corpus.trainer.data.room import QUIET, silent_frames, silent_mels
from corpus.trainer.data.views import View, heard, plan_view
from corpus.trainer.presets import MODELS
from corpus.trainer.session.talk_user import user_of

MODEL = MODELS["tiny"]
DATA = DataConfig(pictures=False)
WINDOWS = 60
TURNS = (
    (0, 1_410_000, 3_030_000),
    (1, 3_630_000, 5_210_000),
    (0, 5_210_000, 6_200_000),
    (0, 7_000_000, 11_111_000),
)
"""Speaker, start and stop; the second yields to the first without a pause."""
ROOM = 60
"""How loud the room is: standard deviation."""


def one_microphone(rules: ModuleType, name: str = "room", room: int = ROOM, *, cut: int = WINDOWS) -> object:
    """Each sample belongs to the only talker or the room; from window `cut` on nobody speaks."""
    draft = rules.Draft(name=name, windows=WINDOWS, speakers=("Ann", "Bo"))
    rng = np.random.default_rng(7)
    draft.sound[2] = (room * rng.standard_normal(draft.sound.shape[1])).astype(np.int16)
    for who, start_us, stop_us in TURNS:
        stop_us = min(stop_us, cut * WINDOW_US)
        first, last = (time_us * 16 // 1000 for time_us in (start_us, stop_us))
        if first >= last:
            continue
        draft.sound[who, first:last] = (2000 * rng.standard_normal(last - first)).astype(np.int16)
        draft.sound[2, first:last] = 0
        draft.speak(who, start_us, stop_us)
        frames = draft.flags[who].reshape(-1)  # as align/activity.py: at least half of a frame
        edges = np.arange(len(frames) + 1) * FRAME_US
        shared = np.minimum(edges[1:], stop_us) - np.maximum(edges[:-1], start_us)
        frames[(shared > 0) & (2 * shared < FRAME_US)] &= ~np.uint8(SPEECH)
    return draft


@pytest.fixture(scope="module")
def clips(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return open_clips(
        rules.store(tmp_path_factory.mktemp("room"), [one_microphone(rules)], windows_per_clip=60)
    )


def views(clips: Clips) -> list[View]:
    return [plan_view(clips, place, c, MODEL, DATA) for place in range(len(clips)) for c in range(2)]


def kinds(clips: Clips, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat over frames: own sound in all of it, in some of it, and the other's speech in some of it."""
    sound = clips[view.place].audio()[:, : len(view) * 3200]
    padded = np.pad(sound != 0, ((0, 0), (400, 0)))
    frames = np.stack([padded[:, f * 400 : f * 400 + 800] for f in range(len(view) * 8)], axis=1)
    own, other = frames[view.channel], frames[1 - view.channel]
    return own.mean(1) > 0.99, own.any(1), other.any(1)


def as_recorded(clips: Clips, view: View, hears: str = "mix") -> np.ndarray:
    if hears == "max":
        return np.delete(clips[view.place].mel(), view.channel, axis=0).max(0)[: len(view)].reshape(-1, 80)
    sound = np.delete(clips[view.place].audio(), view.channel, axis=0)[:, : len(view) * 3200].sum(0)
    return mel_bytes(np.pad(sound, (400, 0))[None].astype(np.int16), 16_000)[0].reshape(-1, 80)


def test_words_of_noise_are_the_same_in_numpy() -> None:
    import torch

    from corpus.trainer.data.noise import mix, words

    numbers = np.array([0, 1, 2**31, 2**40 + 5, 2**63 - 1])
    keys = (3, 2**64 - 2)
    assert np.array_equal(words(*keys, numbers, 1), mix(*keys, torch.from_numpy(numbers), 1).numpy())


@given(
    runs=st.lists(st.integers(1, 900), min_size=1, max_size=12),
    unknown=st.sampled_from([0, 400]),
    rate=st.sampled_from([16_000, 24_000]),
)
@settings(max_examples=60)
def test_silent_frames_against_looking_at_each(runs: list[int], unknown: int, rate: int) -> None:
    """Runs of sound and silence by turns, at last sound."""
    shape = mel_shape(rate)
    sound = np.ones(shape.context_samples + 2 * shape.samples_per_window, np.int16)
    at = 0
    for number, length in enumerate(runs):
        sound[at : at + length] = number % 2
        at += length
    found = silent_frames(sound, shape, unknown=unknown).reshape(-1)
    for frame, silent in enumerate(found):
        start = frame * shape.hop_samples
        looked = sound[max(start, unknown) : start + shape.window_samples]
        zeros = "".join("0" if not sample else "1" for sample in looked).split("1")
        assert silent == (max(map(len, zeros)) >= rate // 400), frame


@pytest.mark.parametrize("hears", ["mix", "max"])
def test_one_hears_the_room_while_one_speaks(clips: Clips, hears: str) -> None:
    for view in views(clips):
        frames = heard(clips, view, hears).sound_NFM.reshape(-1, 80).astype(int)
        recorded = as_recorded(clips, view, hears).astype(int)
        own, some, other = kinds(clips, view)
        assert own.sum() > 50 and not recorded[own & ~other].any()
        level, quiet = frames.mean(1), recorded[~some & ~(recorded.mean(1) > 130)].mean(1)
        filled = own & (np.arange(len(own)) > 8 * 8)
        assert abs(level[filled].mean() - quiet.mean()) < 1
        assert 0.5 < level[filled].std() / quiet.std() < 2
        near = 0 if hears == "mix" else 2
        untouched = ~np.any([np.roll(some, by) for by in range(-near, near + 1)], axis=0)
        assert np.array_equal(frames[untouched], recorded[untouched])
        for at in np.flatnonzero(own):
            distance = np.abs(frames[:at] - frames[at]).mean(1)
            assert distance.min() > 0.5, "a copy"


@pytest.mark.parametrize("hears", ["mix", "max"])
def test_drawn_frames_are_those_that_nobody_recorded(clips: Clips, hears: str) -> None:
    for view in views(clips):
        sound_NFM, drawn_NF = heard(clips, view, hears)
        other = (sound_NFM.reshape(-1, 80) != as_recorded(clips, view, hears)).any(1)
        assert np.array_equal(drawn_NF.reshape(-1), other) and 50 < other.sum() < len(other) - 50


def test_the_other_is_heard_up_to_the_sample_one_begins_at(clips: Clips) -> None:
    """Ann begins as Bo stops: frames that hold the end of his speech are left as they are."""
    ann = views(clips)[0]
    at = 5_210_000 // FRAME_US
    frames, recorded = heard(clips, ann, "mix").sound_NFM.reshape(-1, 80), as_recorded(clips, ann)
    assert np.array_equal(frames[at - 4 : at + 1], recorded[at - 4 : at + 1])
    assert recorded[at].mean() > 140 and frames[at + 2].mean() < 130


@pytest.mark.parametrize("hears", ["mix", "max"])
@pytest.mark.parametrize("cut", [8, 20, 27, 38])
def test_the_room_knows_nothing_of_later_windows(
    rules: ModuleType, clips: Clips, tmp_path: Path, hears: str, cut: int
) -> None:
    """Whether somebody goes on to speak changes nothing heard before."""
    other = open_clips(rules.store(tmp_path, [one_microphone(rules, cut=cut)], windows_per_clip=60))
    for view, same in zip(views(clips), views(other), strict=True):
        whole, short = heard(clips, view, hears).sound_NFM, heard(other, same, hears).sound_NFM
        assert np.array_equal(whole[:cut], short[:cut])
    assert not np.array_equal(whole[cut:], short[cut:])


def test_a_clip_goes_on_in_the_room_of_the_clip_before(rules: ModuleType, tmp_path: Path) -> None:
    """Ann speaks as the third clip begins; at the recording's start there is no room yet."""
    loud = one_microphone(rules, room=600)
    path = rules.store(tmp_path, [loud], windows_per_clip=18)
    clips = open_clips(path)
    third = plan_view(clips, 2, 0, MODEL, DATA)
    assert first_window(third) == 36
    frames = heard(clips, third, "mix").sound_NFM.reshape(-1, 80)
    room = as_recorded(clips, plan_view(clips, 0, 1, MODEL, DATA))[:50]
    assert abs(frames[:100].mean() - room.mean()) < 2
    assert np.array_equal(
        heard(clips, third, "mix").sound_NFM, heard(open_clips(path), third, "mix").sound_NFM
    )
    assert not np.array_equal(frames, heard(clips, third, "mix", seed=1).sound_NFM.reshape(-1, 80))
    assert not np.array_equal(frames, heard(clips, third, "mix", epoch=1).sound_NFM.reshape(-1, 80))


def first_window(view: View) -> int:
    return int(view.key[-7:])


def test_talk_and_training_hear_the_same(clips: Clips) -> None:
    for view in views(clips):
        user = user_of(f"{clips.path}:{view.key}", view.speaker)
        assert user.heard is not None and len(user.heard) == len(view) + 1
        assert np.array_equal(user.heard[: len(view)], heard(clips, view, "mix").sound_NFM)


@pytest.mark.parametrize("hears", ["mix", "max"])
def test_a_silent_recording_is_a_quiet_room_and_noises_are_not_drawn(
    rules: ModuleType, tmp_path: Path, hears: str
) -> None:
    corpus = rules.write(tmp_path, "beep", {"train": 1}, windows=60)
    clips = open_clips(corpus.path)
    view = plan_view(clips, 0, 0, MODEL, DATA)
    frames = heard(clips, view, hears).sound_NFM.reshape(-1, 80).astype(int)
    silent = ~as_recorded(clips, view).any(1)
    assert silent.sum() > 200
    away = (frames[silent] - QUIET).mean(1)
    assert np.abs(away).max() < 4 and np.abs(away.mean()) < 0.5
    assert len(np.unique(frames[silent], axis=0)) > 0.8 * silent.sum()


def test_a_sound_file_with_digital_silence() -> None:
    sound = (3000 * np.random.default_rng(0).standard_normal(10 * 3200)).astype(np.int16)
    whole = heard_alone(sound, 16_000, 8)
    assert np.array_equal(whole, mel_bytes(np.pad(sound, (400, 0))[None], 16_000)[0])
    sound[2 * 3200 : 6 * 3200] = 0
    gated = heard_alone(sound, 16_000, 8)
    assert np.array_equal(gated[:2], whole[:2]) and np.array_equal(gated[7:], whole[7:])
    assert np.abs((gated[3:6].astype(int) - QUIET).mean((1, 2))).max() < 3


def test_frames_told_silent_from_mel_know_their_own_window_only() -> None:
    mel = np.full((3, 8, 80), 90, np.uint8)
    mel[1, 5:] = 0
    mel[2, :2] = 0
    found = silent_mels(mel, mel_shape(16_000))
    assert [f for f in range(24) if found.reshape(-1)[f]] == list(range(8 + 3, 16 + 4))
    mel[1, 5:] = 90
    found = silent_mels(mel, mel_shape(16_000))
    assert [f for f in range(24) if found.reshape(-1)[f]] == list(range(16, 16 + 4))
