"""`corpus talk`, `corpus eval` and `corpus train plan`: using, measuring and planning a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from corpus.cli import show
from corpus.cli.eval_tables import EvalBar, number, print_cues, print_recordings, print_timing, print_windows
from corpus.cli.eval_words import verdict

if TYPE_CHECKING:
    from corpus.trainer.config import RunConfig
    from corpus.trainer.evaluate.evaluate import EvalReport
    from corpus.trainer.model.model import InteractionModel
    from corpus.trainer.session.sampling import Sampling

_Run = Annotated[Path, typer.Option("--run", metavar="RUN", help="A run's folder, from corpus train.")]
_RunOrModel = Annotated[
    Path, typer.Option("--run", metavar="RUN", help="A run's folder, or one that corpus export wrote.")
]
_Step = Annotated[int | None, typer.Option("--step", help="Step of the checkpoint; default: the newest.")]
_Ema = Annotated[bool, typer.Option("--ema", help="Use the moving average of the weights.")]
_Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda; on cuda the weights are bf16.")]
_Seed = Annotated[int, typer.Option("--seed", help="The same seed and input give the same answers.")]
_Sampled = Annotated[
    bool, typer.Option("--sampled", help="Sample whether to speak; by default a threshold decides.")
]
Attention = Annotated[
    float | None,
    typer.Option(
        "--attention", min=0.2, help="How many seconds attention reaches back; default: as in training."
    ),
]
_SMALL_WIDTH = 256
"""Up to this width, handing work to a second thread takes longer than doing it."""
_Json = Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")]


def talk(
    run: _RunOrModel,
    user: Annotated[
        str, typer.Option("--user", metavar="FILE|OUT:KEY", help="A sound file, or a clip of a dataset.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to write.")],
    speaker: Annotated[
        str | None,
        typer.Option(
            "--speaker", help="The speaker in the clip whom the model replaces; default: the first."
        ),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", metavar='SECONDS:"TEXT"', help="Send the model a text at this time; may be repeated."
        ),
    ] = None,
    sampled: _Sampled = False,
    seed: _Seed = 0,
    step: _Step = None,
    ema: _Ema = False,
    device: _Device = "auto",
    attention: Attention = None,
    as_json: _Json = False,
) -> None:
    """Play a recorded user to a model. Its answers are written: sound, text and timing.

    Examples:

      corpus talk --run run --user question.wav --out answer

      corpus talk --run run --user dataset:3f2a90c1b7d04e5a8c1f-0000150 --speaker S2 --out answer

      corpus talk --run run --user question.wav --event 12.4:"tool: 21 degrees" --out answer
    """
    from corpus.trainer.session.talk import talk as play
    from corpus.trainer.session.talk_user import parse_event, user_of

    events = [parse_event(text) for text in event or []]
    heard = user_of(user, speaker)
    model = _model(run, step, ema, device)
    _attend(model, attention)
    with tqdm(total=heard.windows, unit="window", disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.update(done - bar.n)

        result = play(
            model,
            heard,
            out,
            events=events,
            sampling=_sampling(sampled),
            seed=seed,
            progress=progress,
        )
    if as_json:
        show.json_line(result)
        return
    for name in result.files:
        show.data(name)
    show.talk(
        f"{result.windows} windows, speaks in {result.spoken}; {result.median_ms:.1f} ms per window, "
        f"99 % within {result.p99_ms:.1f}, {result.late} late"
    )
    if result.unread:
        show.talk(
            f"the last {result.unread} characters of the events were not read: the user stream ended first; "
            "send them earlier, or let the stream run longer"
        )


def _loaded(run: Path, step: int | None, ema: bool, device: str) -> tuple[InteractionModel, RunConfig]:
    from corpus.schemas.errors import UsageError
    from corpus.trainer.train.exported import is_exported
    from corpus.trainer.train.load_model import load_model

    if is_exported(run):
        todo = "name the run it was exported from, which records how the data was read"
        raise UsageError("is an exported model, not a run", where=str(run), todo=todo)
    model, config = load_model(run, step=step, ema=ema, device=device)
    return _made_fast(model), config


def _model(run: Path, step: int | None, ema: bool, device: str) -> InteractionModel:
    """The model of a run or of an exported folder."""
    from corpus.schemas.errors import UsageError
    from corpus.trainer.parallel.device import device_named
    from corpus.trainer.train.exported import is_exported, load_exported

    if not is_exported(run):
        return _loaded(run, step, ema, device)[0]
    if step is not None or ema:
        todo = "omit --step and --ema, or name the run"
        raise UsageError("an exported model has only one set of weights", where=str(run), todo=todo)
    return _made_fast(load_exported(run, device_named(device))[0])


def _made_fast(model: InteractionModel) -> InteractionModel:
    import torch

    if model.embed.stream.is_cuda:
        return model.to(
            torch.bfloat16
        )  # every position reads all its weights: fp32 would read twice the bytes
    if model.config.width <= _SMALL_WIDTH:
        torch.set_num_threads(1)
    return model


def _attend(model: InteractionModel, seconds: float | None) -> None:
    """Set how far back a model attends; report it if that differs from its training."""
    if seconds is None:
        return
    import dataclasses

    from corpus.schemas.clock import US, WINDOW_US

    windows, trained = round(seconds * US / WINDOW_US), model.sight.window_turns
    if windows == trained:
        return
    model.see(dataclasses.replace(model.sight, window_turns=windows))
    before = "everything" if trained is None else f"{trained} windows"
    show.talk(f"attends to {windows} windows; it was trained with {before}")


def _sampling(sampled: bool) -> Sampling:
    from corpus.trainer.session.sampling import Sampling

    return Sampling(control="sampled" if sampled else "threshold")


def eval_(
    run: _Run,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="OUT", help="A dataset's folder; required without --fdb.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="The split to use.")] = "validation",
    most: Annotated[
        int | None, typer.Option("--documents", min=1, help="At most this many documents; default: all.")
    ] = None,
    free: Annotated[
        int,
        typer.Option(
            "--free",
            min=0,
            help="How many documents the model also runs through freely, window by window; slow.",
        ),
    ] = 16,
    bench: Annotated[
        Path | None,
        typer.Option("--bench", metavar="FOLDER", help="Also write folders for Full-Duplex-Bench."),
    ] = None,
    fdb: Annotated[
        Path | None,
        typer.Option(
            "--fdb", metavar="DIR", help="Answer Full-Duplex-Bench's own samples (v1 or v1.5) instead."
        ),
    ] = None,
    asr: Annotated[
        str | None,
        typer.Option(
            "--asr", metavar="BACKEND", help="With --fdb: recognise words with this: default or whisper:SIZE."
        ),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="With --fdb: replace existing outputs.")] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="PAGE.html", help="Also write the results as an HTML page."),
    ] = None,
    invariant: Annotated[
        bool,
        typer.Option(
            "--batch-invariant",
            help="On a CPU: slower, but sessions and full passes give the same bits (`dlogp` is 0).",
        ),
    ] = False,
    sampled: _Sampled = False,
    seed: _Seed = 0,
    step: _Step = None,
    ema: _Ema = False,
    device: _Device = "auto",
    attention: Attention = None,
    as_json: _Json = False,
) -> None:
    """Measure a model on held-out clips. Loss per stream and cue, and when it speaks.

    The tables include baselines; brackets hold 95 % intervals.

    Examples:

      corpus eval --run run --data dataset

      corpus eval --run run --data dataset --free 4 --json

      corpus eval --run run --data dataset --free 100 --report page.html

      corpus eval --run run --data dataset --bench fdb

      corpus eval --run run --fdb v1_0/candor_pause_handling --asr default
    """
    from corpus.schemas.errors import UsageError
    from corpus.trainer.evaluate.evaluate import Limits, evaluate_model
    from corpus.trainer.model.batch_invariant import batch_invariant

    if report is not None and (report.is_dir() or not report.parent.is_dir()):
        raise UsageError(f"no page can be written to {report}", todo="name a file in an existing folder")
    if (fdb is None) == (data is None):
        raise UsageError("exactly one of --data and --fdb is needed", todo="give --data OUT or --fdb DIR")
    model, config = _loaded(run, step, ema, device)
    _attend(model, attention)
    sampling = _sampling(sampled)
    if fdb is not None:
        _answer_bench(model, fdb, asr, sampling, seed, replace, as_json)
        return
    assert data is not None
    if invariant and model.embed.stream.is_cuda:
        raise UsageError("--batch-invariant works on the CPU only", todo="add --device cpu")
    with EvalBar() as bar, batch_invariant(invariant):
        evaluation = evaluate_model(
            model,
            config,
            data,
            split=split,
            sampling=sampling,
            seed=seed,
            limits=Limits(documents=most, free=free),
            progress=bar,
        )
    if as_json:
        show.json_line(evaluation)
    else:
        for line in verdict(evaluation):
            show.data(line)
        _print_losses(evaluation)
        print_windows(evaluation)
        print_cues(evaluation)
        print_timing(evaluation)
    if report is not None:
        from corpus.cli.eval_page import write_page

        write_page(evaluation, report)
        show.talk(f"page written to {report}")
    if bench is not None:
        from corpus.trainer.evaluate.duplex_bench import write_bench

        count = write_bench(model, config, data, bench, split=split, sampling=sampling, seed=seed, most=most)
        show.talk(
            f"{count} samples written to {bench}"
            if count
            else "no samples for Full-Duplex-Bench: these clips have no suitable cues; nothing was written"
        )


def _answer_bench(
    model: InteractionModel,
    fdb: Path,
    asr: str | None,
    sampling: Sampling,
    seed: int,
    replace: bool,
    as_json: bool,
) -> None:
    from corpus.trainer.evaluate.fdb_folder import run_folder, said

    recogniser = None
    if asr is not None:
        from corpus.cli.recognise import recogniser as opened

        recogniser = opened(asr)
    with tqdm(desc="samples", unit="sample", disable=None, leave=False) as bar:

        def tell(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        result = run_folder(
            model,
            fdb,
            recogniser=recogniser,
            sampling=sampling,
            seed=seed,
            replace=replace,
            progress=tell,
        )
    if as_json:
        show.json_line(result)
        return
    show.data(f"{result.samples} samples answered, {result.clean} of them also without the overlap")
    for line in said(result):
        show.data(line)


def _print_losses(report: EvalReport) -> None:
    show.table(
        [
            [
                row.cue,
                row.stream,
                str(row.count),
                number(row.model),
                number(row.unigram),
                number(row.bits_per_s, 0),
                number(row.level_mae, 2),
                number(row.unigram_level_mae, 2),
            ]
            for row in report.losses
        ],
        ["cue", "stream", "count", "model", "unigram", "bits/s", "levels off", "unigram off"],
    )
    print_recordings(report.recordings)


def plan(
    preset: Annotated[str, typer.Option("--preset", help="tiny, small, base or tml-276b-a12b.")] = "base",
    gpus: Annotated[int, typer.Option("--gpus", help="Number of GPUs.")] = 8,
    gpu: Annotated[str, typer.Option("--gpu", help="h100, h200, a100 or b200.")] = "h100",
    stages: Annotated[
        int | None, typer.Option("--stages", help="Pipeline stages; default: the best found.")
    ] = None,
    expert_ranks: Annotated[
        int | None,
        typer.Option("--expert-ranks", help="GPUs that share the experts; default: the best found."),
    ] = None,
    mfu: Annotated[float, typer.Option("--mfu", help="Share of peak FLOP/s assumed.")] = 0.28,
    positions: Annotated[
        float | None,
        typer.Option("--positions", help="Positions to train on, such as 1e12; default: the preset's steps."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Estimate memory, step time and days of a training run. Also the parallelism; nothing is started.

    Examples:

      corpus train plan --preset tml-276b-a12b --gpus 256 --gpu h100

      corpus train plan --preset base --gpus 8 --positions 1e11 --mfu 0.4
    """
    from corpus.cli.plan_table import lines
    from corpus.trainer.plan.plan import plan as calculate

    calculated = calculate(
        preset, gpus, gpu, stages=stages, expert_ranks=expert_ranks, mfu=mfu, positions=positions
    )
    if as_json:
        show.json_line(calculated)
        return
    width = max(len(name) for name, _ in lines(calculated))
    for name, value in lines(calculated):
        show.data(f"{name.ljust(width)}  {value}")
