"""A dataset as a stranger might hand it over: read apart, damaged, put together so that its sums agree."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from corpus.schemas.clip import MEMBERS
from corpus.shards.columns import arrow_schema
from corpus.shards.row import append_clip
from corpus.shards.tar import END

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>"
HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63 - 1,
    2**63,
    -(2**70),
    10**400,
    0.5,
    float("nan"),
    float("inf"),
    -1e308,
    "",
    "x",
    SCRIPT,
    '"; DROP TABLE clips; --',
    "../../../escaped",
    "/tmp/escaped",
    "train/../../escaped.tar",
    "a\x00b",
    "\x1b]0;owned\x07\x1b[31m",
    "\u202eevil",
    "\ud800",
    "=cmd|' /C calc'!A0",
    "corpus.clip/99",
    "corpus.clip/1",
    "A" * 70_000,
    "é" * 300,
    [],
    {},
    [None],
    [[[]]],
    {"__class__": "os.system", "a": 1},
    [0] * 3000,
    "{" * 3000,
    json.dumps({"text": SCRIPT}),
    '{"a":NaN}',
)


@dataclass
class Parts:
    """A dataset in pieces that may be changed at will."""

    manifest: Any
    rows: list[dict[str, Any]]
    clips: dict[str, list[bytes]]
    """By key, the five members."""
    columns: dict[str, pa.DataType] = field(default_factory=dict)
    """Types that take the place of clips.parquet's own."""
    dropped: list[str] = field(default_factory=list)


def read_apart(out: Path) -> Parts:
    rows = pq.read_table(out / "clips.parquet").to_pylist()
    clips = {}
    for row in rows:
        data = (out / row["shard"]).read_bytes()
        places = zip(row["member_offsets"], row["member_sizes"], strict=True)
        clips[row["key"]] = [data[at : at + size] for at, size in places]
    return Parts(manifest=json.loads((out / "manifest.json").read_text()), rows=rows, clips=clips)


def put_together(parts: Parts, out: Path, *, after: Callable[[Parts], None] | None = None) -> None:
    """Write the tars, the index with the new places and sums, and the manifest with theirs.

    `after` damages what is written of rows and manifest once all sums agree.
    """
    for entry in parts.manifest["shards"]:
        tar, at = io.BytesIO(), 0
        for row in parts.rows:
            if row["shard"] != entry["path"]:
                continue
            place = append_clip(tar, at, row["key"], parts.clips[row["key"]])
            at += place.size
            row |= {"offset": place.offset, "size": place.size, "sha256": place.sha256}
            row |= {"member_offsets": list(place.member_offsets), "member_sizes": list(place.member_sizes)}
        tar.write(END)
        (out / entry["path"]).write_bytes(tar.getvalue())
        entry |= {"bytes": len(tar.getvalue()), "sha256": hashlib.sha256(tar.getvalue()).hexdigest()}
    if after is not None:
        after(parts)
    pq.write_table(_table(parts), out / "clips.parquet")
    files = parts.manifest.get("files") if isinstance(parts.manifest, dict) else None
    for entry in files if isinstance(files, list) else []:
        if isinstance(entry, dict) and entry.get("path") in ("clips.parquet", "README.md"):
            data = (out / entry["path"]).read_bytes()
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (out / "manifest.json").write_text(json.dumps(parts.manifest))


def _table(parts: Parts) -> pa.Table:
    columns = {}
    for each in arrow_schema():
        if each.name in parts.dropped:
            continue
        values = [row[each.name] for row in parts.rows]
        kind = parts.columns.get(each.name, each.type)
        try:
            columns[each.name] = pa.array(values, kind)
            # A list with a null where none may be becomes an array, and only Parquet refuses it.
            pq.write_table(pa.table({each.name: columns[each.name]}), io.BytesIO())
        except (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError):
            columns[each.name] = pa.array([ascii(value)[:100_000] for value in values], pa.string())
    return pa.table(columns)


def hostile_json(plain: Any, chance: random.Random) -> Any:
    """The value with one of its parts, however deep, changed, taken away, doubled or renamed."""
    if isinstance(plain, dict) and plain and chance.random() < 0.85:
        name = chance.choice(list(plain))
        what = chance.random()
        if what < 0.06:
            return {key: value for key, value in plain.items() if key != name}
        if what < 0.1:
            return {**plain, "unknown\x1b": plain[name]}
        return {**plain, name: hostile_json(plain[name], chance)}
    if isinstance(plain, list) and plain and chance.random() < 0.85:
        at = chance.randrange(len(plain))
        what = chance.random()
        if what < 0.06:
            return plain[:at] + plain[at + 1 :]
        if what < 0.12:
            return [*plain, plain[at]]
        return [*plain[:at], hostile_json(plain[at], chance), *plain[at + 1 :]]
    if isinstance(plain, int) and not isinstance(plain, bool) and chance.random() < 0.4:
        return plain + chance.choice((-1, 1, 1000, -(10**9), 10**12))
    return chance.choice(HOSTILE)


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Some bytes flipped, cut off, doubled, or nothing left."""
    if not data:
        return bytes(chance.randrange(600))
    what = chance.random()
    if what < 0.6:
        broken = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        return bytes(broken)
    at = chance.randrange(len(data))
    return chance.choice((b"", data[:at], data[at:], data + data[:at], data[:at] + bytes(64) + data[at:]))


def damage_head(parts: Parts, chance: random.Random) -> None:
    """One value in a clip's JSON, or the text itself."""
    members = parts.clips[chance.choice(parts.rows)["key"]]
    if chance.random() < 0.15:
        members[0] = flipped(members[0], chance)
    else:
        members[0] = json.dumps(hostile_json(json.loads(members[0]), chance)).encode(errors="surrogatepass")


