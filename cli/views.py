"""`corpus stats`, `corpus catalog` and `corpus inspect`: looking at a dataset."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpus.cli import show
from corpus.schemas.errors import DatasetError
from corpus.schemas.urls import place_of

if TYPE_CHECKING:
    from corpus.report.catalog import Answer

_Built = Annotated[str, typer.Argument(metavar="OUT", help="A dataset's folder or URL.")]

_BLOCK_ROWS = 1_000
_WIDEST_CELL = 80


def catalog(
    out: _Built,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One read-only statement.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object per line, without shortening values.")
    ] = False,
) -> None:
    """Query the catalog of a dataset in DuckDB's SQL. Read-only, without access to other files.

    Examples:

      corpus catalog dataset "SHOW TABLES"

      corpus catalog dataset "SELECT uri, speaker, words_per_minute FROM speech_by_speaker"

      corpus catalog dataset "SELECT * FROM cues WHERE label = 'interruption'" --json
    """
    from corpus.report.catalog import query_catalog

    with _with_catalog(out) as folder, query_catalog(folder, sql) as answer:
        if as_json:
            _print_lines(answer)
        else:
            _print_table(answer)


@contextmanager
def _with_catalog(out: str) -> Iterator[Path]:
    """The dataset's folder; for a dataset at a URL, a temporary folder with its catalog."""
    place = place_of(out)
    if isinstance(place, Path):
        yield place
        return
    from corpus.report.catalog import CATALOG_FILE
    from corpus.schemas.scratch import scratch
    from corpus.schemas.store import store_at

    store = store_at(place)
    with scratch("corpus-catalog-") as folder:
        try:
            store.fetch(CATALOG_FILE, folder)
        except FileNotFoundError as error:
            what = f"holds no {CATALOG_FILE}"
            raise DatasetError(what, where=store.shown, todo="check the address") from error
        yield folder


def _print_lines(answer: Answer) -> None:
    for row in answer.rows:
        values = {name: _plain(value) for name, value in zip(answer.columns, row, strict=True)}
        show.data(show.plain_json(json.dumps(values, ensure_ascii=False, allow_nan=False, default=str)))


def _plain(value: Any) -> Any:
    """JSON knows no infinity and no NaN; they become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(answer: Answer) -> None:
    """Columns are aligned over a thousand rows at a time, so that a long answer starts to print at once."""
    head = [show.one_line(name) for name in answer.columns]
    widths = [len(name) for name in head]
    cells = ([_cell(value) for value in row] for row in answer.rows)
    for block in _blocks(cells):
        widths = [max(width, *(len(row[i]) for row in block)) for i, width in enumerate(widths)]
        for row in [head, *block] if head else block:
            show.data("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        head = []
    if head:
        show.data("  ".join(head))


def _blocks(cells: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    while block := list(islice(cells, _BLOCK_ROWS)):
        yield block


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:.6g}" if isinstance(value, float) else show.one_line(str(value))
    return text if len(text) <= _WIDEST_CELL else text[: _WIDEST_CELL - 1] + "…"


def stats(
    out: _Built,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Show statistics of a dataset. Hours, speech, overlap, floor-transfer offsets, cues, drops.

    Example: corpus stats dataset
    """
    from corpus.report.stats import dataset_stats
    from corpus.report.stats_text import stats_text

    with _with_catalog(out) as folder:
        statistics = dataset_stats(folder)
    if as_json:
        show.json_line(statistics)
    else:
        show.data("\n".join(show.one_line(line) for line in stats_text(statistics)))


def inspect(
    out: _Built,
    key: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="A recording's file name, NAME@TIME, or a clip's key."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE.html", help="Where to write the page.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the clip's metadata instead of writing a page.")
    ] = False,
    cues: Annotated[
        Path | None,
        typer.Option(
            "--cues", metavar="FOLDER", help="Write pages with one example cue of each label and kind."
        ),
    ] = None,
) -> None:
    """Write one clip as an HTML page. It has picture and sound; without a name, it is the first clip.

    Pictures, waveform and dMel of each channel, words, turns and cues share one time line. --cues writes a
    folder of pages instead, whose `index.html` links to a cue of each label and kind.

    Examples:

      corpus inspect dataset

      corpus inspect dataset talk.mp4@1:23 --page clip.html

      corpus inspect s3://bucket/dataset talk.mp4

      corpus inspect dataset --cues heard
    """
    if cues is not None:
        _hear_cues(out, cues, alone=key is None and page is None and not as_json)
        return
    from corpus.report.inspect import find_clip, write_clip_page

    clip = find_clip(place_of(out), key)
    if as_json:
        show.json_line(clip.json)
        return
    path = page or Path(re.sub(r"[^0-9A-Za-z_-]", "_", clip.key)[:100] + ".html")
    write_clip_page(clip, path)
    show.data(str(path))
    show.talk("open it in a browser; space plays")


def _hear_cues(out: str, folder: Path, *, alone: bool) -> None:
    from corpus.report.cue_pages import write_cue_pages
    from corpus.report.stats import dataset_stats
    from corpus.schemas.errors import UsageError

    if not alone:
        raise UsageError("cannot be combined with a name, --page or --json", where="--cues")
    with _with_catalog(out) as catalog:
        stats = dataset_stats(catalog)
    show.data(str(write_cue_pages(place_of(out), stats, folder)))
    show.talk("open it in a browser; each link opens a clip's page just before a cue")
