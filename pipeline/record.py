"""One recording from its files to its clips: one job, whose outcome is stored as one small record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from corpus.pipeline.annotate import Annotated, AnnotateJob, Parts, annotate
from corpus.pipeline.cache import Cache
from corpus.pipeline.cutting import Cut, CutJob, cut_recording
from corpus.pipeline.identify import Identity
from corpus.pipeline.reviewed import Texts
from corpus.schemas.codec import digest, from_json, to_json, to_plain
from corpus.schemas.drops import Drop
from corpus.schemas.light import load_pyarrow_lightly
from corpus.schemas.settings import FilterSettings, Settings

RECORD_FILE = "record.json"
ROWS_STAGE = "catalog"
"""Artifacts with a recording's rows of the catalog."""


@dataclass(frozen=True, kw_only=True)
class RecordingJob:
    """Everything that determines one recording's clips, and where to store them."""

    identity: Identity
    settings: Settings
    reviews: Texts
    names: tuple[str, ...]
    """People named in the annotation files."""
    split: str
    config: str
    """Digest of the settings and of all versions."""
    cache_root: Path
    scratch: str
    cache_url: str | None = None
    """Where artifacts that are expensive to make are also stored."""

    @cached_property
    def key(self) -> str:
        """Digest of everything that determines the clips."""
        marks = [mark.sha256 for mark in (*self.identity.media, *self.identity.sidecars)]
        sidecars = [Path(mark.place).name for mark in self.identity.sidecars]
        item = to_plain(self.identity.item)
        # Where files are does not matter, only whether sidecars were named or searched for.
        item["sidecars"] = self.identity.item.sidecars is not None
        for file in item["files"]:
            del file["place"]
        filters = _plain_filters(self.settings.filters)
        return digest([item, marks, sidecars, list(self.reviews), self.split, self.config, filters])


@cache
def _plain_filters(filters: FilterSettings) -> Any:
    return to_plain(filters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The outcome for a recording."""

    annotated: Annotated
    cut: Cut | None = None
    """None if it failed before it could be cut."""

    @property
    def built(self) -> bool:
        return self.cut is not None and self.cut.segment is not None

    @property
    def drops(self) -> tuple[Drop, ...]:
        return (*self.annotated.drops, *(self.cut.drops if self.cut else ()))


def recorded_before(job: RecordingJob, cache: Cache) -> Recorded | None:
    """The outcome of an earlier build, if everything that publishing needs is intact."""
    record = cache.get("record", job.key)
    if record is None:
        return None
    path = record.folder / RECORD_FILE
    before = from_json(Recorded, path.read_bytes(), where=str(path))
    if before.cut is None:
        return None
    # The record alone proves nothing: what it points to must still be there and undamaged.
    parts = (
        cache.get("cut", str(before.cut.segment)),
        cache.get("label", str(before.annotated.label)),
        cache.get("decode", str(before.annotated.decode), "decoded.json"),
        cache.get(ROWS_STAGE, rows_key(job)),
    )
    return None if None in parts else before


def record_unless_there(job: RecordingJob) -> Recorded:
    """Like `record`, if an earlier build may have finished the recording; its results are checked here."""
    return recorded_before(job, Cache(job.cache_root, job.scratch, job.cache_url)) or record(job)


def record(job: RecordingJob) -> Recorded:
    """Take one recording up to its clips; raises like `annotate`."""
    cache = Cache(job.cache_root, job.scratch, job.cache_url)
    annotated, parts = annotate(
        AnnotateJob(identity=job.identity, settings=job.settings, reviews=job.reviews), cache
    )
    if parts is None:
        return Recorded(annotated=annotated)
    cut = cut_recording(
        CutJob(
            identity=job.identity,
            parts=parts,
            split=job.split,
            settings=job.settings,
            config=job.config,
        ),
        cache,
    )
    outcome = Recorded(annotated=annotated, cut=cut)
    if outcome.built:

        def fill(folder: Path) -> list[Drop]:
            (folder / RECORD_FILE).write_text(to_json(outcome), encoding="utf-8")
            return []

        _keep_rows(job, annotated, parts, cache)
        cache.make("record", job.key, fill)
    return outcome


def rows_key(job: RecordingJob) -> str:
    """Digest of everything that determines the recording's rows in the catalog."""
    from corpus.report.catalog_piece import piece_form

    return digest([job.key, piece_form()])


def _keep_rows(job: RecordingJob, annotated: Annotated, parts: Parts, cache: Cache) -> None:
    """Store the recording's rows of the catalog, so that writing it need not parse conversations."""
    from corpus.pipeline.cutting import recording_of
    from corpus.report.catalog_piece import write_piece
    from corpus.report.catalog_rows import CatalogEntry

    def fill(folder: Path) -> list[Drop]:
        load_pyarrow_lightly()
        conversation = parts.label.value
        entry = CatalogEntry(
            recording=recording_of(job.identity, parts.decode.value, conversation),
            conversation=conversation,
            split=job.split,
            sidecars=annotated.sidecars,
        )
        write_piece(folder, entry, bridge_us=job.settings.cues.ipu_bridge_us)
        return []

    cache.make(ROWS_STAGE, rows_key(job), fill)
