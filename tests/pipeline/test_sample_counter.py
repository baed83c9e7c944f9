from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from corpus.pipeline.sample.counter import HEIGHT, LARGEST, WIDTH, draw_blocks, read_counter


@given(number=st.integers(0, LARGEST), noise=st.integers(0, 2**32 - 1))
def test_every_number_is_read_back_from_half_size_and_noise(number: int, noise: int) -> None:
    picture = np.full((HEIGHT, WIDTH, 3), 22, np.uint8)
    draw_blocks(picture, number)
    half = picture.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    half += np.random.default_rng(noise).normal(0, 20, half.shape)
    assert read_counter(picture) == number
    assert read_counter(np.clip(half, 0, 255).astype(np.uint8)) == number


def test_a_picture_without_counter_has_none() -> None:
    for level in (0, 90, 255):
        assert read_counter(np.full((HEIGHT, WIDTH), level, np.uint8)) is None


def test_one_flipped_cell_is_noticed() -> None:
    for number in (0, 149, LARGEST):
        for cell in range(16):
            picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            draw_blocks(picture, number)
            left = 398 + 14 * cell
            picture[352:376, left : left + 14] = 248 - picture[352:376, left : left + 14]
            assert read_counter(picture) is None
