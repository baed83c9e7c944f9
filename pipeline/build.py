"""`corpus build`: from what the user names to a dataset on disk.

    gather -> identify -> split -> record (files to clips, a worker per recording) -> write -> views

Artifacts go through the cache, so a build that was killed goes on where it stood, and the order
in which workers finish decides nothing: everything after a parallel phase is sorted first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline import state as keep
from corpus.pipeline.cache import Cache
from corpus.pipeline.engine import WorkerDied, run_jobs
from corpus.pipeline.identify import Identity, identify
from corpus.pipeline.inputs import Item, gather, is_url
from corpus.pipeline.progress import Messenger, running_now
from corpus.pipeline.removals import refuse_removals
from corpus.pipeline.reviewed import texts_by_recording
from corpus.pipeline.split import Bond, assign
from corpus.pipeline.versions import all_versions
from corpus.schemas.codec import digest, to_json, to_plain
from corpus.schemas.dataset import Manifest
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, StorageError
from corpus.schemas.reviews_file import REVIEWS_FILE
from corpus.schemas.settings import Settings

if TYPE_CHECKING:
    from corpus.pipeline.annotate import Annotated
    from corpus.pipeline.record import Recorded, RecordingJob

EXIT_OK = 0
EXIT_FAULTS = 3
EXIT_INTERRUPTED = 130

STAGE_SHARES = {
    "probe": (0.0, 0.0),
    "decode": (0.0, 0.25),
    "diarize": (0.25, 0.3),
    "transcribe": (0.55, 0.3),
    "voices": (0.85, 0.05),
    "label": (0.9, 0.02),
    "cut": (0.92, 0.08),
}
"""Where a stage begins and how much of a recording's work it is, roughly: for the progress bar alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to build, where, and with what."""

    inputs: tuple[str, ...]
    out: Path
    settings: Settings
    cache: Path | None = None
    num_workers: int = 1
    rehash: bool = False
    """Read every input again, even where path, size and time are as before."""
    allow_removals: bool = False
    """Let go of recordings that the dataset holds and the inputs no longer name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a build ended."""

    exit_code: int
    unchanged: bool
    recordings: int = 0
    """Built ones."""
    clips: int = 0
    windows: int = 0
    shards: int = 0
    shards_written: int = 0
    """Those that are not as they were; the others were not touched."""
    drops: tuple[Drop, ...] = ()

    @property
    def faults(self) -> tuple[Drop, ...]:
        return tuple(d for d in self.drops if d.kind == "fault")


def build_dataset(request: Request, talk: Messenger) -> Outcome:
    """Build the dataset at `request.out`; a rebuild with nothing changed does nothing.

    Raises:
        UsageError, StorageError, LockedError, DatasetError, MissingError: the build cannot be done at all.
        KeyboardInterrupt: stopped by the user; what is done is kept.
    """
    from corpus.shards.rewrite import finish_swap

    items, drops = gather(request.inputs)  # first: a mistyped input shall leave nothing behind
    refuse_newer(request.out)
    kept = keep.State(request.out)
    kept.create()
    with kept.locked():
        finish_swap(request.out)
        key = quick_key(items, request)
        finished = None if request.rehash or kept.damaged() else kept.finished()
        if finished and finished.key == key and finished.outputs == keep.outputs_of(request.out):
            return Outcome(exit_code=finished.exit_code, unchanged=True)
        running = _Build(request, talk, kept)
        running.cache.create()
        try:
            outcome = running.run(items, drops)
        except KeyboardInterrupt:
            running.say("interrupted")
            raise
        except Exception as error:
            running.say("failed", str(error))
            raise
        outputs = keep.outputs_of(request.out)
        kept.save_finished(keep.Finished(key=key, outputs=outputs, exit_code=outcome.exit_code))
        return outcome


def refuse_newer(out: Path) -> None:
    """Say before any work, not after it, that a dataset was written by a newer version.

    Raises:
        NewerSchemaError: it was.
    """
    from corpus.shards.write import read_manifest

    read_manifest(out)


def quick_key(items: Sequence[Item], request: Request) -> str:
    """Digest of paths, sizes and times of all inputs, the settings and the versions."""
    from corpus.align.sidecars import find_sidecars

    looks: list[object] = []
    for item in items:
        places = [file.place for file in item.files]
        beside = item.sidecars
        if beside is None:
            beside = tuple(str(s) for p in places if not is_url(p) for s in find_sidecars(Path(p)))
        looks.append([to_plain(item), *(_look(place) for place in (*places, *beside))])
    looks.append(_look(str(request.out / REVIEWS_FILE)))
    return digest([looks, to_plain(request.settings), all_versions()])


