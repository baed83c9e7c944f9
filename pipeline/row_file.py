"""Files of rows that a build keeps for itself: a row is copied unparsed for as long as it is true.

Arrow's file format, then a checksum of it: most of what a damaged file says would be believed.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError
from corpus.schemas.files import put_in_place, storage_errors, temporary

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_CHECKSUM_BYTES = 4
_CHUNK = 1 << 20


def read_row_file(path: Path, schema: pa.Schema) -> pa.Table:
    """The rows; none if the file is missing, damaged or of another form."""
    import pyarrow as pa

    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size - _CHECKSUM_BYTES
            if size < 0 or _checksum(file, size) != file.read():
                return schema.empty_table()
        # Mapped: of most rows only a few columns are looked at.
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source, footer_offset=size) as rows:
            table = rows.read_all()
        table.validate(full=True)
    except (OSError, ValueError):
        return schema.empty_table()
    return table if table.schema.equals(schema) else schema.empty_table()


def write_row_file(path: Path, table: pa.Table) -> None:
    """Replace the file by these rows: whole, or not at all."""
    import pyarrow as pa

    with storage_errors(path):
        with open(temporary(path), "w+b") as file:
            with pa.ipc.new_file(file, table.schema) as rows:
                rows.write_table(table)
            size = file.tell()
            file.seek(0)
            checksum = _checksum(file, size)
            file.seek(size)
            file.write(checksum)
            file.flush()
            os.fsync(file.fileno())
        put_in_place(path)


def _checksum(file: BinaryIO, size: int) -> bytes:
    """Of the next bytes; read, not mapped, so that they do not stay in memory."""
    checksum = 0
    while size > 0 and (content := file.read(min(size, _CHUNK))):
        checksum, size = zlib.crc32(content, checksum), size - len(content)
    return checksum.to_bytes(_CHECKSUM_BYTES, "little")


def packed(value: object) -> bytes:
    """A value as a column holds it."""
    return zlib.compress(to_json(value).encode(), 1)


def unpacked(cls: type[T], content: bytes, where: Path) -> T:
    """The value.

    Raises:
        FormatError: it is damaged.
    """
    try:
        return from_json(cls, zlib.decompress(content), where=str(where))
    except (zlib.error, FormatError) as error:
        raise FormatError(
            f"is damaged: {error}", where=str(where), todo="remove this file and build again"
        ) from error
