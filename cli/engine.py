"""`--engine` and `--address`: where the work of a command is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal

import typer

from corpus.schemas.errors import UsageError

Engine = Annotated[
    str,
    typer.Option("--engine", metavar="local|ray", help="Processes of this machine, or a Ray cluster."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="Ray's address, auto or HOST:6379; default: Ray starts on this machine."),
]


def engine_of(name: str, address: str | None) -> Literal["local", "ray"]:
    """The engine, if name and address fit together."""
    if name not in ("local", "ray"):
        raise UsageError(f"{name!r} is neither local nor ray", where="--engine")
    if address is not None and name == "local":
        raise UsageError("is Ray's", where="--address", todo="give --engine ray, too")
    return "ray" if name == "ray" else "local"


def spread_of(name: str, address: str | None) -> Callable[..., Iterator[Any]] | None:
    """What spreads a function over jobs on a cluster; None for this machine."""
    if engine_of(name, address) == "local":
        return None
    from corpus.pipeline.ray_engine import in_order

    return partial(in_order, address=address)
