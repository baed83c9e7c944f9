"""Energies of stored mel bytes added, against the exact mix and against the formula."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.schemas.errors import SettingsError
from corpus.shards.mel import LOW, STEP
from corpus.shards.read import Clips, open_clips
from corpus.trainer.data.hearing import added, heard_by
from corpus.trainer.data.loader import Loader
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset

SOUNDS = st.lists(st.integers(0, 255), min_size=1, max_size=7)


@pytest.fixture(scope="module")
def clips(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Three people, each with noise of the own loudness, alone, in pairs and all together, and the room."""
    draft = rules.Draft(name="hearing", windows=60, speakers=("Ann", "Bo", "Cy"))
    for channel, (start, windows, loud) in enumerate([(0, 40, 3000), (10, 40, 900), (20, 20, 6000)]):
        draft.noise(channel, start, windows, loud)
        draft.tone(channel, start, windows, 200 + 170 * channel, loud)
        draft.speak(channel, start * 200_000, (start + windows) * 200_000)
    draft.noise(3, 5, 50, 40)
    return open_clips(rules.store(tmp_path_factory.mktemp("hearing"), [draft], windows_per_clip=30))


def test_several_sounds_are_within_a_level_of_the_exact_mix(clips: Clips) -> None:
    """The published levels are 16 bytes wide: at most one of them in 99 % of all bins, and none biased."""
    away = []
    for place, clip in enumerate(clips):
        for channel in range(3):
            (fast, drawn), (exact, also_drawn) = (
                heard_by(clips, place, channel, 30, sample_rate_hz=16_000, hears=hears)
                for hears in ("energy", "mix")
            )
            recorded = ~(drawn | also_drawn)[..., None]
            sounding = (np.delete(clip.mel(), channel, 0) > 0).sum(0)
            several, one = (sounding > 1) & recorded, (sounding == 1) & recorded
            assert several.any()
            assert np.array_equal(fast[one], exact[one])
            away.append(fast[several].astype(int) - exact[several])
    differences = np.concatenate(away)
    assert (np.abs(differences) <= 16).mean() >= 0.99
    assert abs(differences.mean()) < 2


@given(sounds=SOUNDS)
@settings(deadline=None, max_examples=300)
def test_energies_against_the_formula(sounds: list[int]) -> None:
    total = sum(10 ** (2 * (LOW + (byte + 0.5) * STEP)) for byte in sounds if byte)
    expected = math.floor((math.log10(total) / 2 - LOW) / STEP) if total else 0
    channels = np.array(sounds, np.uint8).reshape(-1, 1, 1, 1)
    found, back = int(added(channels)[0, 0, 0]), int(added(channels[::-1])[0, 0, 0])
    assert abs(found - min(expected, 255)) <= 1
    assert abs(found - back) <= 1
    if len([byte for byte in sounds if byte]) < 2:
        assert found == max(sounds)


def test_every_pair_of_bytes_is_added_as_several_are() -> None:
    """Two have a short cut; with a third that is silent they do not take it."""
    one, other = (each.reshape(1, 256, 256) for each in np.mgrid[:256, :256].astype(np.uint8))
    assert np.array_equal(added(np.stack([one, other])), added(np.stack([one, other, np.zeros_like(one)])))


def test_a_run_goes_on_hearing_as_it_began(rules: ModuleType, tmp_path: Path) -> None:
    data = rules.write(tmp_path, "beep", {"train": 4}, windows=20).path
    pairs = [f"data.data={data}", "data.length=256", "device=cpu"]
    began = with_overrides(preset("tiny"), [*pairs, "data.hears=mix"])
    state = Loader(began).state_dict()
    with pytest.raises(SettingsError, match="began with") as error:
        Loader(with_overrides(preset("tiny"), pairs)).load_state_dict(state, began)
    assert "data.hears=mix" in error.value.todo
    Loader(began).load_state_dict(state, began)
