"""`--engine` and `--address`: where a command's work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal

import typer

from corpus.schemas.errors import UsageError

Engine = Annotated[
    str,
    typer.Option(
        "--engine", metavar="local|ray", help="Work on this machine's processes, or on a Ray cluster."
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray's address: auto or HOST:6379; default: start Ray on this machine."),
]


def engine_of(name: str, address: str | None) -> Literal["local", "ray"]:
    """The engine, if its name and the address are compatible."""
    if name not in ("local", "ray"):
        raise UsageError(f"{name!r} is neither local nor ray", where="--engine")
    if address is not None and name == "local":
        raise UsageError("is for Ray", where="--address", todo="add --engine ray")
    return "ray" if name == "ray" else "local"


def spread_of(name: str, address: str | None) -> Callable[..., Iterator[Any]] | None:
    """The function that runs jobs on a cluster; None for this machine."""
    if engine_of(name, address) == "local":
        return None
    from corpus.pipeline.ray_engine import in_order

    return partial(in_order, address=address)
