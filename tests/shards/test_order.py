"""Few clips among many are put where a sort of all would put them."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from corpus.schemas.dataset import SPLITS
from corpus.shards import order
from corpus.shards.order import in_order


def placed(clips: list[tuple[str, str]]) -> pa.Table:
    splits, keys = [split for split, _ in clips], [key for _, key in clips]
    return pa.table({"key": pa.array(keys, pa.string()), "split": pa.array(splits).dictionary_encode()})


def rank(clip: tuple[str, str]) -> tuple[int, str]:
    return SPLITS.index(clip[0]), clip[1]


@pytest.mark.parametrize("places", [0, 3, 16])
def test_few_among_many_stand_as_if_all_had_been_sorted(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_FEW_PLACES", places)
    draw = random.Random(places)
    for _ in range(200):
        clips = [(split, f"{number:03d}") for number in range(40) for split in SPLITS if draw.random() < 0.3]
        few = draw.sample(clips, min(len(clips), draw.randint(0, 6)))
        many = sorted((clip for clip in clips if clip not in few), key=rank)
        if draw.random() < 0.2:
            draw.shuffle(many)  # a dataset that another hand has written
        if not many or not few:
            continue
        table, numbers = in_order([placed(many), placed(few)])
        found = list(zip(table["split"].to_pylist(), table["key"].to_pylist(), strict=True))
        assert found == sorted(clips, key=rank)
        assert [[*many, *few][number] for number in numbers] == found
        assert table["key"].num_chunks == 1


def test_a_key_that_is_there_twice_is_left_for_others_to_refuse() -> None:
    many, few = placed([("train", "a"), ("train", "b")]), placed([("train", "b")])
    table, numbers = in_order([many, few])
    assert table["key"].to_pylist() == ["a", "b", "b"] and sorted(np.asarray(numbers)) == [0, 1, 2]
