"""`corpus label OUT`: remaking a dataset's labels from its own catalog and shards.

No media file and no cache is read. Labels from files, from annotators and from sight are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from corpus.pipeline.progress import Messenger
from corpus.pipeline.reviewed import Texts, cues_as_decided, texts_by_recording
from corpus.pipeline.state import State
from corpus.pipeline.versions import config_of
from corpus.schemas.artifacts import Segment
from corpus.schemas.clip import CLIP_FORM, ClipHead
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.conversation import Conversation
from corpus.schemas.dataset import Manifest
from corpus.schemas.errors import DatasetError
from corpus.schemas.files import sha256_file
from corpus.schemas.settings import CueSettings, Settings

if TYPE_CHECKING:
    import duckdb

    from corpus.schemas.prosody import Tracks
    from corpus.shards.columns import ClipRow
    from corpus.shards.plan import Piece
    from corpus.shards.read import Clips
    from corpus.shards.shard_task import Afar


@dataclass(frozen=True, slots=True, kw_only=True)
class Relabelled:
    """The result of relabelling a dataset."""

    recordings: int
    """Those whose labels changed."""
    clips: int
    shards: int
    """Those that were written."""


Spread = Callable[..., Iterator[tuple[Conversation, bool]]]


def relabel_dataset(
    out: Path,
    cues: CueSettings | None,
    talk: Messenger,
    spread: Spread | None = None,
    afar: tuple[str, Afar] | None = None,
) -> Relabelled:
    """Remake a dataset's labels, with these settings or those of its build.

    Only shards with a clip whose labels change are rewritten. After a kill at any moment the dataset is
    either the old one or the new one, at the latest once the command or a build runs again. `spread` runs the
    work of each recording on other machines, which see the folder under the same path. `afar` is the URL
    where the shards are, if they are not in the folder, and its store.

    Raises:
        DatasetError: there is no dataset, or the catalog belongs to another.
        LockedError: a build is writing the dataset.
        StorageError: the dataset cannot be written.
    """
    from corpus.pipeline.published import announce_catalog
    from corpus.report.catalog import CATALOG_FILE
    from corpus.report.page import write_report
    from corpus.report.stats import dataset_stats
    from corpus.shards.rewrite import stage_rewrite
    from corpus.shards.shard_task import ShardWriter
    from corpus.shards.swap import begin_staging, swap
    from corpus.shards.write import read_manifest

    # The same lock as a build's: the two must never write one folder together.
    kept = State(out)
    kept.create()
    with kept.locked():
        folder = begin_staging(out)
        old = read_manifest(out)
        if old is None:
            raise DatasetError("no dataset to label", where=str(out), todo="run corpus build first")
        before = from_json(Settings, old.settings, where=str(out / "manifest.json"))
        settings = replace(before, cues=cues or before.cues)
        config = config_of(settings)
        source = afar[0] if afar else out.absolute()
        changed, new = _relabel(out.absolute(), source, settings, config, talk, spread)
        # New settings alone are published too, or the next build would make the old labels again.
        if new or settings != before:
            writer = ShardWriter(afar=afar[1] if afar else None)
            manifest = stage_rewrite(out, new, settings=settings, config=config, writer=writer)
            _change_catalog(out, folder, changed, manifest, settings)
            shards = len(list(folder.glob("*/*.tar")))
            announce_catalog(kept.folder, sha256_file(folder / CATALOG_FILE))
            swap(out, (CATALOG_FILE,))
            _remember(kept, settings)
        else:
            shards = 0
            shutil.rmtree(folder)
        write_report(out, dataset_stats(out))
        return Relabelled(recordings=len(changed), clips=len(new), shards=shards)


def _relabel(
    out: Path, source: Path | str, settings: Settings, config: str, talk: Messenger, spread: Spread | None
) -> tuple[list[str], list[Piece]]:
    """Recordings whose labels change, and their changed clips, which are written into the staging folder.

    Clips are read from `source`.
    """
    from corpus.report.catalog import open_catalog
    from corpus.report.catalog_read import recordings
    from corpus.shards.plan import Piece
    from corpus.shards.read import open_clips
    from corpus.shards.rewrite import NEW_FILE, append_head
    from corpus.shards.swap import FOLDER
    from corpus.shards.write import read_rows

    clips, folder = open_clips(source), out / FOLDER
    # The index by recording; clips in order of time.
    rows = {
        one: list(group) for one, group in groupby(_by_recording(read_rows(out)), lambda row: row.recording)
    }
    reviews = texts_by_recording(out)
    changed: list[str] = []
    pieces: list[Piece] = []
    with open_catalog(out) as catalog, open(folder / NEW_FILE, "wb") as tar:
        known = recordings(catalog)
        if not rows.keys() <= set(known):
            raise DatasetError(
                "catalog.duckdb does not belong to this dataset",
                where=str(out),
                todo="run corpus build, which rewrites it",
            )
        known = [one for one in known if one in rows]  # of the others every clip is filtered out
        talk.phase("label", len(known))
        jobs = [
            _Job(
                out=out,
                source=source,
                recording=one,
                rows=tuple(rows[one]),
                cues=settings.cues,
                reviews=reviews.get(one),
            )
            for one in known
        ]
        here = (_labels(job, catalog, clips, folder) for job in jobs)
        results = here if spread is None else spread(_labels_anywhere, jobs)
        for number, (one, (after, is_new)) in enumerate(zip(known, results, strict=True), start=1):
            if is_new:
                changed.append(one)
                (folder / f"{one}.json").write_text(to_json(after), encoding="utf-8")
            for row, head in _new_heads(after, clips, rows[one], config):
                moved = append_head(tar, clips[row.key], row, head)
                pieces.append(Piece(row=moved, file=folder / NEW_FILE))
            talk.at(number, rows[one][0].uri)
    return changed, pieces


def _by_recording(rows: Iterable[ClipRow]) -> list[ClipRow]:
    return sorted(rows, key=lambda row: (row.recording, row.first_window))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One recording whose labels are remade."""

    out: Path
    source: Path | str
    recording: str
    rows: tuple[ClipRow, ...]
    cues: CueSettings
    reviews: Texts | None