def _look(place: str) -> list[object]:
    try:
        found = os.stat(place)
    except OSError:
        return [place]
    return [place, found.st_size, found.st_mtime_ns]


class _Build:
    """One run: the request, and what has been found so far."""

    def __init__(self, request: Request, talk: Messenger, kept: keep.State) -> None:
        self.request = request
        self.talk = talk
        self.kept = kept
        self.settings = request.settings
        root = request.cache or kept.folder
        self.cache = Cache(root, digest(str(request.out.resolve()))[:16])
        self.config = digest([to_plain(self.settings), all_versions()])
        self.drops: list[Drop] = []
        self.held = {q.key: q for q in kept.quarantine().items if q.key and not q.built}
        """What failed before and would fail again; read before this run's own list is written."""
        self.quarantined: list[keep.Quarantined] = []
        self.saved = 0
        """How many of them are on the disk."""
        self.phase, self.total, self.done, self.faults = "identify", 0, 0, 0

    # -- the run ------------------------------------------------------------------------------

    def remember(self) -> None:
        """Keep how the build was called, for `errors retry`."""
        request = self.request
        self.kept.save_invocation(
            keep.Invocation(
                inputs=request.inputs,
                folder=os.getcwd(),
                cache=str(request.cache) if request.cache else None,
                num_workers=request.num_workers,
                settings=to_json(self.settings),
            )
        )

    def run(self, items: Sequence[Item], input_drops: Sequence[Drop]) -> Outcome:
        self.cache.clear_scratch()
        self.drops += input_drops
        for drop in input_drops:
            if drop.kind == "fault":
                self._quarantine(drop.item, "", (drop,), built=False)
        identities = self._identify(items)
        if not self.request.allow_removals:
            refuse_removals(self.request.out, identities)
        self.remember()
        recorded = self._record(self._leave_out_duplicates(identities))
        outcome = self._write(recorded)
        self.cache.clear_scratch()
        self.total = len(items) + sum(drop.kind == "fault" for drop in input_drops)
        self.done = outcome.recordings
        self.say("done")
        return outcome

    def say(self, phase: str, detail: str = "") -> None:
        self.phase = phase
        self.kept.save_status(
            keep.Status(
                phase=phase,
                recordings=self.total,
                done=self.done,
                faults=self.faults,
                running=running_now(self.cache.scratch),
                pid=os.getpid(),
                detail=detail,
            )
        )

    def _begin(self, phase: str, total: int) -> None:
        self._save_quarantine()
        self.total, self.done = total, 0
        self.say(phase)
        self.talk.phase(phase, total)

    def _poll(self) -> None:
        self.say(self.phase)
        running = running_now(self.cache.scratch)
        partial = 0.0
        for one in running:
            start, share = STAGE_SHARES.get(one.stage, (0.0, 0.0))
            partial += start + share * one.share
        self.talk.at(self.done + partial, ", ".join(f"{r.uri} {r.stage}" for r in running[:2]))

    def _quarantine(self, uri: str, key: str, drops: tuple[Drop, ...], *, built: bool) -> None:
        self.quarantined.append(keep.Quarantined(uri=uri, key=key, drops=drops, built=built))
        self.faults += 1
        if len(self.quarantined) > 1.25 * self.saved:  # the whole list is written each time
            self._save_quarantine()

    def _save_quarantine(self) -> None:
        self.saved = len(self.quarantined)
        ordered = sorted(self.quarantined, key=lambda q: (q.uri, q.key))
        self.kept.save_quarantine(keep.Quarantine(items=tuple(ordered)))

    # -- the phases ---------------------------------------------------------------------------

    def _identify(self, items: Sequence[Item]) -> list[Identity]:
        known = {} if self.request.rehash else self.kept.marks()
        downloads = self.cache.root / "downloads"
        self._begin("identify", len(items))

        def attempt(item: Item) -> Identity | Drop:
            try:
                return identify(item, known, downloads)
            except StorageError:
                raise
            except (CorpusError, OSError, ValueError) as error:
                return Drop(item=item.uri, stage="input", kind="fault", code="unreadable", reason=str(error))

        found: list[Identity] = []
        with ThreadPoolExecutor(self.request.num_workers) as threads:
            for result in threads.map(attempt, items):
                self.done += 1
                self.talk.at(self.done, "")
                if isinstance(result, Drop):
                    self.drops.append(result)
                    self._quarantine(result.item, "", (result,), built=False)
                else:
                    found.append(result)
        marks = {m.place: m for i in found for m in (*i.media, *i.sidecars)}
        self.kept.save_marks(keep.Marks(files=tuple(marks[place] for place in sorted(marks))))
        return found

    def _leave_out_duplicates(self, identities: Sequence[Identity]) -> list[Identity]:
        """The first by uri of those with the same content; the others are Drops that name it."""
        first: dict[str, Identity] = {}
        for identity in identities:
            kept = first.setdefault(identity.recording, identity)
            if kept is not identity:
                self.drops.append(
                    Drop(
                        item=identity.item.uri,
                        stage="input",
                        kind="trim",
                        code="duplicate",
                        reason=f"has the same content as {kept.item.uri}",
                    )
                )
        return list(first.values())

    def _record(self, identities: Sequence[Identity]) -> list[tuple[Identity, Recorded]]:
        """Every recording's clips, from its small record or by a job, the longest first."""
        from corpus.pipeline.record import Recorded, record, recorded_before

        done: list[tuple[Identity, Recorded]] = []
        waiting: list[RecordingJob] = []
        for job in self._jobs(identities):
            known = None if self.request.rehash else recorded_before(job, self.cache)
            if known is None:
                waiting.append(job)
            else:
                self._take(job.identity, known)
                done.append((job.identity, known))
        waiting.sort(key=lambda job: (-job.identity.bytes, job.identity.recording))
        self._begin("build", len(waiting))
        for ended in run_jobs(record, waiting, num_workers=self.request.num_workers, on_poll=self._poll):
            self.done += 1
            identity, result = ended.job.identity, ended.result
            if isinstance(result, WorkerDied):
                result = Recorded(annotated=_died(identity))
            self._take(identity, result)
            if result.built:
                done.append((identity, result))
        return sorted(done, key=lambda pair: pair[0].recording)

    def _jobs(self, identities: Sequence[Identity]) -> Iterator[RecordingJob]:
        """A job for each recording not in quarantine; the split is drawn here, before any is decoded."""
        from corpus.pipeline.names import names_before
        from corpus.pipeline.record import RecordingJob

        reviews = texts_by_recording(self.request.out)
        bonds = [
            Bond(
                recording=identity.recording,
                conversation=identity.item.conversation,
                named_speakers=names_before(identity, self.settings, reviews.get(identity.recording, ())),
            )
            for identity in identities
        ]
        split = assign(bonds, self.settings.clips)
        for identity in identities:
            key = self._failure_key(identity)
            if key in self.held:
                self.drops += self.held[key].drops
                self._quarantine(identity.item.uri, key, self.held[key].drops, built=False)
                continue
            yield RecordingJob(
                identity=identity,
                settings=self.settings,
                reviews=reviews.get(identity.recording, ()),
                split=split[identity.recording],
                config=self.config,
                cache_root=self.cache.root,
                scratch=self.cache.scratch.name,
            )

    def _failure_key(self, identity: Identity) -> str:
        """What decides whether a recording fails: its bytes, its entry, the settings, the versions."""
        marks = [m.sha256 for m in (*identity.media, *identity.sidecars)]
        return digest([to_plain(identity.item), marks, self.config])

    def _take(self, identity: Identity, recorded: Recorded) -> None:
        self.drops += recorded.drops
        faults = tuple(d for d in recorded.drops if d.kind == "fault")
        if faults:
            key = self._failure_key(identity)
            self._quarantine(identity.item.uri, key, faults, built=recorded.built)

    def _write(self, recorded: Sequence[tuple[Identity, Recorded]]) -> Outcome:
        from corpus.pipeline.publish import publish
        from corpus.shards.write import read_manifest

        self._begin("write", 1)
        self._save_quarantine()
        before = _shards(read_manifest(self.request.out))
        self.drops.sort(key=lambda d: (d.item, d.stage, d.code, d.start_us or 0, d.reason))
        manifest = publish(
            out=self.request.out,
            cache=self.cache,
            recorded=recorded,
            drops=self.drops,
            settings=self.settings,
            config=self.config,
            doubted=self.kept.doubted(everything=self.request.rehash),
        )
        self.kept.save_damaged(())
        return Outcome(
            exit_code=EXIT_FAULTS if self.faults else EXIT_OK,
            unchanged=False,
            recordings=manifest.recordings,
            clips=manifest.clips,
            windows=manifest.windows,
            shards=len(manifest.shards),
            shards_written=len(_shards(manifest) - before),
            drops=tuple(self.drops),
        )


def _shards(manifest: Manifest | None) -> set[tuple[str, str]]:
    return {(shard.path, shard.sha256) for shard in manifest.shards} if manifest is not None else set()


def _died(identity: Identity) -> Annotated:
    from corpus.pipeline.annotate import Annotated

    uri = identity.item.uri
    drop = Drop(
        item=uri,
        stage="decode",
        kind="fault",
        code="worker_died",
        reason="the worker process ended without a word, twice: a crash in a native library, or memory ran "
        "out; retry it alone with --num-workers 1",
    )
    return Annotated(uri=uri, recording=identity.recording, drops=(drop,))
