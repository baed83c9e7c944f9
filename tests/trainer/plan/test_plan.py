"""Trainings by calculation: the counts are the model's, impossible meshes are refused."""

from __future__ import annotations

import dataclasses

import pytest

from corpus.cli.plan_table import lines
from corpus.schemas.errors import UsageError
from corpus.trainer.plan.meshes import Mesh, refusal
from corpus.trainer.plan.plan import count, plan
from corpus.trainer.presets import MODELS, preset

LARGEST = "tml-276b-a12b"


def test_counts() -> None:
    """276 B and 12 B are the article's. An expert is 3 x 4096 x 1280; 54 layers have 320."""
    counts = count(MODELS[LARGEST])
    assert counts.experts == 3 * 4096 * 1280 * 320 * 54
    assert counts.total == pytest.approx(276.1e9, rel=1e-3)
    assert counts.active == pytest.approx(11.98e9, rel=1e-3)
    assert counts.dense == counts.total - counts.experts


def test_the_largest_on_256() -> None:
    """Worked by hand from the counts: see the comments."""
    made = plan(LARGEST, 256, "h100", stages=8, expert_ranks=8)
    assert made.mesh == Mesh(gpus=256, stages=8, expert_ranks=8)
    assert made.mesh.copies == 4 and made.micro_batches == 64
    experts = 271.79e9 / 64
    # 2 bytes of weights and 2 of gradients, 8 of Muon's fp32 parameters and momentum over 4 copies.
    assert made.memory.optimizer == pytest.approx(8 * experts / 4, rel=0.05)
    assert made.memory.gradients == pytest.approx(2 * experts, rel=0.05)
    assert made.bubble == 7 / 71
    # 65.9 linear, the heads' shares 2.3; attention 11.3 to all of 8 k, 4,096 keys on average, now 750: 75
    # windows of at most ten positions.
    assert made.flops_per_position == pytest.approx(65.9e9 + 2.3e9 + 11.3e9 * 750 / 4096, rel=0.01)
    rate = 256 * 989.5e12 * 0.28 * (64 / 71) / made.flops_per_position
    assert made.positions_per_s == pytest.approx(rate)
    assert made.days == pytest.approx(100_000 * 2048 * 8192 / rate / 86_400)
    # 8192 positions to 10 experts each of 4096 bf16 values, 7 of 8 elsewhere, at 350 GB/s.
    assert made.exchange_s == pytest.approx(8192 * 10 * 4096 * 2 * 7 / 8 / 350e9)
    assert made.memory.total <= made.memory_limit
    assert any("without them" in note for note in made.notes)
    # 56 layers of x twice, normed, and little else; then the ends. Rows for experts are sent again.
    assert made.recompute == "exchange"
    assert made.memory.activations == pytest.approx(8192 * (56 * 6 * 4096 + 46e3 + 54 * 2880), rel=0.02)
    found = plan(LARGEST, 256, "h100")
    assert found.mesh.stages <= 8 and found.memory.total <= found.memory_limit
    table = dict(lines(made))
    assert table["parameters"] == "276.10 B in all, 11.98 B active per position"