def damage_member(parts: Parts, chance: random.Random) -> None:
    """Sound, mel, flags or pictures of a clip; or those of another clip."""
    members = parts.clips[chance.choice(parts.rows)["key"]]
    at = chance.randrange(1, len(MEMBERS))
    if chance.random() < 0.3:
        members[at] = parts.clips[chance.choice(parts.rows)["key"]][chance.randrange(len(MEMBERS))]
    elif chance.random() < 0.5:  # the start, where the shapes stand
        members[at] = flipped(members[at][:128], chance) + members[at][128:]
    else:
        members[at] = flipped(members[at], chance)


def damage_row(parts: Parts, chance: random.Random) -> None:
    """A value of the index, a column's type, a column, or the rows themselves."""
    what = chance.random()
    name = chance.choice(arrow_schema().names)
    if what < 0.12:
        parts.columns[name] = chance.choice((pa.string(), pa.int32(), pa.float64(), pa.binary(), pa.bool_()))
    elif what < 0.2:
        parts.dropped.append(name)
    elif what < 0.26:
        parts.rows.append(dict(chance.choice(parts.rows)))
    elif what < 0.3:
        parts.rows.reverse()
    else:
        row = chance.choice(parts.rows)
        row[name] = hostile_json(row[name], chance)


def damage_manifest(parts: Parts, chance: random.Random) -> None:
    parts.manifest = hostile_json(parts.manifest, chance)


def damage_file(path: Path, chance: random.Random) -> None:
    """A file as it is, damaged: JSON in a value, everything else in its bytes."""
    data = path.read_bytes()
    try:
        plain = json.loads(data)
    except ValueError:  # an artifact's head is one value and its digest
        plain = None
    if plain is not None and path.suffix == ".json" and chance.random() < 0.8:
        path.write_bytes(json.dumps(hostile_json(plain, chance)).encode(errors="surrogatepass"))
    else:
        path.write_bytes(flipped(data, chance))


def damage_table(path: Path, chance: random.Random) -> None:
    """A value, the type or the name of a column of a Parquet file."""
    table = pq.read_table(path)
    name = chance.choice(table.column_names)
    values = table[name].to_pylist()
    at = chance.randrange(len(values))
    if isinstance(values[at], str) and values[at].startswith("{") and chance.random() < 0.7:
        values[at] = json.dumps(hostile_json(json.loads(values[at]), chance))
    else:
        values[at] = hostile_json(values[at], chance)
    place = table.schema.get_field_index(name)
    try:
        changed = pa.array(values, table.schema.field(place).type)
    except (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError):
        changed = pa.array([ascii(value)[:1000] for value in values])
    if chance.random() < 0.1:
        table = table.drop_columns([name])
    else:
        table = table.set_column(place, chance.choice((name, name, name, "other")), changed)
    pq.write_table(table, path)


CHANGES = (
    "UPDATE cues SET evidence = '{value}'",
    "UPDATE cues SET kind = '{value}'",
    "UPDATE cues SET start_us = stop_us + 5",
    "UPDATE cues SET stop_us = 9223372036854775807",
    "UPDATE cues SET confidence = 'nan'",
    "UPDATE cues SET spans = NULL",
    "UPDATE turns SET speaker = '{value}'",
    "UPDATE turns SET start_us = -9223372036854775808",
    "UPDATE words SET text = '{value}'",
    "UPDATE words SET text = NULL",
    "UPDATE words SET start_us = NULL",
    "UPDATE words SET start_us = NULL, stop_us = NULL",
    "UPDATE recordings SET uri = '{value}'",
    "UPDATE recordings SET duration_us = {number}",
    "UPDATE recordings SET recording_id = '../../../escaped'",
    "UPDATE recordings SET speakers = NULL",
    "UPDATE clips SET windows = {number}",
    "UPDATE runs SET settings = '{value}'",
    "UPDATE schema_version SET version = 99",
    "DELETE FROM recordings",
    "DELETE FROM runs",
    "DELETE FROM speakers",
    "DELETE FROM schema_version",
    "DROP TABLE words",
    "DROP TABLE drops",
    "DROP VIEW speech_by_speaker",
    "DROP VIEW drop_counts",
    "ALTER TABLE cues DROP COLUMN confidence",
    "ALTER TABLE words RENAME COLUMN text TO texts",
    "ALTER TABLE turns ALTER COLUMN start_us TYPE VARCHAR",
    "ALTER TABLE cues ALTER COLUMN label TYPE VARCHAR",
    "CREATE OR REPLACE VIEW drop_counts AS SELECT * FROM read_csv('/etc/passwd')",
    "CREATE OR REPLACE VIEW drop_counts AS SELECT content FROM read_text('/etc/passwd')",
)
"""What somebody may have done to a catalog before handing it over."""


def damage_catalog(path: Path, chance: random.Random) -> None:
    import duckdb

    if chance.random() < 0.15:
        path.write_bytes(flipped(path.read_bytes(), chance))
        return
    value = chance.choice((SCRIPT, "", "x\x1b[31m", "../../../escaped", "A" * 5000)).replace("'", "''")
    number = chance.choice((-1, 0, 2**40, 2**62))
    with duckdb.connect(str(path)) as connection:
        for _ in range(4):
            try:
                connection.execute(chance.choice(CHANGES).format(value=value, number=number))
                break
            except duckdb.Error:  # the table has a rule against it
                continue
