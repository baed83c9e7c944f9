"""`corpus sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from corpus.cli import show


def sample(
    out: Annotated[Path, typer.Argument(metavar="OUT.mp4", help="Where to write the film.")],
) -> None:
    """Write a sample: a 30 s phone call. Drawn faces move with the voices; a counter shows windows.

    Example: corpus sample call.mp4
    """
    from corpus.pipeline.sample.film import write_sample

    with tqdm(total=30.0, desc="drawing", unit="s", disable=None, leave=False) as bar:

        def drawn(until_us: int) -> None:
            bar.update(until_us / 1e6 - bar.n)

        write_sample(out, progress=drawn)
    show.talk(f"wrote {out}; try `corpus build {out} --out dataset`")
