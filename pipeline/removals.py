"""Recordings in the dataset that the inputs no longer name: because of a lost mount or a typing error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from pathlib import Path

from corpus.schemas.errors import DatasetError, FormatError

SHOWN = 5


def refuse_removals(out: Path, gone: Sequence[str]) -> None:
    """Refuse to remove recordings from a dataset.

    Raises:
        DatasetError: the dataset would lose recordings; it names them.
    """
    if gone:
        more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
        recordings = (
            "1 recording of the dataset is"
            if len(gone) == 1
            else f"{len(gone)} recordings of the dataset are"
        )
        raise DatasetError(
            f"{recordings} not among the inputs and would be removed: "
            + ", ".join(map(repr, gone[:SHOWN]))
            + more,
            where=str(out),
            todo="check that all inputs are present; to add to a dataset run `corpus build --add`, "
            "to remove them `corpus build --allow-removals`",
        )


def removed(built: Iterable[tuple[str, str]], recordings: Set[str], uris: Iterable[str]) -> list[str]:
    """The uris of built recordings to be removed: neither among these nor replaced under the same uri."""
    # A changed file under the same uri is a new version, not a removal.
    named = set(uris)
    return sorted(uri for one, uri in built if one not in recordings and uri not in named)


def built_in(out: Path) -> set[tuple[str, str]]:
    """Content hash and uri of every recording in the index; empty without a dataset."""
    from corpus.shards.index import read_index
    from corpus.shards.write import read_manifest

    manifest = read_manifest(out)
    if manifest is None or manifest.recordings == 0:
        return set()
    try:
        rows = read_index(out, ["recording", "uri"])
    except FormatError:
        return set()
    table = rows.group_by(["recording", "uri"]).aggregate([])
    return set(zip(table["recording"].to_pylist(), table["uri"].to_pylist(), strict=True))
