"""Finding a clip by its key, its recording's name, a time in it, or the beginning of one of these."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from corpus.schemas.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


def place_of(name: str, keys: list[str], columns: Callable[..., pa.Table], where: str) -> int:
    """The position of the clip among the `keys`; `columns` returns columns of the index. See `Clips.find`.

    Raises:
        UsageError: no clip, or more than one, has this name.
    """
    by_key = [name] if name in keys else [key for key in keys if name and key.startswith(name)]
    if len(by_key) == 1:
        return keys.index(by_key[0])
    table = columns("uri", "start_us", "stop_us")
    file, at_us = _name_and_time(name)
    uris = table["uri"].to_pylist()
    # A whole name wins over a beginning, so that `talk.mp4` is not ambiguous beside `talk.mp4.bak`.
    for fits in (_is_file, _file_begins):
        named = {uri for uri in uris if fits(uri, file)}
        if named:
            break
    if by_key or len(named) > 1:
        several = sorted(named) or by_key
        shown = ", ".join(several[:5]) + (", …" if several[5:] else "")
        raise UsageError(f"{name!r} may be {shown}", where=where, todo="give more of the name")
    starts, stops = (table[column].to_pylist() for column in ("start_us", "stop_us"))
    places = [
        place
        for place, uri in enumerate(uris)
        if uri in named and (at_us is None or starts[place] <= at_us < stops[place])
    ]
    if not places:
        what = f"no clip of {min(named)} holds {name.rpartition('@')[2]}" if named else f"no clip {name!r}"
        todo = f'corpus catalog {where} "SELECT clip_id, uri, start_us FROM clips" lists them'
        raise UsageError(what, where=where, todo=todo)
    return places[0]


def _name_and_time(name: str) -> tuple[str, int | None]:
    """`talk.mp4@1:23` is a name and a time; an @ without a time behind it belongs to the name."""
    file, _, time = name.rpartition("@")
    if not file or re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", time) is None:
        return name, None
    seconds = 0.0
    for part in time.split(":"):
        seconds = 60 * seconds + float(part)
    return file, round(seconds * 1e6)


def _is_file(uri: str, name: str) -> bool:
    return uri == name or uri.endswith(f"/{name}")


def _file_begins(uri: str, name: str) -> bool:
    return bool(name) and uri.rpartition("/")[2].startswith(name)
