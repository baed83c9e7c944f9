"""`corpus build` and the commands about a build: plan, status, errors, verify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corpus.cli import show
from corpus.cli.engine import Address, Engine, engine_of, spread_of
from corpus.schemas.errors import StorageError, UsageError
from corpus.schemas.light import load_pyarrow_without_pandas
from corpus.schemas.reviews_file import REVIEWS_FILE
from corpus.schemas.urls import place_of, public_url

if TYPE_CHECKING:
    from corpus.pipeline.plan_hours import HoursPlan
    from corpus.pipeline.request import Outcome, Request

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Files, folders, globs, URLs, or a .jsonl manifest."),
]
Out = Annotated[str, typer.Option("--out", "-o", help="The dataset's folder, or its URL.")]
_Built = Annotated[str, typer.Argument(metavar="OUT", help="A dataset's folder or URL.")]
_CachePlace = Annotated[
    str | None,
    typer.Option(
        "--cache",
        envvar="CORPUS_CACHE_DIR",
        help="Where stage artifacts are kept; default: OUT/.cache. A URL keeps only models' artifacts.",
    ),
]
_Config = Annotated[Path | None, typer.Option("-c", "--config", help="Settings: a corpus.toml.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
_Workers = Annotated[
    int,
    typer.Option("--num-workers", "-j", min=1, envvar="CORPUS_NUM_WORKERS", help="Worker processes."),
]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override one setting; may be repeated."),
]


_LocalUrls = Annotated[
    bool,
    typer.Option(
        "--allow-local-urls",
        help="Let a manifest's URLs reach this machine (file://, 127.0.0.1) and private networks.",
    ),
]


def _request(
    inputs: list[str],
    out: Path,
    cache: str | None,
    config: Path | None,
    overrides: list[str] | None,
    num_workers: int = 1,
    rehash: bool = False,
    allow_removals: bool = False,
    allow_local_urls: bool = False,
) -> Request:
    from corpus.cli.far import folder_of
    from corpus.pipeline.request import Request
    from corpus.pipeline.settings_file import read_settings, with_overrides

    return Request(
        inputs=tuple(inputs),
        out=out,
        settings=with_overrides(read_settings(config), overrides or []),
        cache=folder_of(cache) if cache is not None else None,
        cache_url=cache if cache is not None and folder_of(cache) is None else None,
        num_workers=num_workers,
        rehash=rehash,
        allow_removals=allow_removals,
        local_urls=tuple(inputs) if allow_local_urls else (),
    )


def build(
    inputs: Inputs,
    out: Out,
    num_workers: _Workers = 1,
    cache: _CachePlace = None,
    config: _Config = None,
    overrides: _Set = None,
    rehash: Annotated[
        bool, typer.Option("--rehash", help="Read inputs again even if size and time are unchanged.")
    ] = False,
    add: Annotated[bool, typer.Option("--add", help="Add to OUT: keep its recordings and settings.")] = False,
    allow_removals: Annotated[
        bool, typer.Option("--allow-removals", help="Remove recordings that are no longer among the inputs.")
    ] = False,
    engine: Engine = "local",
    address: Address = None,
    allow_local_urls: _LocalUrls = False,
    reviews: Annotated[
        Path | None,
        typer.Option(
            "--reviews",
            metavar="FILE",
            help="Import annotators' decisions into OUT from a reviews.parquet or .jsonl.",
        ),
    ] = None,
) -> None:
    """Build a dataset from recorded conversations.

    Annotation files beside a media file (x.rttm, x.stm, x.ctm, x.json beside x.mp4) are used; models
    supply the rest. To resume an interrupted build, run the same command again.

    The sound and speech of every clip are measured; `[filters]` in the settings excludes clips by these
    measurements (docs/quality.md). Poor recordings are named at the end.

    Examples:

      corpus build talk.mp4 --out dataset

      corpus build talks/ --out dataset --set filters.min_snr_db=5

      corpus build talks/ interviews.jsonl --out dataset --num-workers 8 -c corpus.toml

      corpus build --add new.mp4 --out dataset

      corpus build /shared/talks --out /shared/dataset --engine ray --address auto

      corpus build talks/ --out s3://bucket/dataset
    """
    from corpus.cli.far import built_at, told_of
    from corpus.review.store import bring_up_to_date

    folder, run = built_at(out)
    if reviews is not None:
        from corpus.review.exchange import import_reviews

        if place_of(out) != folder:
            raise UsageError(
                "is only for folders", where="--reviews", todo=f"copy the file to {out}/{REVIEWS_FILE}"
            )
        show.talk(f"{import_reviews(folder, reviews)} decisions imported from {reviews}")
    load_pyarrow_without_pandas()
    bring_up_to_date(folder)
    request = _request(
        inputs, folder, cache, config, overrides, num_workers, rehash, allow_removals, allow_local_urls
    )
    request = replace(request, engine=engine_of(engine, address), address=address)
    if add:
        from corpus.pipeline.adding import added

        with told_of(out):
            request = added(request, settings_given=config is not None or bool(overrides))
    bars = show.Bars()
    try:
        with told_of(out):
            outcome = run(request, bars)
    finally:
        bars.close()
    _report(outcome, out)
    raise typer.Exit(outcome.exit_code)


def _report(outcome: Outcome, place: str) -> None:
    from corpus.schemas.clock import WINDOW_US

    out = public_url(place)
    if outcome.unchanged:
        show.talk(f"nothing changed: {out} is up to date")
    else:
        show.talk(
            f"{show.counted(outcome.recordings, 'recording')}, {show.counted(outcome.clips, 'clip')}, "
            f"{show.duration(outcome.windows * WINDOW_US)} in {out}; "
            f"{outcome.shards_written} of {show.counted(outcome.shards, 'shard')} written"
        )
        if not outcome.recordings:  # otherwise nothing would explain why an empty folder gives no dataset
            for trim in [d for d in outcome.drops if d.kind == "trim"][:20]:
                show.talk(f"trim: {show.drop_line(trim)}")
        elif outcome.trims:
            show.talk(f"{show.counted(outcome.trims, 'expected trim')}; see report.html")
        for line in outcome.poor:
            show.talk(f"poor: {show.one_line(line)}")
        for fault in outcome.faults[:20]:
            show.talk(f"fault: {show.drop_line(fault)}")
        if len(outcome.faults) > 20:
            show.talk(f"... and {show.counted(len(outcome.faults) - 20, 'more fault')}")
    if outcome.exit_code == 3:
        show.talk(f"some recordings are in quarantine: `corpus errors {out}` lists them")


def plan(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INPUT]...", help="Files, folders, globs, URLs, or a .jsonl manifest."),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", "-o", help="The dataset's folder.")] = None,
    cache: _CachePlace = None,
    config: _Config = None,
    overrides: _Set = None,
    hours: Annotated[
        float | None, typer.Option("--hours", help="Estimate this many hours, without inputs.")
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines, for --hours.")] = 1,
    cores: Annotated[int, typer.Option("--cores", min=1, help="Cores per machine, for --hours.")] = 32,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="GPUs per machine, for --hours.")] = 0,
    pictures: Annotated[bool, typer.Option("--pictures", help="Recordings have video, for --hours.")] = False,
    allow_local_urls: _LocalUrls = False,
    as_json: _Json = False,
) -> None:
    """Show what a build would do, without changing anything.

    Examples:

      corpus plan talks/ --out dataset

      corpus plan --hours 10000 --nodes 20 --gpus 8
    """
    if hours is not None:
        from corpus.pipeline.plan_hours import plan_hours

        if inputs or out is not None:
            raise UsageError("takes neither inputs nor --out", where="--hours")
        _print_hours(
            plan_hours(hours, nodes=nodes, cores_per_node=cores, gpus=gpus, pictures=pictures), as_json
        )
        return
    if not inputs or out is None:
        raise UsageError("inputs and --out are needed", todo="or give --hours for an estimate without them")
    from corpus.pipeline.plan import plan as make

    if isinstance(folder := place_of(out), str):
        raise UsageError("plans are made for folders only", where=f"--out {public_url(out)}")

    load_pyarrow_without_pandas()
    report = make(_request(inputs, folder, cache, config, overrides, allow_local_urls=allow_local_urls))
    if as_json:
        show.json_line(report)
        return
    rows = [
        [show.one_line(p.uri), p.action, show.duration(p.duration_us), show.size(p.bytes), p.reason]
        for p in report.items
    ]
    show.table(rows, ["recording", "action", "length", "size", ""])
    for drop in report.drops:
        show.talk(f"{drop.kind}: {show.drop_line(drop)}")
    for uri in report.removals:
        show.talk(f"not among the inputs, removed with --allow-removals: {show.one_line(uri)}")
    if report.nothing_to_do:
        show.talk("nothing changed: there is nothing to build")
    else:
        show.talk(
            f"{report.hours:.2f} hours; about {show.size(report.dataset_bytes)} of dataset, "
            f"{show.size(report.cache_bytes)} of cache"
        )


def _print_hours(made: HoursPlan, as_json: bool) -> None:
    if as_json:
        show.json_line(made)
        return
    rows = [
        ["work", f"{made.core_hours:,.0f} core hours (default models, two speakers)"],
        ["time", f"{made.wall_hours:,.1f} h on {made.nodes} machines of {made.cores_per_node} cores"],
        ["memory", f"{made.memory_gb_per_node:.0f} GB per machine"],
        ["dataset", show.size(made.dataset_bytes)],
        ["cache", show.size(made.cache_bytes)],
        ["read", show.size(made.read_bytes)],
        ["written", show.size(made.written_bytes)],
    ]
    if made.gpus:
        rows.append(
            ["GPUs", "not counted: their speed has not been measured; the time is for the cores alone"]
        )
    show.table(rows, ["", ""])


def status(out: _Built, as_json: _Json = False) -> None:
    """Show the progress of the running or last build.

    Example: corpus status dataset
    """
    from corpus.cli.far import status_of
    from corpus.schemas.errors import DatasetError

    now, locked = status_of(out)
    if now is None:
        where = public_url(out)
        raise DatasetError("no build was started here", where=where, todo="start one with `corpus build`")
    ended = now.phase in ("done", "failed", "interrupted")
    if not ended and not locked:
        now = replace(now, phase="killed", detail=f"it died in phase {now.phase}; build again to resume")
    if as_json:
        show.json_line(now)
        return
    show.data(
        f"{now.phase}: {now.done} of {now.recordings} done, {now.faults} with faults {now.detail}".rstrip()
    )
    if not ended:
        for one in now.running:
            show.data(f"  {show.one_line(one.uri)}: {one.stage} {one.share:.0%}")
        if now.more:
            show.data(f"  and {now.more} more")


def errors(
    out: _Built,
    action: Annotated[str, typer.Argument(help="list, show or retry.")] = "list",
    names: Annotated[list[str] | None, typer.Argument(help="Recordings; default: all.")] = None,
    as_json: _Json = False,
) -> None:
    """List, show or retry quarantined recordings.

    Examples:

      corpus errors dataset

      corpus errors dataset retry broken.mp4
    """
    from corpus.cli.far import built_at, quarantined_in, told_of
    from corpus.pipeline.quarantine import retry

    if action not in ("list", "show", "retry"):
        raise UsageError(f"{action!r} is not list, show or retry", where="corpus errors")
    if action == "retry":
        folder, run = built_at(out)
        bars = show.Bars()
        try:
            with told_of(out):
                outcome = retry(folder, names or [], bars, run)
        finally:
            bars.close()
        _report(outcome, out)
        raise typer.Exit(outcome.exit_code)
    for one in quarantined_in(out, names or []):
        if as_json:
            show.json_line(one)
        elif action == "list":
            note = "built without it" if one.built else "not built"
            reason = one.drops[0].reason if one.drops else "no reason recorded"
            show.data(f"{show.one_line(one.uri)}  ({note})  {show.one_line(reason)}")
        else:
            for drop in one.drops:
                show.data(show.drop_line(drop))
            show.data(f"  retry: corpus errors {public_url(out)} retry {show.one_line(one.uri)!r}")


def _remember(out: Path, broken: list[str]) -> None:
    """Record for the next build what to make again; nothing is recorded in a read-only folder."""
    from contextlib import suppress

    from corpus.pipeline.state import State

    with suppress(OSError, StorageError):
        if broken or (out / ".cache").is_dir():
            State(out).save_damaged(broken)


def verify(
    out: Annotated[str, typer.Argument(metavar="OUT", help="A dataset's folder or URL.")],
    as_json: _Json = False,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Check a dataset against everything its format promises. Exit code 4 if anything is wrong.

    Examples:

      corpus verify dataset

      corpus verify s3://bucket/dataset

      corpus verify /shared/dataset --engine ray --address auto
    """
    from corpus.shards.verify import verify_dataset as check

    place = place_of(out)
    report = check(place, spread=spread_of(engine, address))
    if isinstance(place, Path):
        _remember(place, [problem.where.partition(": ")[0] for problem in report.problems])
    if as_json:
        show.json_line(report)
    else:
        for problem in report.problems:
            show.data(show.one_line(f"{problem.where}: {problem.what} [{problem.code}]"))
        show.talk(
            f"{show.counted(report.clips, 'clip')}, {show.counted(report.windows, 'window')}: "
            f"{show.counted(len(report.problems), 'problem')}"
        )
    raise typer.Exit(4 if report.problems else 0)