def _labels_anywhere(job: _Job) -> tuple[Conversation, bool]:
    """`_labels` on any machine that sees the dataset."""
    from corpus.report.catalog import open_catalog
    from corpus.shards.read import open_clips

    with open_catalog(job.out) as catalog, TemporaryDirectory(prefix="corpus-label-") as folder:
        return _labels(job, catalog, open_clips(job.source, split=job.rows[0].split), Path(folder))


def _labels(
    job: _Job, catalog: duckdb.DuckDBPyConnection, clips: Clips, folder: Path
) -> tuple[Conversation, bool]:
    """The conversation with its labels remade, and whether they differ."""
    from corpus.report.catalog_read import read_conversation

    before = read_conversation(catalog, job.recording)
    after = _labelled(before, clips, job.rows, job.cues, job.reviews, folder)
    same = (after.cues, after.answers, after.labels_made) == (before.cues, before.answers, before.labels_made)
    return after, not same


def _labelled(
    told: Conversation,
    clips: Clips,
    rows: Sequence[ClipRow],
    cues: CueSettings,
    reviews: Texts | None,
    folder: Path,
) -> Conversation:
    """The conversation with its labels remade, as a build with these settings would make them."""
    from corpus.align.relabel import remade
    from corpus.schemas.answers import with_answers

    tracks = _listen(clips, rows, folder) if cues.prosody else None
    labelled = remade(told, cues, tracks, keep_people=reviews is None)
    # Decisions that find nothing any more were counted when the dataset was built.
    decided, _ = cues_as_decided(labelled, reviews or ())
    return with_answers(decided, cues)


def _listen(clips: Clips, rows: Sequence[ClipRow], folder: Path) -> Tracks:
    """Prosody of the voices, from the clips' sound: the artifacts may be gone."""
    from corpus.align.prosody.listen import listen
    from corpus.schemas.pcm import Pcm

    speakers = rows[0].speakers
    files = [open(folder / f"channel-{i}.i16", "wb") for i in range(len(speakers))]  # noqa: SIM115
    try:
        for row in rows:
            for file, samples in zip(files, clips[row.key].audio(), strict=False):
                file.write(samples.astype("<i2").tobytes())
    finally:
        for file in files:
            file.close()
    segments = [Segment(first_window=row.first_window, windows=row.windows) for row in rows]
    return listen(Pcm(folder, len(speakers), _joined(segments), rows[0].sample_rate_hz), speakers)


def _joined(segments: Sequence[Segment]) -> list[Segment]:
    """Join segments that follow one another."""
    joined: list[Segment] = []
    for one in segments:
        last = joined[-1] if joined else None
        if last and last.first_window + last.windows == one.first_window:
            joined[-1] = replace(last, windows=last.windows + one.windows)
        else:
            joined.append(one)
    return joined


def _new_heads(
    made: Conversation, clips: Clips, rows: Sequence[ClipRow], config: str
) -> Iterator[tuple[ClipRow, ClipHead]]:
    """The heads of the clips whose labels changed."""
    from corpus.shards.items import Items

    items = Items.of(made)
    for row in rows:
        old = clips[row.key].json
        new = replace(
            old,
            cues=items.cues.within(old.start_us, old.stop_us),
            answers=items.answers.within(old.start_us, old.stop_us),
            labels_made=items.labels_made,
        )
        if new != old:
            yield row, replace(new, schema=CLIP_FORM, config=config)


def _change_catalog(
    out: Path, folder: Path, changed: Sequence[str], manifest: Manifest, settings: Settings
) -> None:
    from corpus.pipeline.publish import run_facts
    from corpus.report.catalog_change import change_labels

    facts = run_facts(manifest, settings)
    change_labels(out, folder, (_kept(folder, one) for one in changed), facts)


def _kept(folder: Path, recording: str) -> Conversation:
    path = folder / f"{recording}.json"
    return from_json(Conversation, path.read_bytes(), where=str(path))


def _remember(kept: State, settings: Settings) -> None:
    """Record the settings, so that recordings added later are labelled in the same way."""
    try:
        called = kept.invocation()
    except DatasetError:
        return
    kept.save_invocation(replace(called, settings=to_json(settings)))
