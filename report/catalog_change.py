"""Update a catalog's labels: a copy of the old one in which they are replaced."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from corpus.report.catalog import CATALOG_FILE, RunFacts, fill_clips, opened_for_writing, read_back, readable
from corpus.report.catalog_rows import floor_rows, label_rows, monologue
from corpus.report.catalog_writer import Writer
from corpus.schemas.conversation import Conversation
from corpus.schemas.files import storage_errors


def change_labels(out: Path, folder: Path, changed: Iterable[Conversation], run: RunFacts) -> None:
    """Write into `folder` the catalog of `out` with the labels of these conversations.

    `folder` holds the new clips.parquet already.

    Raises:
        DatasetError: the catalog of `out` is damaged or not as a build writes it.
        StorageError: the disk is full or the folder cannot be written.
    """
    path = folder / CATALOG_FILE
    bridge_us = run.settings.cues.ipu_bridge_us
    with storage_errors(path):
        shutil.copyfile(out / CATALOG_FILE, path)
    with readable(out / CATALOG_FILE), opened_for_writing(path) as connection:
        writer = Writer(connection)
        connection.execute("UPDATE runs SET run_id = ?, settings = ?, versions = ?",
                           [run.config, run.settings_json, run.versions_json])  # fmt: skip
        for conversation in changed:
            one = conversation.recording
            for table, rows in (*label_rows(conversation), *floor_rows(conversation, bridge_us)):
                connection.execute(f"DELETE FROM {table} WHERE recording_id = ?", [one])
                writer.add(table, rows)
            connection.execute(
                "UPDATE recordings SET monologue_speaker = ?, monologue_start_us = ?, monologue_stop_us = ? "
                "WHERE recording_id = ?",
                [*monologue(conversation, bridge_us), one],
            )
        writer.flush()
        connection.execute("DROP TABLE clips")
        fill_clips(connection, folder)
    read_back(path)
