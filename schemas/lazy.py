"""The public names of a room, each loaded when first asked for, so that importing a room stays light."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module


def loaded(package: str, homes: Mapping[str, str], name: str) -> object:
    """The object that a package calls `name`.

    `homes` gives the module of each public name. A function cannot be public under the name of its own
    module: importing the module would replace it.

    Raises:
        AttributeError: the package has no such public name.
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return getattr(import_module(f"{package}.{homes[name]}"), name)