def test_base_on_one() -> None:
    made = plan("base", 1, "h100", mfu=0.45)
    assert made.mesh == Mesh(gpus=1, stages=1, expert_ranks=1) and made.bubble == 0
    # 84.6 k positions/s at 45 % with 5.27 GF a position, of which 0.81 are attention to 2,048 keys; now 750.
    fewer = 0.81 * (1 - 750 / 2048)
    assert made.positions_per_s == pytest.approx(84.6e3 * 5.27 / (5.27 - fewer), rel=0.01)
    assert made.memory.optimizer == 12 * made.counts.total
    assert (made.micro_batches, made.micro_rows, made.recompute) == (8, 4, "none")
    assert plan("base", 1, "h100", positions=1e9).steps == pytest.approx(1e9 / (32 * 4096))


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"name": LARGEST, "gpus": 256, "stages": 5, "expert_ranks": 8}, "do not divide 256 GPUs"),
        ({"name": LARGEST, "gpus": 256, "stages": 16, "expert_ranks": 8}, "do not divide 56 layers"),
        ({"name": LARGEST, "gpus": 384, "stages": 8, "expert_ranks": 48}, "do not divide 320 experts"),
        ({"name": LARGEST, "gpus": 24, "stages": 8, "expert_ranks": 1}, "do not divide among 3 data ranks"),
        ({"name": LARGEST, "gpus": 8}, "GB a GPU needed"),
        ({"name": LARGEST, "gpus": 17}, "cannot be divided"),
        ({"name": LARGEST, "gpus": 256, "stages": 3}, "3 stages .* do not divide 256 GPUs"),
        ({"name": LARGEST, "gpus": 256, "stages": 16}, "16 stages do not divide 56 layers"),
        ({"name": LARGEST, "gpus": 24, "stages": 8}, "do not divide among 3 data ranks"),
        ({"name": LARGEST, "gpus": 256, "expert_ranks": 3}, "3 expert ranks do not divide 256 GPUs"),
        ({"name": LARGEST, "gpus": 384, "expert_ranks": 48}, "48 expert ranks do not divide 320 experts"),
        ({"name": LARGEST, "gpus": 256, "stages": 0}, "0 stages"),
        ({"name": LARGEST, "gpus": 256, "gpu": "abacus"}, "no GPU"),
        ({"name": LARGEST, "gpus": 0}, "0 GPUs"),
        ({"name": "base", "gpus": 1, "mfu": 1.5}, "an MFU of 1.5"),
        ({"name": "base", "gpus": 8, "positions": 0.0}, "0.0 positions"),
        ({"name": "base", "gpus": 8, "positions": float("nan")}, "nan positions"),
        ({"name": "nothing", "gpus": 1}, "no preset"),
    ],
)
def test_impossible_ones_are_refused(asked: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        plan(**{"gpu": "h100", **asked})


def test_every_preset_has_a_plan() -> None:
    for name in MODELS:
        made = plan(name, 256 if name == LARGEST else 1, "h200")
        assert made.preset == name and made.step_s > 0
        assert refusal(preset(name), made.mesh) is None
        assert dataclasses.asdict(made)["schema"] == "corpus.plan/1"


def test_figures_are_printed_in_units_of_their_size() -> None:
    """None that is not 0 reads as 0, from the smallest plan to the largest."""
    sizes = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "h": 3600.0}
    sizes |= {"days": 86_400.0, "MFLOP": 1e6, "GFLOP": 1e9}
    for name, gpus in (("tiny", 1), ("base", 8), (LARGEST, 256)):
        made = plan(name, gpus, "h200")
        shown = dict(lines(made))
        for label, value in (
            ("  weights, bf16", made.memory.weights),
            ("  activations", made.memory.activations),
            ("work per position", made.flops_per_position),
            ("step", made.step_s),
            ("total", made.days * 86_400),
        ):
            number, unit = shown[label].split(",")[0].split()
            # A whole number of the least unit may be half of it away.
            assert float(number) * sizes[unit] == pytest.approx(value, rel=0.05, abs=5e-7), label


def test_what_is_heard_next_is_planned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head of 2048 x 2 x 80 x 16 on 20 of 37 positions: 6 operations a weight and position."""
    without = plan("base", 1, "h100")
    base = preset("base")
    listens = dataclasses.replace(base, loss=dataclasses.replace(base.loss, user_audio=0.1))
    monkeypatch.setattr("corpus.trainer.plan.plan.preset", lambda name: listens)
    made, weights = plan("base", 1, "h100"), 2048 * 2 * 80 * 16
    assert made.counts.total - without.counts.total == weights
    more = made.flops_per_position - without.flops_per_position
    assert more == pytest.approx(6 * weights * 20 / 37, rel=1e-9)
    # At most four of five positions: the vector that tells and 2560 probabilities in fp32.
    kept = made.memory.activations - without.memory.activations
    assert kept == pytest.approx(4 * 4096 * 0.8 * (2 * 2048 + 4 * 2560), rel=1e-9)
