"""A page with a link to an example of each label and kind, which opens its clip's page at that moment."""

from __future__ import annotations

from pathlib import Path

from corpus.report.cue_counts import SOURCES, CueCount
from corpus.report.inspect import clip_page, find_clip
from corpus.report.pages.lanes import clock
from corpus.report.pages.markup import Markup, el, page
from corpus.report.pages.tables import Column, table
from corpus.report.stats import Stats, Unmade
from corpus.schemas.files import storage_errors, write_whole

_LEAD_US = 1_500_000
"""A page opens so long before its cue: what came before is half of what one hears."""


def write_cue_pages(out: Path | str, stats: Stats, folder: Path) -> Path:
    """Write the clips' pages and `index.html` with a link to each; returns the index.

    `stats` are the statistics of the dataset's own catalog.

    Raises:
        DatasetError: there is no dataset.
        FormatError: a clip is damaged.
        StorageError: the pages cannot be written.
    """
    pages = {cue.example_clip: f"clip-{number}.html" for number, cue in enumerate(stats.cues)}
    index = folder / "index.html"
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for key, name in pages.items():
            if key is not None:
                write_whole(folder / name, clip_page(find_clip(out, key)).encode())
        write_whole(index, _index(stats.cues, stats.unmade, pages).encode())
    return index


def cue_table(cues: tuple[CueCount, ...], last: Column, cells: list[str]) -> Markup:
    """A table of counts and rates beside published ones; the caller provides the last column."""
    columns = (
        *(Column("cue", "name"), Column("count", "n"), Column("a minute", "n")),
        *(Column("a minute in published corpora"), last),
    )
    rows = [
        (
            *(cue.name, f"{cue.count:,}"),
            *("–" if cue.per_minute is None else f"{cue.per_minute:.2g}", cue.published or "–", cell),
        )
        for cue, cell in zip(cues, cells, strict=True)
    ]
    return table("Cues by label and kind, a minute of the recordings they were looked for in.", columns, rows)


def unmade_table(unmade: tuple[Unmade, ...]) -> Markup:
    """A table of labels that were not looked for, so that their absence means nothing."""
    if not unmade:
        return Markup("")
    return table(
        "Labels that were not made, and why.",
        (Column("label", "name"), Column("recordings", "n"), Column("reason", "words")),
        [(one.label.replace("_", " "), f"{one.recordings:,}", one.reason) for one in unmade],
    )


def _index(cues: tuple[CueCount, ...], unmade: tuple[Unmade, ...], pages: dict[str | None, str]) -> str:
    body = el(
        "main",
        el("h1", "Cues to hear"),
        cue_table(cues, Column("hear"), [_link(cue, pages) for cue in cues]),
        el("p", SOURCES, class_="note"),
        unmade_table(unmade),
    )
    return page("Cues to hear", body, styles=("page.css",))


def _link(cue: CueCount, pages: dict[str | None, str]) -> str:
    if cue.example_clip is None:
        return "in no clip"
    opens_us = max(0, cue.example_offset_us - _LEAD_US)
    target = f"{pages[cue.example_clip]}#{opens_us / 1e6:.1f}"
    return el("a", f"{cue.example_uri} at {clock(cue.example_start_us)}", href=target)
