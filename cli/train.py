"""`corpus train`, `corpus train plan` and `corpus export`."""

from __future__ import annotations

import faulthandler
import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from corpus.cli import show, talk
from corpus.schemas.errors import CorpusError, UsageError

if TYPE_CHECKING:
    from corpus.trainer.config import RunConfig

_FIRST_SPEAKS_S = 30.0
"""How long a failed process waits for the first process (of its machine, or of all) to report the error."""

_Run = Annotated[Path, typer.Option("--run", help="The run's folder: settings, checkpoints, log.")]


class _PairsOrCommand(TyperGroup):
    """`corpus train --run RUN steps=5` and `corpus train plan ...`: anything but a command is a pair."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:
            return super().parse_args(ctx, args)
        _refuse_dashes(args)
        ctx.allow_interspersed_args = True
        super().parse_args(ctx, args)
        ctx.args = [*ctx._protected_args, *ctx.args]
        ctx._protected_args = []
        return list(ctx.args)


def _refuse_dashes(args: list[str]) -> None:
    """Reject `--steps 5` and `--optim.lr=1e-3`: settings have no dashes."""
    from corpus.trainer.overrides import settings_of
    from corpus.trainer.presets import preset

    settings = settings_of(preset("tiny"))
    for place, arg in enumerate(args):
        name, _, value = arg.removeprefix("--").partition("=")
        if arg.startswith("--") and name in settings:
            value = value or "".join(args[place + 1 : place + 2]) or "VALUE"
            raise UsageError(f"{name} is a setting, not an option", todo=f"write {name}={value}")


group = typer.Typer(
    cls=_PairsOrCommand,
    invoke_without_command=True,
    rich_markup_mode=None,
    subcommand_metavar="[KEY=VALUE]... | plan ... | compare ...",
)


@group.callback()
def train(
    ctx: typer.Context,
    run: Annotated[
        Path | None, typer.Option("--run", help="The run's folder: settings, checkpoints, log.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="tiny, small or base; default: the run's own settings.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="OUT", help="A dataset's folder, or a mixture: A:0.7,B:0.3."),
    ] = None,
) -> None:
    """Train the interaction model on a dataset. The same command resumes a stopped run.

    Any setting can be given as key=value; RUN/config.json holds all settings of a run. Under torchrun all
    processes train one model.

    Examples:

      corpus train --preset tiny --data dataset --run run

      corpus train --preset tiny --data dataset --run run steps=400 model.width=128 optim.optimizer=muon

      corpus train --run run steps=800

      corpus train --preset tiny --data talks:0.7,films:0.3 --run run "data.where=unreliable_share < 0.2"

      corpus train --preset tiny --data answers --run tuned init=run optim.lr=1e-4

      torchrun --nproc-per-node 8 -m -- corpus.cli.main train --preset base --data dataset --run run
    """
    if ctx.invoked_subcommand is not None:
        return
    if run is None:
        raise UsageError("--run is needed", todo="name the run's folder, as in corpus train --run run")
    with _undisturbed():
        from corpus.trainer.train.loop import train_model as start
    if not faulthandler.is_enabled():
        with suppress(OSError, ValueError):  # stderr may not be a file
            faulthandler.enable()  # a shard truncated while it is read kills the process silently

    with _said_once("LOCAL_RANK"):  # errors may differ between machines
        config = _config(run, preset, data, ctx.args)
        flops, peak = _counting(config)
    with _said_once("RANK"):
        result = start(config, run, talk=show.talk, flops=flops, peak_flops=peak)
    if _is_first("RANK"):
        show.talk(_ending(run, config, result.step, result.ended))


def _config(run: Path, preset: str | None, data: str | None, pairs: list[str]) -> RunConfig:
    from corpus.trainer.data.mixture import absolute
    from corpus.trainer.overrides import with_overrides
    from corpus.trainer.presets import preset as named
    from corpus.trainer.train.run_file import CONFIG_NAME, read_run

    if preset is None and not (run / CONFIG_NAME).exists():
        raise UsageError(
            "is not a run yet", where=str(run), todo="start one with --preset tiny, small or base"
        )
    base = named(preset) if preset is not None else read_run(run).config
    named_data = [] if data is None else [f"data.data={absolute(data)}"]
    changed = with_overrides(base, [*named_data, *pairs])
    if not changed.data.data:
        raise UsageError("no dataset named", todo="give --data OUT")
    return replace(changed, init=str(Path(changed.init).absolute()) if changed.init else "")


def _counting(config: RunConfig) -> tuple[Any, float | None]:
    from corpus.trainer.plan.flops import flops_of, peak_flops

    peak = None if config.device == "cpu" else peak_flops()
    return (flops_of if peak else None), peak


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Delay stop signals: while a package is imported, one could be swallowed and leave it half loaded."""
    stops = {signal.SIGTERM, signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _said_once(rank: str) -> Iterator[None]:
    """Let only one process report an error.

    Under torchrun all processes fail alike, and it stops them all when one has ended. So the others wait
    until the first has reported the error; if it never does, they report it themselves.
    """
    try:
        yield
    except CorpusError:
        if not _is_first(rank):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # being stopped this way needs no report
            time.sleep(_FIRST_SPEAKS_S)
        raise


def _is_first(rank: str) -> bool:
    return os.environ.get(rank, "0") == "0"


def _ending(run: Path, config: RunConfig, step: int, ended: str) -> str:
    """Where the results are, and the commands that use them."""
    from corpus.trainer.data.mixture import parts_of
    from corpus.trainer.train.logs import LOG_NAME
    from corpus.trainer.train.run_report import REPORT_NAME

    seen = f"curves: {run / REPORT_NAME}, numbers: {run / LOG_NAME}"
    if ended == "stopped":
        again = f"corpus train --run {shlex.quote(str(run))} resumes it"
        return f"stopped after step {step}, everything saved in {run}; {again}\n{seen}"
    where, data = shlex.quote(str(run)), shlex.quote(str(parts_of(config.data.data)[0].path))
    split = "" if _holds_validation(config) else f" --split {config.data.split}"
    return (
        f"step {step} done; the model is in {run}\n{seen}\n"
        f"next: corpus eval --run {where} --data {data}{split}\n"
        f"      corpus talk --run {where} --user FILE --out FOLDER\n"
        f"      corpus export --run {where} --out FOLDER\n"
        f"      corpus train --run {where} steps={2 * step}"
    )


def _holds_validation(config: RunConfig) -> bool:
    """Small datasets may have no validation split."""
    from corpus.shards.read import open_clips
    from corpus.trainer.data.mixture import parts_of

    try:
        return len(open_clips(parts_of(config.data.data)[0].path, split="validation")) > 0
    except CorpusError:  # it has gone missing: eval will report it
        return True


group.command("plan")(talk.plan)


@group.command("compare")
def _compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs.")],
    out: Annotated[Path, typer.Option("--out", metavar="PAGE.html", help="The page to write.")],
) -> None:
    """Draw the curves of several runs on one page.

    Example: corpus train compare runs/a runs/b --out page.html
    """
    from corpus.trainer.train.compare import compare as draw

    draw(runs, out)
    show.data(str(out))


def export(
    run: _Run,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="A new folder.")],
    step: Annotated[
        int | None, typer.Option("--step", help="Step of the checkpoint; default: the newest.")
    ] = None,
    ema: Annotated[bool, typer.Option("--ema", help="Use the moving average of the weights.")] = False,
    bf16: Annotated[bool, typer.Option("--bf16", help="Write weights in bfloat16, half the size.")] = False,
) -> None:
    """Write a run's model as safetensors with a config.json.

    Example: corpus export --run run --out model
    """
    from corpus.trainer.train.export import export as write

    for path in write(run, out, step=step, ema=ema, dtype="bfloat16" if bf16 else "float32"):
        show.data(str(path))
