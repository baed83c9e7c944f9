"""Select clips of a split by an SQL condition over clips.parquet, such as `unreliable_share < 0.2`.

DuckDB evaluates it on the table in memory. The condition is parsed as one expression, and the engine cannot
reach files, the network, extensions or our variables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from corpus.schemas.errors import DatasetError, SettingsError
from corpus.shards.read import Clips

if TYPE_CHECKING:
    import pyarrow as pa

_MEMORY = "2GB"


def places_where(clips: Clips, condition: str) -> npt.NDArray[np.int64]:
    """Places, rising, of the clips that meet the condition.

    Raises:
        SettingsError: the condition is no expression over the columns of clips.parquet.
        DatasetError: no clip meets it.
    """
    import pyarrow as pa

    table = clips.columns()
    places = _asked(table.append_column("_place", pa.array(range(len(table)), pa.int64())), condition)
    if not len(places):
        raise DatasetError(
            f"none of the {len(table)} clips of split {clips.split!r} fits data.where {condition!r}",
            where=str(clips.path),
            todo="make the condition wider, or leave data.where out",
        )
    return places


def _asked(table: pa.Table, condition: str) -> npt.NDArray[np.int64]:
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        # The condition may come from a shared configuration: it must not read files or load extensions.
        "enable_external_access": "false",
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",
        "memory_limit": _MEMORY,
        "threads": "1",
    }
    columns = [name for name in table.column_names if name != "_place"]
    try:
        with duckdb.connect(":memory:", config=settings) as engine:
            engine.execute("SET lock_configuration = true")
            # `filter` parses one expression: no second statement, no UNION that adds rows.
            rows = engine.from_arrow(table)
            kinds = [str(kind) for kind in rows.filter(condition).project(f"({condition}\n)").types]
            if kinds != ["BOOLEAN"]:  # such as a column's name, where any number but 0 would be true
                raise duckdb.BinderException(f"{condition} is {', '.join(kinds)}, not true or false")
            indices = rows.filter(condition).project("_place").fetchnumpy()["_place"]
    except duckdb.Error as error:
        said = str(error).strip().splitlines()[0]
        raise SettingsError(
            f"not a condition over clips: {said}", where="data.where", todo=f"columns: {', '.join(columns)}"
        ) from error
    return np.unique(np.asarray(indices, np.int64))
