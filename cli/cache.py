"""`corpus cache`: check stage artifacts, and remove those not used for a while."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpus.cli import show

cache = typer.Typer(no_args_is_help=True, help="Check and prune stage artifacts.")

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A dataset's folder, or a --cache folder.")]


@cache.command("check")
def _check(folder: _Folder) -> None:
    """Check every artifact; exit code 4 if one is damaged. The next build remakes damaged ones.

    Example: corpus cache check dataset
    """
    from corpus.pipeline.cache_care import check as run

    checked = run(folder)
    for path in checked.damaged:
        show.data(f"{path}: damaged")
    show.talk(f"{checked.artifacts} artifacts, {show.size(checked.bytes)}: {len(checked.damaged)} damaged")
    raise typer.Exit(4 if checked.damaged else 0)


@cache.command("prune")
def _prune(
    folder: _Folder,
    days: Annotated[
        int, typer.Option("--days", min=0, help="Keep artifacts used within this many days.")
    ] = 30,
) -> None:
    """Remove artifacts that no build has used for a while. A later build remakes those it needs.

    Example: corpus cache prune dataset --days 7
    """
    from corpus.pipeline.cache_care import prune as run

    pruned = run(folder, days)
    show.talk(f"{pruned.artifacts} artifacts removed, {show.size(pruned.bytes)}")
