from __future__ import annotations

import torch

from corpus.trainer.data import noise


def test_noise_is_a_function_of_its_keys() -> None:
    element = torch.arange(64)
    whole = noise.normal(7, 3, element)
    assert torch.equal(noise.normal(7, 3, element[20:]), whole[20:])
    for other in (noise.normal(8, 3, element), noise.normal(7, 4, element), noise.normal(3, 7, element)):
        assert not torch.equal(other, whole)


def test_all_64_bits_of_a_key_count() -> None:
    assert noise.mix(1) != noise.mix(1 + (1 << 32))
    assert noise.mix(-1) != noise.mix((1 << 32) - 1)


def test_integers_and_tensors_are_the_same_keys() -> None:
    """So that keys on the host never move a result off the GPU."""
    for key in (0, 5, -3, (1 << 40) + 9, -(1 << 62)):
        assert noise.mix(2, key, 7) == noise.mix(torch.tensor(2), torch.tensor(key), 7)


def test_a_run_has_the_same_numbers() -> None:
    """At every place of 64 bits, for keys of any size, and lengths no vector register divides."""
    for first in (0, 5, (1 << 31) - 500, (1 << 32) - 1001, (1 << 40) + 17, 7 << 32):
        element = torch.arange(first, first + 1001)
        for keys in ((), (3,), (3, (1 << 63) + 5)):
            run = noise.normal_run(torch.empty(1001), *keys, first=first)
            assert torch.equal(run, noise.normal(*keys, element))


def test_a_uniform_number_is_never_0_nor_1() -> None:
    """Its logarithms are numbers: a level's noise that is infinite wins against every probability."""
    u = noise.uniform(torch.tensor([0, 255, (1 << 32) - 256, (1 << 32) - 1]))
    assert bool(((u > 0) & (u < 1)).all())
    assert bool((-torch.log(-torch.log(u))).isfinite().all())


def test_moments_and_neighbours() -> None:
    x = noise.normal(1, 2, torch.arange(200_000)).double()
    assert abs(float(x.mean())) < 0.01
    assert abs(float(x.square().mean()) - 1) < 0.01
    assert abs(float((x[1:] * x[:-1]).mean())) < 0.01
    steps = noise.normal(1, torch.arange(200_000), 5).double()
    assert abs(float((steps * x).mean())) < 0.01
    u = noise.uniform(noise.mix(3, torch.arange(100_000)))
    assert float(u.min()) > 0 and float(u.max()) < 1
    assert torch.histc(u, 10, 0, 1).sub(10_000).abs().max() < 500
