"""`corpus sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpus.cli import show


def sample(
    out: Annotated[Path, typer.Argument(metavar="OUT.mp4", help="Where to write the film.")],
) -> None:
    """Write a real 30 s phone call with a drawn picture: mouths follow the truth, a counter the window.

    Example: corpus sample call.mp4
    """
    from corpus.pipeline.sample import write_sample

    write_sample(out)
    show.talk(f"wrote {out}; try `corpus build {out} --out dataset`")
