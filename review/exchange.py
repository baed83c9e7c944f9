"""Exporting and importing reviews: one file with all (Parquet, CSV, JSON), or tiers for ELAN and Praat."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.review.corpus import Catalog
from corpus.review.labels import CATALOG_FILE, LABELS_FILE
from corpus.review.rows import csv_text, reviews_from_csv
from corpus.review.store import Store, opened
from corpus.review.tiers import (
    SHOWN_FILE,
    SHOWN_FORM,
    Read,
    Shown,
    ShownFolder,
    Tiers,
    reviews_of,
    showable,
    tiers_of,
)
from corpus.schemas.agreement import AgreementReport, agreement
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import FormatError, LockedError, MissingDependencyError, UsageError
from corpus.schemas.files import storage_errors, write_whole
from corpus.schemas.review import Review
from corpus.schemas.reviews_file import REVIEWS_FILE, read_reviews
from corpus.schemas.votes import groups, standing

_FORMS = {"eaf": ".eaf", "textgrid": ".TextGrid"}
"""What ELAN and Praat read: a folder with a file for each recording."""
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exported:
    reviews: int = 0
    files: int = 0
    """Of a folder for ELAN or Praat."""
    left_out: int = 0
    """Items without a place or a length, which these cannot show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Imported:
    new: int
    known: int
    passed_over: tuple[str, ...] = ()
    """Tiers that are nobody's cues, words or turns."""


def _kept_reviews(out: Path) -> list[Review]:
    """All reviews of a dataset: from the store, or from the Parquet while a server has the store."""
    if not (out / LABELS_FILE).exists():
        return []
    try:
        with opened(out) as store:
            return store.reviews()
    except LockedError:
        path = out / REVIEWS_FILE
        return read_reviews(path) if path.exists() else []


def agreement_of(out: Path) -> AgreementReport:
    by_recording: dict[str, list[Review]] = defaultdict(list)
    for review in _kept_reviews(out):
        by_recording[review.recording].append(review)
    return agreement([group for rows in by_recording.values() for group in groups(rows, ())])


# -- out --------------------------------------------------------------------------------------


def export_reviews(out: Path, file: Path) -> _Exported:
    """Write all reviews in the format given by the file's extension.

    Raises:
        UsageError: the extension is unknown.
    """
    reviews = _kept_reviews(out)
    ending = file.suffix.lower()
    if ending == ".parquet":
        if not (out / REVIEWS_FILE).exists():
            with opened(out):
                pass
        content = (out / REVIEWS_FILE).read_bytes()
    elif ending in (".jsonl", ".ndjson"):
        content = "".join(to_json(review) + "\n" for review in reviews).encode()
    elif ending == ".json":
        content = ("[\n" + ",\n".join(map(to_json, reviews)) + "\n]\n").encode()
    elif ending == ".csv":
        content = csv_text(reviews).encode()
    else:
        what = f"{ending or 'no ending'} is not a format for reviews"
        raise UsageError(
            what, todo="name it .parquet, .csv, .json or .jsonl, or give --as eaf or --as textgrid"
        )
    with storage_errors(file):
        write_whole(file, content)
    return _Exported(reviews=len(reviews))


def export_tiers(out: Path, folder: Path, form: str) -> _Exported:
    """Write the dataset's cues, words and turns for ELAN or Praat, one file per recording.

    Raises:
        UsageError: the format is unknown, or the folder already holds such files.
        MissingDependencyError: the extra `review` is not installed.
    """
    if form not in _FORMS:
        raise UsageError(f"{form!r} is not a format; use one of {', '.join(_FORMS)}")
    if (folder / SHOWN_FILE).exists():
        raise UsageError("already contains an export", where=str(folder), todo="choose another folder")
    write, _ = _tools(form)
    catalog = Catalog(out)
    shown, left_out = [], 0
    try:
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for recording in catalog.recordings():
                one, without = _shown(catalog, recording)
                write(folder / (one.file + _FORMS[form]), tiers_of(one), one)
                shown.append(one)
                left_out += without
            content = to_json(ShownFolder(form=form, recordings=tuple(shown)))
            write_whole(folder / SHOWN_FILE, content.encode())
    finally:
        catalog.close()
    return _Exported(files=len(shown), left_out=left_out)


def _shown(catalog: Catalog, recording: str) -> tuple[Shown, int]:
    recorded = catalog.recorded(recording)
    assert recorded is not None
    everything = (recording, 0, recorded.duration_us)
    cues, words, turns = catalog.cues(*everything), catalog.words(*everything), catalog.turns(*everything)
    name = _plain_name(f"{Path(recorded.uri).stem[:60]}-{recording[:8]}")
    one = Shown(
        file=name, recording=recording, uri=recorded.uri,
        duration_us=recorded.duration_us, speakers=recorded.speakers,
        cues=tuple(filter(showable, cues)), words=tuple(filter(showable, words)),
        turns=tuple(filter(showable, turns)),
    )  # fmt: skip
    shown = len(one.cues) + len(one.words) + len(one.turns)
    everything_said = len(cues) + len(words) + catalog.words_without_times(recording) + len(turns)
    return one, everything_said - shown


