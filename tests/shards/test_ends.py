"""Where shards end: within bounds, and the same ends again behind a change."""

from __future__ import annotations

import hashlib
import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpus.shards.ends import largest_shard, shard_ends
from corpus.shards.tar import END

TARGET = 100_000


def shards_of(clips: dict[str, int]) -> list[tuple[str, ...]]:
    keys = sorted(clips)
    ends = shard_ends(keys, np.array([clips[key] for key in keys], np.int64), TARGET)
    return [tuple(keys[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def drawn(count: int, seed: int, largest: int = 4_000) -> dict[str, int]:
    rng = random.Random(seed)
    return {
        hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:20]: rng.randrange(512, largest)
        for number in range(count)
    }


@given(st.integers(0, 400), st.integers(0, 50), st.sampled_from([600, 4_000, 120_000, 400_000]))
def test_every_clip_is_in_one_shard_of_a_bounded_size(count: int, seed: int, largest: int) -> None:
    clips = drawn(count, seed, largest)
    shards = shards_of(clips)
    assert [key for shard in shards for key in shard] == sorted(clips)
    for number, shard in enumerate(shards):
        size = sum(clips[key] for key in shard) + len(END)
        assert len(shard) == 1 or size <= largest_shard(TARGET)
        if largest <= 4_000 and number < len(shards) - 1:
            assert size >= TARGET // 2


def test_one_clip_more_changes_few_shards() -> None:
    """Of about 100 shards one insertion changes one or two: the mean, and never many."""
    clips = drawn(4_400, 0)
    before = shards_of(clips)
    assert len(before) > 80
    changed = []
    for key, size in drawn(100, 1).items():
        after = shards_of({**clips, key: size})
        changed.append(len(set(after) - set(before)))
    assert sum(changed) / len(changed) <= 2
    assert max(changed) <= 12


def test_where_a_shard_ends_does_not_hang_on_what_is_far_behind() -> None:
    clips = drawn(1_000, 2)
    before = shards_of(clips)
    keys = sorted(clips)
    for cut in range(200, 1_000, 100):
        after = shards_of({key: clips[key] for key in keys[:cut]})
        assert after[:-3] == before[: len(after) - 3]
