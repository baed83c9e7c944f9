from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import pytest
import torch

from corpus.trainer.config import ModelConfig
from corpus.trainer.data.sequence import Batch, Positions
from corpus.trainer.model.attention import attend
from corpus.trainer.model.attention_mask import FlexMask, Sight, dense_mask

SIGHTS = [
    Sight(window_turns=None, sink_turns=1),
    Sight(window_turns=2, sink_turns=1),
    Sight(window_turns=3, sink_turns=0),
]


@pytest.fixture
def batch(
    tiny: ModelConfig, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> Batch:
    return pack_rows(
        [[make_document(tiny, 9, 0), make_document(tiny, 8, 1)], [make_document(tiny, 12, 2)]], 200
    )


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_mask_is_what_it_says(batch: Batch, sight: Sight) -> None:
    mask = dense_mask(batch.segment_BL, batch.turn_BL, sight)
    segment, turn = batch.segment_BL.tolist(), batch.turn_BL.tolist()
    for row in range(2):
        for q in range(0, 200, 7):
            for k in range(200):
                near = (
                    sight.window_turns is None
                    or turn[row][q] - turn[row][k] < sight.window_turns
                    or turn[row][k] < sight.sink_turns
                )
                expected = segment[row][q] == segment[row][k] and k <= q and near
                assert bool(mask[row, 0, q, k]) == expected


@pytest.mark.parametrize("sight", SIGHTS)
def test_the_gpu_mask_is_the_same_mask(batch: Batch, sight: Sight) -> None:
    """Block by block and inside the blocks; after other content has been there before."""
    flex = FlexMask(2, 200, sight, torch.device("cpu"))
    flex.set(batch.segment_BL.flip(0), batch.turn_BL.flip(0))
    block = flex.set(batch.segment_BL, batch.turn_BL)
    dense = dense_mask(batch.segment_BL, batch.turn_BL, sight)[:, 0]
    row = torch.arange(2)[:, None, None]
    query, key = torch.arange(200)[None, :, None], torch.arange(200)[None, None, :]
    assert torch.equal(block.mask_mod(row, torch.zeros_like(row), query, key), dense)
    padded = torch.nn.functional.pad(dense, (0, 56, 0, 56)).view(2, 2, 128, 2, 128)
    assert torch.equal(block.to_dense()[:, 0].bool(), padded.any(4).any(2))


@pytest.mark.parametrize("sight", SIGHTS)
def test_blocks_are_skipped_or_taken_whole_where_all_their_pairs_allow_it(sight: Sight) -> None:
    """One document over three blocks of 128, and two that meet at a block's edge."""
    segment = torch.zeros(2, 384, dtype=torch.int64)
    segment[1, 256:] = 1
    turn = (torch.arange(384) // 60).expand(2, -1)
    mask = FlexMask(2, 384, sight, torch.device("cpu")).set(segment, turn)
    dense = dense_mask(segment, turn, sight).view(2, 3, 128, 3, 128)
    whole, some = dense.all(4).all(2), dense.any(4).any(2)
    assert bool(whole.any()) == (sight.window_turns is None)
    for found, expected in (
        (_blocks(mask.full_kv_num_blocks, mask.full_kv_indices), whole),
        (_blocks(mask.kv_num_blocks, mask.kv_indices), some & ~whole),
    ):
        assert torch.equal(found, expected)


def _blocks(count_B1Q: torch.Tensor, number_B1QK: torch.Tensor) -> torch.Tensor:
    """(B, Q, K): whether a key block is among those listed for a query block."""
    found = torch.zeros(2, 3, 3, dtype=torch.bool)
    for row, query in itertools.product(range(2), range(3)):
        listed = number_B1QK[row, 0, query, : int(count_B1Q[row, 0, query])].tolist()
        assert len(set(listed)) == len(listed)
        found[row, query, listed] = True
    return found


def test_the_mask_of_a_window_in_seconds_is_in_micro_turns(tiny: ModelConfig) -> None:
    for seconds, turns in ((0.2, 1), (0.6, 3), (0.61, 4), (30.0, 150)):
        assert Sight.of(dataclasses.replace(tiny, attention_window_s=seconds)).window_turns == turns
    assert Sight.of(tiny).window_turns is None


@pytest.mark.parametrize("length", [5, 64, 70])
def test_attention_equals_its_formula_with_shared_key_heads(length: int) -> None:
    """Both ways of sharing: few queries are folded."""
    random = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, length, 8, dtype=torch.float64, generator=random)
    key, value = torch.randn(2, 2, 2, 80, 8, dtype=torch.float64, generator=random)
    mask = torch.rand(2, 1, length, 80, generator=random) > 0.5
    out = attend(query, key, value, mask)
    for row in range(2):
        for head in range(4):
            score = query[row, head] @ key[row, head // 2].T / 8**0.5
            score = score.masked_fill(~mask[row, 0], -torch.inf)
            assert torch.allclose(out[row, head], score.softmax(-1) @ value[row, head // 2], atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@torch.no_grad()
def test_flex_attention_equals_the_dense_mask(batch: Batch) -> None:
    """Compiled for the CPU, which has the forward pass only."""
    random = torch.Generator().manual_seed(0)
    query = torch.randn(2, 4, 200, 16, generator=random)
    key, value = torch.randn(2, 2, 2, 200, 16, generator=random)
    for sight in SIGHTS[:2]:
        flex = FlexMask(2, 200, sight, torch.device("cpu")).set(batch.segment_BL, batch.turn_BL)
        ours = attend(query, key, value, flex)
        dense = attend(query, key, value, dense_mask(batch.segment_BL, batch.turn_BL, sight))
        assert torch.allclose(ours, dense, atol=1e-5)
