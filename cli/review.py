"""`corpus review`: serve the annotators' page, query, compare, export and import their decisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from corpus.cli import show

group = typer.Typer(
    no_args_is_help=True, help="Check and correct labels in the browser. The next build uses them."
)

_Built = Annotated[Path, typer.Argument(metavar="OUT", help="A dataset's folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@group.command("serve")
def _serve(
    out: _Built,
    annotator: Annotated[str, typer.Option("--annotator", help="Your name; if omitted, the page asks.")] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 picks a free port.")] = 8765,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="CORPUS_REVIEW_TOKEN",
            help="Required from every visitor; at least 16 characters.",
        ),
    ] = None,
    overlap: Annotated[
        int, typer.Option("--overlap", min=1, max=20, help="How many people judge each item.")
    ] = 1,
    gold_every: Annotated[
        int,
        typer.Option("--gold-every", min=0, help="Show an item that was ruled on as every n-th; 0: never."),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random sample.")] = 0,
) -> None:
    """Serve the annotators' page until stopped (Ctrl-C). The next `corpus build` uses what they decide.

    Examples:

      corpus review serve dataset --annotator ann

      corpus review serve dataset --overlap 2 --port 9000
    """
    import logging

    from corpus.review.room import Options
    from corpus.review.serve import serve as run

    logging.basicConfig(format="%(asctime)s %(message)s")
    options = Options(overlap=overlap, gold_every=gold_every, seed=seed)
    run(out, host=host, port=port, token=token, annotator=annotator, options=options, say=show.data)


@group.command("sql")
def _sql(
    out: _Built, statement: Annotated[str, typer.Argument(metavar="SQL")], as_json: _Json = False
) -> None:
    """Query the reviews with SQL. Tables: reviews, reviews_current, disagreements. The server may be running.

    Example: corpus review sql dataset "SELECT annotator, count(*) FROM reviews GROUP BY ALL"
    """
    from corpus.review.serve import query

    columns, rows = query(out, statement)
    if as_json:
        for row in rows:
            show.data(
                show.plain_json(
                    json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, default=str)
                )
            )
    else:
        show.table([["-" if v is None else show.one_line(str(v)) for v in row] for row in rows], columns)


@group.command("agree")
def _agree(out: _Built, as_json: _Json = False) -> None:
    """Show how well annotators agree. Also how precise they found each labeler.

    Example: corpus review agree dataset
    """
    from corpus.review.exchange import agreement_of

    report = agreement_of(out)
    if as_json:
        show.json_line(report)
        return
    show.talk(f"{report.decisions} decisions on {report.items} items, {report.doubly} judged by two or more")
    rows = [
        [
            a.name,
            str(a.items),
            _share(a.agree),
            _number(a.kappa),
            _number(a.alpha),
            _ms(a.boundaries.median_ms),
        ]
        for a in (*report.labels, *report.pairs)
    ]
    if rows:
        show.table(rows, ["", "items", "same", "kappa", "alpha", "ends apart"])
    quality = [
        [
            f"{q.label} {q.kind}".strip(), q.origin, f"{q.right} of {q.judged}",
            _share(q.precision),
            f"{q.precision_low:.2f}-{q.precision_high:.2f}", _share(q.recall),
            "look at its thresholds" if q.doubtful else "sampled" if q.sampled else "not sampled",
        ]
        for q in report.quality
    ]  # fmt: skip
    if quality:
        show.table(quality, ["label", "labeler", "right", "precision", "95 %", "recall", ""])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


@group.command()
def export(
    out: _Built,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help=".parquet, .csv, .json or .jsonl; a folder with --as."),
    ],
    form: Annotated[
        str,
        typer.Option("--as", help="eaf (ELAN) or textgrid (Praat): cues, words and turns as tiers."),
    ] = "",
) -> None:
    """Write all reviews into one file. With --as: the labels, as tiers to correct in ELAN or Praat.

    Examples:

      corpus review export dataset reviews.csv

      corpus review export dataset elan --as eaf
    """
    from corpus.review.exchange import export_reviews, export_tiers

    if not form:
        show.talk(f"{export_reviews(out, file).reviews} reviews in {file}")
        return
    done = export_tiers(out, file, form)
    without = f"; {done.left_out} items without a time or a length were left out" if done.left_out else ""
    show.talk(f"{done.files} files in {file}{without}")


@group.command("import")
def _import_(
    out: _Built,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".parquet, .csv, .json, .jsonl, or a folder written by export --as.",
            exists=True,
        ),
    ],
    annotator: Annotated[str, typer.Option("--annotator", help="Annotator for rows that name none.")] = "",
) -> None:
    """Import reviews made elsewhere. A review imported twice counts once.

    Examples:

      corpus review import dataset reviews.jsonl

      corpus review import dataset elan --annotator ann
    """
    from corpus.review.exchange import import_reviews

    done = import_reviews(out, file, annotator)
    known = f", {done.known} already known" if done.known else ""
    show.talk(f"{done.new} new reviews{known}")
    if done.passed_over:
        show.talk(f"not read: {', '.join(done.passed_over[:10])}{' …' if len(done.passed_over) > 10 else ''}")
