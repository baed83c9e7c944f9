"""`corpus doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpus.cli import show


def doctor(
    cache: Annotated[
        Path, typer.Option("--cache", envvar="CORPUS_CACHE_DIR", help="Where stage artifacts will be kept.")
    ] = Path("."),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")] = False,
) -> None:
    """Show what is installed and what is missing. Also which models are present, and how to get the others.

    Exit code 5 when something that a build needs is missing.

    Example: corpus doctor
    """
    from corpus.pipeline.doctor import examine

    facts = examine(cache)
    if as_json:
        for fact in facts:
            show.json_line(fact)
    else:
        rows = [[fact.name, "ok" if fact.ok else "no", show.one_line(fact.detail)] for fact in facts]
        show.table(rows, ["what", "", "found"])
        for fact in facts:
            if fact.todo:
                show.talk(f"{fact.name}: {show.one_line(fact.todo)}")
    raise typer.Exit(0 if all(fact.ok for fact in facts) else 5)
