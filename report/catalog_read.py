"""Conversations as the catalog holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corpus.schemas.conversation import Answer, Conversation, Event, LabelMade, Turn, Word
from corpus.schemas.cue_row import CUE_COLUMNS, cue_of_row
from corpus.schemas.errors import FormatError

if TYPE_CHECKING:
    import duckdb


def recordings(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Content hashes of the recordings, in order."""
    rows = connection.execute("SELECT recording_id FROM recordings ORDER BY recording_id").fetchall()
    return [row[0] for row in rows]


def read_conversation(connection: duckdb.DuckDBPyConnection, recording: str) -> Conversation:
    """All that the catalog has of one recording, with its ids.

    Raises:
        FormatError: a row is none that a build writes.
    """
    try:
        return _read_conversation(connection, recording)
    except (ValueError, TypeError) as error:
        todo = "run corpus build again; it rewrites catalog.duckdb"
        raise FormatError(f"a row cannot be read: {error}", where="catalog.duckdb", todo=todo) from error


def _read_conversation(connection: duckdb.DuckDBPyConnection, recording: str) -> Conversation:

    def rows(columns: str, table: str) -> list[tuple[Any, ...]]:
        # Rows come in the order they were written, which is the conversation's.
        sql = f"SELECT {columns} FROM {table} WHERE recording_id = ? ORDER BY rowid"
        return connection.execute(sql, [recording]).fetchall()

    ((duration_us,),) = rows("duration_us", "recordings")
    speakers = rows("speaker, named", "speakers")
    return Conversation(
        recording=recording,
        duration_us=duration_us,
        speakers=tuple(name for name, _ in speakers),
        turns=tuple(
            Turn(id=i, speaker=s, start_us=a, stop_us=b)
            for i, s, a, b in rows("turn_id, speaker, start_us, stop_us", "turns")
        ),
        words=tuple(
            Word(id=i, speaker=s, start_us=a, stop_us=b, text=t, after=after, timing=timing, confidence=sure)
            for i, s, a, b, t, after, timing, sure in rows(
                "word_id, speaker, start_us, stop_us, text, after, timing::VARCHAR, confidence", "words"
            )
        ),
        cues=tuple(cue_of_row(row) for row in rows(CUE_COLUMNS, "cues")),
        answers=tuple(
            Answer(id=i, speaker=s, start_us=a, stop_us=b, action=action, why=why, to=to)
            for i, s, a, b, action, why, to in rows(
                "answer_id, speaker, start_us, stop_us, action::VARCHAR, why, answered_id", "answers"
            )
        ),
        events=tuple(
            Event(id=i, label=n, kind=k, speaker=s, start_us=a, stop_us=b, origin=o, payload=p)
            for i, n, k, s, a, b, o, p in rows(
                "event_id, label, kind, speaker, start_us, stop_us, origin, payload::VARCHAR", "events"
            )
        ),
        labels_made=tuple(
            LabelMade(label=label, made=made, reason=reason)
            for label, made, reason in rows("label::VARCHAR, made, reason", "labels_made")
        ),
        named_speakers=tuple(name for name, named in speakers if named),
    )
