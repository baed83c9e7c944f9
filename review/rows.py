"""Reviews as rows of a CSV file, for spreadsheets, and back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

from corpus.review.corpus import Catalog
from corpus.review.deciding import Handed, read_review
from corpus.schemas.codec import to_json, to_plain
from corpus.schemas.errors import CorpusError, FormatError
from corpus.schemas.review import Review
from corpus.schemas.votes import span_of, speaker_of

_COLUMNS = (
    "sequence", "id", "recording", "item", "about", "verdict", "annotator", "role", "draw", "label", "kind",
    "speaker", "start_us", "stop_us", "text", "note", "decided_at_us", "spent_ms", "undoes", "judged",
    "becomes",
)  # fmt: skip
"""The last two are JSON and say all; a row of one's own may leave them out and fill in the others."""
_MOST_FIELD = 1 << 20
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def csv_text(reviews: list[Review]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for review in reviews:
        part = review.becomes[0] if review.becomes else review.judged
        span = span_of(part) if part is not None else None
        cue = part.cue if part is not None else None
        row: tuple[object, ...] = (
            review.sequence, review.id, review.recording, review.item, review.about, review.verdict,
            review.annotator, review.role, review.draw, cue.label if cue else "", cue.kind if cue else "",
            (speaker_of(part) or "") if part is not None else "",
            *((span.start_us, span.stop_us) if span is not None else ("", "")),
            part.word.text if part is not None and part.word is not None else "",
            review.note, review.decided_at_us, review.spent_ms, review.undoes,
            to_json(review.judged) if review.judged is not None else "",
            to_json(review.becomes) if review.becomes else "",
        )  # fmt: skip
        writer.writerow([_no_formula(each) if isinstance(each, str) else each for each in row])
    return text.getvalue()


def _no_formula(cell: str) -> str:
    """A spreadsheet calculates what begins like a formula; behind an apostrophe it is text."""
    return f"'{cell}" if cell[:1] in _FORMULA else cell


def _without_apostrophe(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA else cell


def reviews_from_csv(
    text: str, where: str, *, catalog: Catalog, known: Callable[[str], Review | None], annotator: str
) -> list[Review]:
    """Rows with a known id were exported before and stay unchanged; every other row is a new decision.

    A row needs `recording`, `item` and `verdict`. A correction also needs the corrected item: `becomes`, or
    those of the columns `label`, `kind`, `speaker`, `start_us`, `stop_us`, `text` that differ from the
    item's.

    Raises:
        FormatError: a row is invalid.
    """
    csv.field_size_limit(_MOST_FIELD)
    reader = csv.DictReader(io.StringIO(text))
    missing = {"recording", "item", "verdict"} - set(reader.fieldnames or ())
    if missing:
        raise FormatError(f"has no column {', '.join(sorted(missing))}", where=where)
    new: dict[str, Review] = {}
    handed = Handed()
    for row in reader:
        at = f"{where}, line {reader.line_num}"
        if None in row:
            raise FormatError("has more fields than columns", where=at)
        filled = {name: _without_apostrophe(value) for name, value in row.items() if value}
        old = known(filled.get("id", ""))
        if old is not None:
            if filled.get("verdict") != old.verdict:
                todo = "leave its id empty: what was decided stays, and a new row is a new decision"
                raise FormatError(f"changes the kept review {old.id}", where=at, todo=todo)
            continue
        try:
            asked = _asked(filled, at, catalog)
            review = read_review(
                filled.get("annotator", annotator), asked, catalog=catalog, handed=handed,
                known=lambda id_: new.get(id_) or known(id_),
            )  # fmt: skip
        except (CorpusError, ValueError) as error:
            raise FormatError(str(error), where=at) from error
        new[review.id] = review
    return list(new.values())


def _asked(row: dict[str, str], at: str, catalog: Catalog) -> dict[str, Any]:
    asked: dict[str, Any] = {
        name: row[name] for name in ("recording", "item", "verdict", "about", "role") if name in row
    }
    asked |= {name: row[name] for name in ("note", "undoes") if name in row}
    asked["id"] = row.get("id") or hashlib.sha256(repr(sorted(row.items())).encode()).hexdigest()[:32]
    asked["draw"] = row.get("draw", "imported")
    asked["spent_ms"] = int(row.get("spent_ms", 0))
    if "judged" in row:
        asked["judged"] = json.loads(row["judged"])
    if "becomes" in row:
        asked["becomes"] = json.loads(row["becomes"])
    elif row["verdict"] in ("correct", "add"):
        asked["becomes"] = [_becomes(row, catalog)]
    return asked


def _becomes(row: dict[str, str], catalog: Catalog) -> dict[str, Any]:
    """The item with the columns that say something of it; an addition of its columns alone."""
    about = row.get("about", "cue")
    named = {"cue": catalog.cue, "word": catalog.word, "turn": catalog.turn}
    if about == "speaker":
        return {"speaker": row.get("speaker", "")}
    if about not in named:
        raise ValueError(f"{about!r} cannot be reviewed")
    item = named[about](row["recording"], row["item"]) if row["verdict"] == "correct" else None
    plain: dict[str, Any] = {**to_plain(item), "id": ""} if item is not None else {}
    if item is None and about == "cue":
        plain = {"kind": "", "speaker": None, "confidence": 1.0, "origin": "human:imported"}
    fields = {"cue": ("label", "kind", "speaker"), "word": ("text", "speaker"), "turn": ("speaker",)}[about]
    plain |= {name: row[name] for name in fields if name in row}
    plain |= {name: int(row[name]) for name in ("start_us", "stop_us") if name in row}
    return {about: plain}
