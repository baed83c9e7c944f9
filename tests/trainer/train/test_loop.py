from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from corpus.schemas.errors import (
    CorpusError,
    DatasetError,
    FormatError,
    LockedError,
    SettingsError,
    StorageError,
)
from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader, LoaderState
from corpus.trainer.data.sequence import Batch
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.parallel.process import locked
from corpus.trainer.train import loop
from corpus.trainer.train.gradient_norms import squares
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model
from corpus.trainer.train.optim import Optimizer
from corpus.trainer.train.run_file import read_run
from corpus.trainer.train.schedule import share

SmallRun = Callable[..., RunConfig]
Beside = Callable[[list[str]], list[str]]


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[tuple[int, float, float]]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines(run)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run)[0].state_dict()


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def silent(text: str) -> None:
    pass


def test_a_run_writes_what_it_promises(small_run: SmallRun, tmp_path: Path) -> None:
    config = small_run("save_every=2", "keep=2")
    result = train_model(config, tmp_path, talk=silent)
    assert (result.step, result.ended, result.skipped) == (6, "done", 0)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["LATEST", "step-00000004", "step-00000006"]
    assert read_run(tmp_path).config == config
    assert read_run(tmp_path).dataset == Loader(config).state.dataset
    seen = lines(tmp_path)
    assert [line["step"] for line in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[-1]["loss"] < seen[0]["loss"]
    assert all(line["positions_per_s"] > 0 and line["audio_hours_per_hour"] > 0 for line in seen)
    assert seen[-1]["positions"] == sum(round(72 * 4 * (1 - line["padding"])) for line in seen)
    assert 1 <= seen[0]["expert_load"] <= 4
    assert [line["lr"] for line in seen] == [config.optim.lr * share(config.optim, k, 6) for k in range(6)]
    biases = [value for name, value in weights(tmp_path).items() if name.endswith("bias_E")]
    assert biases and all(value.any() for value in biases)


@pytest.mark.parametrize("setting", ["model.audio_head=dmel", "model.audio_head=flow", "loss.user_audio=0.5"])
def test_accumulation_changes_nothing(small_run: SmallRun, tmp_path: Path, setting: str) -> None:
    """With a head that draws noise too: the noise depends on the row's place in the global batch."""
    for name, accumulate in (("whole", 1), ("parts", 4)):
        pairs = ("data.rows=8", "steps=4", setting)
        config = small_run(f"accumulate={accumulate}", *pairs)
        train_model(config, tmp_path / name, talk=silent)
    for (step, loss, norm), (step_, loss_, norm_) in zip(
        losses(tmp_path / "whole"), losses(tmp_path / "parts"), strict=True
    ):
        assert (step, loss) == (step_, pytest.approx(loss_, rel=1e-6))
        assert norm == pytest.approx(norm_, rel=1e-5)


def test_every_step_and_row_has_noise_of_its_own(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a run that goes on; and rows are numbered through the micro-batches of a step."""
    seen, forward = [], InteractionModel.forward

    def noted(self: InteractionModel, batch: Batch, weights: Any, key: Any, row_B: Any) -> Any:
        seen.extend((key.seed, key.step, row) for row in row_B.tolist())
        return forward(self, batch, weights, key, row_B)

    monkeypatch.setattr(InteractionModel, "forward", noted)
    for steps in (2, 3):
        train_model(small_run(f"steps={steps}", "accumulate=2", "data.seed=5"), tmp_path, talk=silent)
    assert seen == [(5, step, row) for step in range(3) for row in range(4)]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_two_halves_are_the_whole(
    small_run: SmallRun, tmp_path: Path, optimizer: str, beside_progress: Beside
) -> None:
    pairs = (f"optim.optimizer={optimizer}", "optim.ema_decay=0.9", "save_every=3", "data.seed=3")
    train_model(small_run(*pairs), tmp_path / "whole", talk=silent)
    half = tmp_path / "half"

    def stop_after_three(config: RunConfig) -> None:
        with pytest.raises(ZeroDivisionError):
            train_model(config, half, talk=silent, flops=_fail_at(3))

    stop_after_three(small_run(*pairs))
    said: list[str] = []
    train_model(small_run(*pairs), half, talk=said.append)
    assert beside_progress(said) == ["resuming from step 3"]
    assert losses(half) == losses(tmp_path / "whole")
    assert_same_weights(half, tmp_path / "whole")
    averages = [load_model(run, ema=True)[0].state_dict() for run in (half, tmp_path / "whole")]
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])
    assert not torch.equal(averages[0]["norm.weight"], weights(half)["norm.weight"])


def _fail_at(step: int) -> Callable[[RunConfig, Batch], float]:
    """A step that dies before it has done anything."""
    counted = iter(range(1_000))

    def flops(config: RunConfig, batch: Batch) -> float:
        if next(counted) == step:
            raise ZeroDivisionError
        return 1.0

    return flops


KILLED = """
import os, signal, sys, threading
import torch
from pathlib import Path
from corpus.trainer.train import checkpoint_saver, loop
from corpus.trainer.train.optim import Optimizer
from corpus.trainer.train.run_file import read_run
torch.set_num_threads(1)
where, source, run = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
times = 0

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def second(function):
    def counted(*args, **kwargs):
        global times
        times += 1
        return die() if times == 2 else function(*args, **kwargs)
    return counted

if where == "step":
    update, numbers = Optimizer.step, iter(range(99))
    def killed(*args):
        if next(numbers) == 7:
            # A thread writes the checkpoint of step 5: on a fast machine it may not be done yet.
            [thread.join() for thread in threading.enumerate() if thread.name == "checkpoint"]
            die()
        return update(*args)
    Optimizer.step = killed
elif where == "publish":
    checkpoint_saver._publish = second(checkpoint_saver._publish)
else:
    write_whole = checkpoint_saver.write_whole
    latest = second(write_whole)
    checkpoint_saver.write_whole = lambda path, data: (
        (latest if path.name == "LATEST" else write_whole)(path, data)
    )

loop.train_model(read_run(source).config, run, talk=print)
"""


def test_what_was_learnt_is_saved_when_data_cannot_be_read_any_more(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside_progress: Beside
) -> None:
    """In a step's second micro-batch, by a rank whose loader is ahead: it goes on as if never stopped."""
    config = small_run("accumulate=2")
    train_model(config, tmp_path / "whole", talk=silent)
    monkeypatch.setattr(loop, "open_loader", _Lost)
    with pytest.raises(DatasetError, match="is missing"):
        train_model(config, tmp_path / "run", talk=silent)
    monkeypatch.undo()
    said: list[str] = []
    train_model(config, tmp_path / "run", talk=said.append)
    assert beside_progress(said) == ["resuming from step 3"]
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


class _Lost(Loader):
    """A shard is gone from the fourth global batch on."""

    def __iter__(self) -> Iterator[tuple[Batch, LoaderState]]:
        for number, (batch, state) in enumerate(super().__iter__()):
            if number == 7:
                self.state = dataclasses.replace(state, batches=99)
                raise DatasetError("a file of the dataset is missing", where="train-000001.tar")
            yield batch, state


@pytest.mark.parametrize("where", ["step", "publish", pytest.param("latest", marks=pytest.mark.slow)])
def test_killed_and_resumed_is_unbroken(
    small_run: SmallRun,
    start_python: Callable[..., Any],
    tmp_path: Path,
    where: str,
    beside_progress: Beside,
) -> None:
    config = small_run("steps=10", "save_every=5")
    if where != "step":
        config = dataclasses.replace(config, save_every=3)
    train_model(config, tmp_path / "whole", talk=silent)
    (died,) = start_python("-c", KILLED, where, str(tmp_path / "whole"), str(tmp_path / "run"))
    assert died.returncode == -signal.SIGKILL, died.stderr
    said: list[str] = []
    train_model(config, tmp_path / "run", talk=said.append)
    assert beside_progress(said) == [f"resuming from step {5 if where == 'step' else 3}"]
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    states = [_last_loader(tmp_path / name) for name in ("run", "whole")]
    assert states[0] == states[1]


def test_a_stream_killed_goes_on_as_one_that_was_stopped(
    beeps: Path, start_python: Callable[..., Any], tmp_path: Path
) -> None:
    """By the command itself. It is not the unbroken run: the place in the stream is not kept."""
    small = (
        "data.length=72",
        "data.pictures=false",
        "log_every=1",
        "save_every=2",
        "optim.schedule=constant",
    )
    train = ("train", "--preset", "tiny", "--data", str(beeps), *small, "data.reader=stream", "--run")
    command = ("-m", "corpus.cli.main", *train)
    (stopped,) = start_python(*command, str(tmp_path / "stopped"), "steps=2")
    (died,) = start_python("-c", KILLED_COMMAND, *train, str(tmp_path / "killed"), "steps=4")
    assert (stopped.returncode, died.returncode) == (0, -signal.SIGKILL), died.stderr
    assert _last_loader(tmp_path / "stopped") == _last_loader(tmp_path / "killed")
    for name in ("stopped", "killed"):
        (ended,) = start_python(*command, str(tmp_path / name), "steps=4")
        assert ended.returncode == 0
        assert "resuming from step 2; the stream begins a new pass" in ended.stderr
    assert losses(tmp_path / "killed") == losses(tmp_path / "stopped")
    assert_same_weights(tmp_path / "killed", tmp_path / "stopped")
    state = _last_loader(tmp_path / "killed")
    assert state == _last_loader(tmp_path / "stopped") and state["batches"] == 4


KILLED_COMMAND = """
import os, signal, threading
from corpus.cli.main import main
from corpus.trainer.train.optim import Optimizer
update, numbers = Optimizer.step, iter(range(99))

def killed(*args):
    if next(numbers) < 3:
        return update(*args)
    # In the fourth step: the checkpoint of the second is the last, once its thread has written it.
    [thread.join() for thread in threading.enumerate() if thread.name == "checkpoint"]
    os.kill(os.getpid(), signal.SIGKILL)

Optimizer.step = killed
main()
"""


def _last_loader(run: Path) -> Any:
    latest = (run / "checkpoints" / "LATEST").read_text().strip()
    return json.loads((run / "checkpoints" / latest / "meta.json").read_text())["loader"]


def test_sigterm_saves_and_ends_well(small_run: SmallRun, tmp_path: Path) -> None:
    """The signal comes while a step is under way; the step is finished and nothing is lost."""
    before = signal.getsignal(signal.SIGTERM)
    counted = iter(range(100))

    def flops(config: RunConfig, batch: Batch) -> float:
        if next(counted) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return 1.0

    result = train_model(small_run(), tmp_path / "run", talk=silent, flops=flops)
    assert (result.ended, result.step) == ("stopped", 3)
    assert signal.getsignal(signal.SIGTERM) == before
    train_model(small_run(), tmp_path / "run", talk=silent)
    train_model(small_run(), tmp_path / "whole", talk=silent)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_a_second_interrupt_does_not_wait(small_run: SmallRun, tmp_path: Path) -> None:
    """Nor does it lose what was saved, or keep the process's handlers."""
    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    counted = iter(range(100))

    def flops(config: RunConfig, batch: Batch) -> float:
        if next(counted) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)  # asks once more for the same, and waits
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        train_model(small_run("save_every=3"), tmp_path, talk=silent, flops=flops)
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before
    assert not {thread.name for thread in threading.enumerate()} & {"checkpoint", "read-ahead"}
    said: list[str] = []
    assert train_model(small_run("save_every=3"), tmp_path, talk=said.append).step == 6
    assert said[0] == "resuming from step 3"


class _Poisoned(Loader):
    """The weights of some global batches are no numbers."""

    bad: frozenset[int] = frozenset()

    def __iter__(self) -> Iterator[tuple[Batch, LoaderState]]:
        for batch, state in super().__iter__():
            if state.batches in self.bad:
                poison = torch.full_like(batch.audio_weight_T, torch.nan)
                batch = dataclasses.replace(batch, audio_weight_T=poison)
            yield batch, state


def poisoned(monkeypatch: pytest.MonkeyPatch, *bad: int) -> None:
    monkeypatch.setattr(_Poisoned, "bad", frozenset(bad))
    monkeypatch.setattr(loop, "open_loader", _Poisoned)


def test_a_gradient_that_is_no_number_is_passed_over(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside_progress: Beside
) -> None:
    poisoned(monkeypatch, 2, 4)
    said: list[str] = []
    result = train_model(small_run(), tmp_path, talk=said.append)
    assert (result.step, result.skipped) == (6, 2)
    first, _ = beside_progress(said)
    assert "step 2" in first
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    seen = lines(tmp_path)
    assert [line["loss"] is None for line in seen] == [False, True, False, True, False, False]
    assert [line["skipped"] for line in seen] == [0, 1, 1, 2, 2, 2]


def test_the_bad_batch_is_written_down(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_run()
    fresh = Loader(config)
    pieces = [[piece.document for piece in row] for row in fresh._plan(fresh.state)[0]]
    keys = [[fresh._documents.view(document).key for document in row] for row in pieces]
    poisoned(monkeypatch, 1)
    train_model(config, tmp_path, talk=silent)
    note = json.loads((tmp_path / "nan" / "step-00000001.json").read_text())
    assert [[name.split("/")[0] for name in row] for row in note["rows"]] == keys
    assert note["state"]["batches"] == 0


def test_a_step_without_an_update_leaves_no_load_behind(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router bias moves by the choices of its own step."""
    config, loads, update = small_run("steps=4"), [], InteractionModel.update_router_bias

    def noted(model: InteractionModel) -> None:
        loads.append(model.load_NE.sum(1).tolist())
        update(model)

    monkeypatch.setattr(InteractionModel, "update_router_bias", noted)
    poisoned(monkeypatch, 2)
    train_model(config, tmp_path, talk=silent)
    filled = [0, *(line["positions"] for line in lines(tmp_path))]
    each = [(after - before) * config.model.top_k for before, after in pairwise(filled)]
    mixtures = config.model.layers - config.model.dense_layers
    assert loads == [[each[step]] * mixtures for step in (0, 2, 3)]


def test_the_update_sees_gradients_of_at_most_the_norm_set(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AdamW hides the size of gradients, so that what it is given is looked at."""
    seen, step = [], Optimizer.step

    def noted(self: Optimizer, lr_share: float) -> None:
        seen.append(float(squares(self.parameters.values()).sqrt()))
        step(self, lr_share)

    monkeypatch.setattr(Optimizer, "step", noted)
    for clip in (0.125, 1e9):
        train_model(small_run("steps=2", f"optim.clip={clip}"), tmp_path / str(clip), talk=silent)
        norms = [line["grad_norm"] for line in lines(tmp_path / str(clip))]
        assert min(norms) > 0.125
        assert seen == pytest.approx([min(norm, clip) for norm in norms], rel=1e-5)
        seen.clear()


def test_the_average_is_that_of_the_weights_after_each_step(small_run: SmallRun, tmp_path: Path) -> None:
    config = small_run("steps=3", "save_every=1", "keep=9", "optim.ema_decay=0.75")
    train_model(config, tmp_path, talk=silent)
    first = dict(InteractionModel(config.model, seed=config.data.seed).named_parameters())
    expected = {name: value.detach().double() for name, value in first.items()}
    for step in (1, 2, 3):
        now = dict(load_model(tmp_path, step=step)[0].named_parameters())
        expected = {name: 0.75 * value + 0.25 * now[name].double() for name, value in expected.items()}
        kept = dict(load_model(tmp_path, step=step, ema=True)[0].named_parameters())
        for name, value in expected.items():
            # An update goes some thousandths; half a unit in the last place of fp32 near 1 is 6e-8.
            torch.testing.assert_close(kept[name].double(), value, atol=1e-6, rtol=0, msg=name)


def test_too_many_in_a_row_end_the_run_with_all_saved(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, 2, 3, 4, 5)
    with pytest.raises(CorpusError, match="3 steps in a row"):
        train_model(small_run("nan_limit=3"), tmp_path, talk=silent)
    monkeypatch.undo()
    result = train_model(small_run("nan_limit=3"), tmp_path, talk=silent)
    assert (result.step, result.skipped) == (6, 3)


def test_a_run_can_be_prolonged(small_run: SmallRun, tmp_path: Path, beside_progress: Beside) -> None:
    train_model(small_run("steps=2"), tmp_path, talk=silent)
    said: list[str] = []
    assert train_model(small_run("steps=4", "optim.lr=0.001"), tmp_path, talk=said.append).step == 4
    assert beside_progress(said)[1:] == [
        "changed since: optim.lr 0.003 -> 0.001",
        "changed since: steps 2 -> 4",
    ]
    assert train_model(small_run("steps=4"), tmp_path, talk=silent).last is None
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("pair", "error", "match"),
    [
        ("model.width=128", FormatError, "model.width 64 .now 128"),
        ("model.audio_levels=8", FormatError, "audio_levels"),
        ("optim.optimizer=muon", FormatError, "optim.optimizer"),
        ("optim.ema_decay=0.9", FormatError, "optim.ema_decay"),
        ("data.seed=5", SettingsError, "set data.seed=0 as it was"),
        ("data.rows=6", SettingsError, "set data.rows=4 as it was"),
        ("steps=1", SettingsError, "steps: the run is at step 2 already; make it at least 2"),
    ],
)
def test_going_on_with_something_else_is_refused(
    small_run: SmallRun, run_of_two: Path, tmp_path: Path, pair: str, error: type[Exception], match: str
) -> None:
    before = (run_of_two / "config.json").read_bytes()
    with pytest.raises(error, match=match):
        train_model(small_run("steps=4", pair), run_of_two, talk=silent)
    assert (run_of_two / "config.json").read_bytes() == before


@pytest.fixture(scope="module")
def run_of_two(beeps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from corpus.trainer.overrides import with_overrides
    from corpus.trainer.presets import preset

    pairs = ["data.length=72", "data.rows=4", "data.pictures=false", "steps=2", f"data.data={beeps}"]
    run = tmp_path_factory.mktemp("run")
    train_model(with_overrides(preset("tiny"), pairs), run, talk=silent)
    return run


def test_what_can_be_known_is_said_before_the_first_step(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="expert parallel"):
        train_model(small_run("expert_parallel=2"), tmp_path, talk=silent)
    with pytest.raises(SettingsError, match=r"data\.rows"):
        train_model(small_run("accumulate=3"), tmp_path, talk=silent)
    with pytest.raises(SettingsError, match="micro-turn"):
        train_model(small_run("data.length=8"), tmp_path, talk=silent)
    with pytest.raises(DatasetError, match="too few clips"):
        train_model(small_run("data.rows=600"), tmp_path, talk=silent)
    with pytest.raises(DatasetError, match=r"manifest\.json is missing"):
        train_model(small_run(f"data.data={tmp_path}"), tmp_path, talk=silent)
    assert not (tmp_path / "checkpoints").exists()


def test_half_precision_goes_the_same_way(small_run: SmallRun, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        train_model(small_run("steps=3", f"precision={precision}"), tmp_path / precision, talk=silent)
    for one, other in zip(losses(tmp_path / "fp32"), losses(tmp_path / "bf16"), strict=True):
        assert one[1] == pytest.approx(other[1], rel=2e-2) and one[1] != other[1]
    assert all(value.dtype == torch.float32 for value in weights(tmp_path / "bf16").values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own while it compiles
def test_compiled_blocks_go_the_same_way(small_run: SmallRun, tmp_path: Path) -> None:
    for name, compiled in (("eager", "false"), ("compiled", "true")):
        pairs = ("steps=3", "precision=bf16", f"compile={compiled}")
        train_model(small_run(*pairs), tmp_path / name, talk=silent)
    for one, other in zip(losses(tmp_path / "eager"), losses(tmp_path / "compiled"), strict=True):
        assert one[1] == pytest.approx(other[1], rel=2e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.filterwarnings("ignore")  # torch's own while it compiles
@pytest.mark.parametrize("pairs", [("precision=fp32",), ("precision=bf16", "compile=true")])
def test_on_a_gpu_two_halves_are_the_whole(
    small_run: SmallRun, tmp_path: Path, pairs: tuple[str, ...]
) -> None:
    more = (*pairs, "data.length=256", "save_every=3", "optim.ema_decay=0.9")
    train_model(small_run(*more), tmp_path / "whole", talk=silent)
    with pytest.raises(ZeroDivisionError):
        train_model(small_run(*more), tmp_path / "half", talk=silent, flops=_fail_at(3))
    train_model(small_run(*more), tmp_path / "half", talk=silent)
    for one, other in zip(losses(tmp_path / "whole"), losses(tmp_path / "half"), strict=True):
        assert one[1] == pytest.approx(other[1], rel=1e-6 if "precision=fp32" in pairs else 1e-3)


def test_a_damaged_log_does_not_keep_a_run_from_going_on(small_run: SmallRun, tmp_path: Path) -> None:
    train_model(small_run("steps=2"), tmp_path, talk=silent)
    with (tmp_path / "log.jsonl").open("r+b") as file:
        file.write(b"\xff\xfe\x00")
        file.seek(0, os.SEEK_END)
        file.write(b"[" * 100_000 + b"\n")
    assert train_model(small_run("steps=3"), tmp_path, talk=silent).step == 3
    assert [line["step"] for line in lines(tmp_path)] == [2, 3]


def test_a_run_that_begins_anew_says_so(small_run: SmallRun, tmp_path: Path, beside_progress: Beside) -> None:
    """Its log goes: whoever lost the checkpoints by mistake should know from the first line."""
    for checkpoints, told in ((True, []), (False, ["no checkpoint there: the run and its log start over"])):
        said: list[str] = []
        train_model(small_run("steps=2"), tmp_path / "run", talk=said.append)
        assert beside_progress(said) == told, checkpoints
        shutil.rmtree(tmp_path / "run" / "checkpoints")


def test_going_back_is_removing_the_newest(
    small_run: SmallRun, tmp_path: Path, beside_progress: Beside
) -> None:
    config = small_run("save_every=2")
    train_model(config, tmp_path / "whole", talk=silent)
    train_model(config, tmp_path / "run", talk=silent)
    for step in (4, 6):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / f"step-{step:08d}")
    said: list[str] = []
    train_model(config, tmp_path / "run", talk=said.append)
    assert beside_progress(said) == ["resuming from step 2"]
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_a_log_that_cannot_be_written_is_said_before_the_first_step(
    small_run: SmallRun, tmp_path: Path
) -> None:
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(StorageError, match="cannot be written: Is a directory"):
        train_model(small_run(), tmp_path, talk=silent)
    (tmp_path / "log.jsonl").rmdir()
    assert train_model(small_run("steps=1"), tmp_path, talk=silent).step == 1


def test_who_says_nothing_is_told_once(small_run: SmallRun, rules: ModuleType, tmp_path: Path) -> None:
    drafts = [rules.Draft(name=f"quiet-{n}", windows=40, speakers=("Ann", "Bo")) for n in range(3)]
    for draft in drafts:
        draft.speak(0, 300_000, 7_000_000, "one two")
    data = rules.store(tmp_path, drafts, windows_per_clip=40)
    said: list[str] = []
    for steps in (1, 2):
        train_model(small_run(f"steps={steps}", f"data.data={data}"), tmp_path / "run", talk=said.append)
    told = "in 3 of the 6 documents the speaker says nothing"
    assert [line for line in said if "nothing" in line] == [told]


def test_a_run_is_trained_by_one_at_a_time(small_run: SmallRun, tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(LockedError, match="another process"):
        train_model(small_run(), tmp_path, talk=silent)


def test_flags_of_the_process_are_given_back(small_run: SmallRun, tmp_path: Path) -> None:
    random = torch.get_rng_state()
    train_model(small_run("steps=1"), tmp_path, talk=silent)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.equal(torch.get_rng_state(), random)
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"checkpoint", "read-ahead"}