def _plain_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:80].lstrip(".") or "recording"


_Write = Callable[[Path, Tiers, Shown], None]


def _tools(form: str) -> tuple[_Write, Callable[[Path], Tiers]]:
    try:
        if form == "eaf":
            from corpus.review.elan import read_eaf, write_eaf

            return lambda path, tiers, shown: write_eaf(path, tiers, shown.uri), read_eaf
        from corpus.review.praat import read_textgrid, write_textgrid

        return lambda path, tiers, shown: write_textgrid(path, tiers, shown.duration_us), read_textgrid
    except ImportError as error:
        raise MissingDependencyError(
            "ELAN's and Praat's files need pympi-ling and praatio", todo='pip install "duplex-corpus[review]"'
        ) from error


# -- in ---------------------------------------------------------------------------------------


def import_reviews(out: Path, file: Path, annotator: str = "") -> _Imported:
    """Add the reviews of a file, or of a folder for ELAN or Praat, to the store of a dataset, each once.

    Raises:
        FormatError: the file or folder contains no reviews.
        UsageError: the annotator is not given.
        LockedError: a server has the store open.
    """
    if not file.is_dir() and file.stat().st_size > _MOST_BYTES:
        raise FormatError("is larger than 1 GiB", where=str(file))
    with storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with opened(out) as store:
        if file.is_dir():
            read = _read_folder(store, file, annotator)
        else:
            read = Read(reviews=_read_file(out, store, file, annotator), passed_over=[])
        before = store.sequence
        store.add(read.reviews)
        new = store.sequence - before
    return _Imported(new=new, known=len(read.reviews) - new, passed_over=tuple(read.passed_over))


def _read_file(out: Path, store: Store, file: Path, annotator: str) -> list[Review]:
    ending = file.suffix.lower()
    where = str(file)
    if ending == ".parquet":
        reviews = read_reviews(file)
    elif ending in (".jsonl", ".ndjson"):
        lines = enumerate(_text(file).split("\n"), 1)
        reviews = [from_json(Review, line, where=f"{where}, line {n}") for n, line in lines if line.strip()]
    elif ending == ".json":
        reviews = list(from_json(tuple[Review, ...], _text(file), where=where))
    elif ending == ".csv":
        if not (out / CATALOG_FILE).exists():
            raise UsageError("a CSV can be read only with the dataset it belongs to", where=where)
        catalog = Catalog(out)
        try:
            kept = {review.id: review for review in store.reviews()}
            text = _text(file)
            reviews = reviews_from_csv(text, where, catalog=catalog, known=kept.get, annotator=annotator)
        finally:
            catalog.close()
    else:
        todo = "name a .parquet, .csv, .json or .jsonl file, or a folder written by export --as"
        raise FormatError("is not a format for reviews", where=where, todo=todo)
    return reviews


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError("is not UTF-8 text", where=str(file)) from error


def _read_folder(store: Store, folder: Path, annotator: str) -> Read:
    """What was changed in the files of a folder; what an earlier import said and this does not is undone."""
    path = folder / SHOWN_FILE
    if not path.is_file():
        what = f"contains no {SHOWN_FILE}, so changes cannot be found"
        raise FormatError(what, where=str(folder), todo="give the folder as `export --as` wrote it")
    if not annotator:
        raise UsageError("the annotator is unknown", todo="give --annotator NAME")
    shown = from_json(ShownFolder, path.read_bytes(), where=str(path))
    if shown.schema != SHOWN_FORM or shown.form not in _FORMS:
        raise FormatError(f"{shown.schema!r}, {shown.form!r} is not a supported form", where=str(path))
    _, read = _tools(shown.form)
    kept = store.reviews()
    undone = {review.undoes for review in kept if review.verdict == "undo"}
    now_us, reviews, passed_over = time.time_ns() // 1000, list[Review](), list[str]()
    for one in shown.recordings:
        path = folder / (Path(one.file).name + _FORMS[shown.form])
        if not path.exists():  # put aside by somebody who works on another part
            passed_over.append(path.name)
            continue
        taken = reviews_of(one, read(path), annotator=annotator, now_us=now_us, undone=undone)
        reviews += _taken_back(kept, taken.reviews, one.recording, annotator, now_us) + taken.reviews
        passed_over += [f"{path.name}: {name}" for name in taken.passed_over]
    return Read(reviews=reviews, passed_over=passed_over)


def _taken_back(
    kept: Sequence[Review], now: Sequence[Review], recording: str, annotator: str, now_us: int
) -> list[Review]:
    """Undoes what an earlier import of these files said and this one does not."""
    again = {review.id for review in now}
    mine = [r for r in kept if r.recording == recording and r.annotator == annotator]
    return [
        dataclasses.replace(
            review, id=f"u{review.id[:31]}", verdict="undo", judged=None, becomes=(), around=(),
            undoes=review.id, decided_at_us=now_us,
        )
        for review in standing(mine)
        if review.draw == "imported" and review.id not in again
    ]  # fmt: skip
