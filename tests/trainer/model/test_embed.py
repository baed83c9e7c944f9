from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.data.sequence import Batch, Positions, Stream
from corpus.trainer.model.embed import PatchStem, SoundBag, masked_sound
from corpus.trainer.model.model import InteractionModel


def randomised(module: nn.Module) -> nn.Module:
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=random)
    return module.double()


def test_the_bag_is_the_sum_of_one_row_for_each_bin(tiny: ModelConfig) -> None:
    bag = randomised(SoundBag(tiny))
    assert isinstance(bag, SoundBag)
    audio = torch.randint(0, 256, (3, 2, 80), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    masked = torch.zeros(3, 2, 80, dtype=torch.bool)
    masked[1, 0, 5] = True
    out = bag(audio, torch.float64, masked)
    table = bag.weight.view(2, 80, 17, 64)
    for n in range(3):
        total = torch.zeros(64, dtype=torch.float64)
        for frame in range(2):
            for mel in range(80):
                level = int(bag.level_of_byte(audio[n, frame, mel]))
                total += table[frame, mel, 16 if masked[n, frame, mel] else level]
        assert torch.allclose(out[n], total / 160**0.5, atol=1e-12)


def test_the_stem_equals_strided_convolutions(tiny: ModelConfig) -> None:
    stem = randomised(PatchStem(tiny))
    assert isinstance(stem, PatchStem)
    patch = torch.randint(0, 256, (4, 40, 40, 3), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    x = patch.permute(0, 3, 1, 2).double() / 127.5 - 1
    for stage, weight in enumerate(stem.inputs):
        size = 2 if stage else 5
        if stage:
            x = F.gelu(stem.norms[stage - 1](x.movedim(1, -1)).movedim(-1, 1))
        kernel = weight.view(len(weight), size, size, -1).permute(0, 3, 1, 2)
        x = F.conv2d(x, kernel, stride=size)
    assert torch.allclose(stem(patch, torch.float64), x[:, :, 0, 0], atol=1e-10)


def test_everything_stands_in_its_place_and_padding_nowhere(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    model = InteractionModel(tiny).double()
    rows = [[make_document(tiny, 3, 0)], [make_document(tiny, 2, 1), make_document(tiny, 1, 2)]]
    embed = model.embed

    def embedded(batch: Batch) -> torch.Tensor:
        sound, patch = (batch.audio_at_A, batch.audio_ARM), (batch.patch_at_P, batch.patch_PHWC)
        out: torch.Tensor = embed(batch.token_BL, batch.stream_BL, sound, patch, torch.float64)
        return out.flatten(0, 1)

    batch = pack_rows(rows, 64, spare=3)
    x_ND = embedded(batch)
    assert torch.equal(x_ND, embedded(pack_rows(rows, 64, spare=0)))
    stream_ND = embed.stream[batch.stream_BL.reshape(-1).long()]
    sounds = embed.sound(batch.audio_ARM, torch.float64)
    for at, sound in zip(batch.audio_at_A.tolist()[:-3], sounds, strict=False):
        assert torch.allclose(x_ND[at], sound + stream_ND[at])
    token_N, stream_N = batch.token_BL.reshape(-1), batch.stream_BL.reshape(-1)
    text = (token_N >= 0).nonzero()[:, 0]
    assert torch.allclose(x_ND[text], embed.text[token_N[text].long()] + stream_ND[text])
    assert (stream_N[batch.patch_at_P[:-3].long()] == Stream.PICTURE).all()


def test_a_model_that_does_not_see_has_no_stem(tiny: ModelConfig) -> None:
    model = InteractionModel(dataclasses.replace(tiny, picture_rows=0))
    assert model.embed.patch is None


def windows(batch: Batch, masked_A: torch.Tensor) -> dict[tuple[int, ...], set[bool]]:
    """What became of the positions of each (row, document, micro-turn, stream) of sound."""
    found: dict[tuple[int, ...], set[bool]] = {}
    length = batch.shape[1]
    for at, masked in zip(batch.audio_at_A.tolist(), masked_A.tolist(), strict=True):
        if at < batch.token_BL.numel():
            row, place = divmod(at, length)
            about = (batch.segment_BL, batch.turn_BL, batch.stream_BL)
            found.setdefault((row, *(int(each[row, place]) for each in about)), set()).add(masked)
    return found


def test_sound_is_hidden_window_by_window(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    """Whole windows of one stream, about the share asked for, others in every step; by their place alone."""
    rows = [[make_document(tiny, 20, n), make_document(tiny, 20, n + 9)] for n in range(4)]
    batch, row_B = pack_rows(rows, 512, spare=3), torch.arange(4)
    masked_A = masked_sound(batch, 0.3, NoiseKey(step=1), row_B)
    found = windows(batch, masked_A)
    assert all(len(kinds) == 1 for kinds in found.values()) and len(found) > 200
    share = sum(kinds == {True} for kinds in found.values()) / len(found)
    assert 0.2 < share < 0.4
    for stream in (Stream.HEARD, Stream.OWN_SOUND):
        assert {True} in [kinds for key, kinds in found.items() if key[3] == stream]
    assert windows(batch, masked_sound(batch, 0.3, NoiseKey(step=2), row_B)) != found
    # The second half of the global batch, on another rank.
    half = pack_rows(rows[2:], 512, spare=3)
    theirs = windows(half, masked_sound(half, 0.3, NoiseKey(step=1), row_B[2:]))
    assert theirs == {(row - 2, *rest): kinds for (row, *rest), kinds in found.items() if row >= 2}


def test_hidden_sound_is_not_felt_and_only_in_training(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    config = dataclasses.replace(tiny, sound_masked=0.5)
    torch.manual_seed(0)
    model = InteractionModel(config).double()
    batch, key = pack_rows([[make_document(tiny, 8, 0)]], 128), NoiseKey(step=3)
    masked_A = masked_sound(batch, 0.5, key, torch.arange(1))
    other = batch.audio_ARM.clone()
    other[masked_A] = 255 - other[masked_A]
    changed = dataclasses.replace(batch, audio_ARM=other)

    def loss(model: InteractionModel, batch: Batch) -> float:
        with torch.no_grad():
            sums = model(batch, LossConfig(), key)
            return float(sums.text_sum + sums.audio_sum)

    assert loss(model, changed) == loss(model, batch)
    shown = InteractionModel(tiny).double()
    assert loss(shown, changed) != loss(shown, batch)
    assert loss(model.eval(), batch) == loss(shown.eval(), batch) != loss(model.train(), batch)
    sums = model(batch, LossConfig(), key)
    sums.total(sums.denominators).backward()
    masks = model.embed.sound.weight.grad
    assert masks is not None and bool(masks.view(160, 17, -1)[:, 16].any())
    with pytest.raises(SettingsError, match="sound_masked"):
        dataclasses.replace(tiny, sound_masked=1.0)
