"""`corpus build`: from what the user names to a dataset on disk.

    gather -> identify -> split -> record (files to clips, a job each) -> write (a job a shard) -> views

Artifacts go through the cache, so a killed build resumes, and the order in which workers finish does
not matter: everything after a parallel phase is sorted first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.align.sidecar_files import Listing
from corpus.pipeline import state as keep
from corpus.pipeline.cache import Cache
from corpus.pipeline.engine import Done, WorkerDied, run_jobs
from corpus.pipeline.found import Recordings
from corpus.pipeline.identify import Identity, identify
from corpus.pipeline.inputs import Item, gather
from corpus.pipeline.ledger import Ledger
from corpus.pipeline.lengths import over_all
from corpus.pipeline.progress import Messenger
from corpus.pipeline.quick_key import quick_key
from corpus.pipeline.removals import refuse_removals
from corpus.pipeline.request import EXIT_FAULTS, EXIT_OK, Outcome, Request
from corpus.pipeline.reviewed import texts_by_recording
from corpus.pipeline.split import Bond, assign
from corpus.pipeline.versions import config_of
from corpus.schemas.codec import digest, to_json, to_plain
from corpus.schemas.dataset import Manifest
from corpus.schemas.drops import Drop
from corpus.schemas.errors import CorpusError, StorageError
from corpus.schemas.files import storage_errors

if TYPE_CHECKING:
    from corpus.pipeline.annotate import Annotated
    from corpus.pipeline.record import Recorded, RecordingJob
    from corpus.pipeline.views import Views, ViewsJob
    from corpus.shards.shard_task import Afar

    _Ended = Iterator[Done[RecordingJob, Recorded]]


LEAST_FOR_A_TASK = 500
"""Recordings whose catalog and report are worth a task of their own."""


def build_dataset(request: Request, talk: Messenger, afar: Afar | None = None) -> Outcome:
    """Build the dataset at `request.out`; a rebuild with nothing changed does nothing.

    `afar` is where the shards stand, if not in the folder.

    Raises:
        UsageError, StorageError, LockedError, DatasetError, MissingError: the build as a whole is impossible.
        KeyboardInterrupt: stopped by the user; what is done is kept.
    """
    from corpus.pipeline.published import refuse_edited_catalog
    from corpus.shards.copy import DamagedClipError
    from corpus.shards.swap import finish_swap

    if request.engine == "ray":  # workers have folders of their own to be in
        own = request.cache.absolute() if request.cache else None
        request = replace(request, out=request.out.absolute(), cache=own)
    items, drops = gather(request.inputs, request.local_urls)  # first: a mistyped input leaves nothing behind
    refuse_newer(request.out)
    kept = keep.State(request.out)
    kept.create()
    with kept.locked(talk.say):
        # Under the lock: a swap that was interrupted must be finished before anyone looks at the outputs.
        with storage_errors(request.out):
            finish_swap(request.out)
        key = quick_key(items, request)
        finished = None if request.rehash or kept.damaged() else kept.finished()
        # Both sides: the inputs are as they were, and nobody touched the outputs since.
        if finished and finished.key == key and finished.outputs == keep.outputs_of(request.out):
            return Outcome(exit_code=finished.exit_code, unchanged=True)
        refuse_edited_catalog(kept.folder, request.out)
        running = _Build(request, talk, kept, afar)
        running.cache.create()
        damaged: set[Path] = set()
        try:
            while True:
                try:
                    outcome = running.run(items, drops)
                    break
                except DamagedClipError as error:  # note the shard, and build its clips again from the cache
                    if error.file in damaged:
                        raise
                    damaged.add(error.file)
                    if error.file.is_relative_to(request.out):
                        kept.save_damaged([*kept.damaged(), error.file.relative_to(request.out).as_posix()])
                    running = _Build(request, talk, kept, afar)
        except KeyboardInterrupt:
            with suppress(StorageError):
                running.ledger.say("interrupted")
            raise
        except Exception as error:
            with suppress(StorageError):  # the disk that refused may refuse this too
                running.ledger.say("failed", str(error))
            raise
        outputs = keep.outputs_of(request.out)
        kept.save_finished(keep.Finished(key=key, outputs=outputs, exit_code=outcome.exit_code))
        return outcome


def refuse_newer(out: Path) -> None:
    """Refuse a dataset written by a newer version, before any work is done.

    Raises:
        NewerSchemaError: it was written by a newer version.
    """
    from corpus.shards.write import read_manifest

    read_manifest(out)


class _Build:
    """One run: the request, and its results so far."""

    def __init__(self, request: Request, talk: Messenger, kept: keep.State, afar: Afar | None) -> None:
        from corpus.pipeline.published import Published, read_published

        self.request = request
        self.kept = kept
        self.afar = afar
        self.settings = request.settings
        root = request.cache or kept.folder
        self.cache = Cache(root, kept.own_name(), request.cache_url)
        self.config = config_of(self.settings)
        self.before = Published() if request.rehash else read_published(kept.folder, request.out, self.config)
        self.ledger = Ledger(kept, talk, self.cache.scratch, on_cluster=request.engine == "ray")

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
                local_urls=request.local_urls,
                cache_url=request.cache_url,
                engine=request.engine,
                address=request.address,
            )
        )

    def run(self, items: Sequence[Item], input_drops: Sequence[Drop]) -> Outcome:
        self.cache.clear_scratch()
        self.ledger.begin("identify", len(items))
        self.ledger.drop(input_drops)
        # All inputs are hashed before anything is removed or built: a lost mount stops here.
        identities = self._identify(items)
        if not self.request.allow_removals:
            refuse_removals(self.request.out, identities)
        self.remember()
        with self._engine():
            outcome = self._write(self._record(self._leave_out_duplicates(identities)))
        self.cache.clear_scratch()
        self.ledger.total = len(items) + sum(drop.kind == "fault" for drop in input_drops)
        self.ledger.done = outcome.recordings
        self.ledger.say("done")
        return outcome

    # -- the phases ---------------------------------------------------------------------------

    def _identify(self, items: Sequence[Item]) -> list[Identity]:
        # Known hashes are keyed by path, size and time: a rehash ignores them.
        known = {} if self.request.rehash else self.kept.marks()
        downloads, listing = self.cache.root / "downloads", Listing()

        def attempt(item: Item) -> Identity | Drop:
            try:
                return identify(item, known, downloads, listing)
            except StorageError:
                raise
            except (CorpusError, OSError, ValueError) as error:
                return Drop(item=item.uri, stage="input", kind="fault", code="unreadable", reason=str(error))

        identities: list[Identity] = []
        threads = ThreadPoolExecutor(self.request.num_workers)
        try:
            for result in threads.map(attempt, items):
                self.ledger.step()
                if isinstance(result, Drop):
                    self.ledger.drop((result,))
                else:
                    identities.append(result)
        finally:  # a stopped build does not wait for a file to be hashed
            threads.shutdown(wait=False, cancel_futures=True)
        marks = {m.place: m for i in identities for m in (*i.media, *i.sidecars)}
        self.kept.save_marks(keep.Marks(files=tuple(marks[place] for place in sorted(marks))))
        return identities

    def _leave_out_duplicates(self, identities: Sequence[Identity]) -> list[Identity]:
        """The first by uri of those with the same content; the others are Drops that name it."""
        first: dict[str, Identity] = {}
        for identity in identities:
            kept = first.setdefault(identity.recording, identity)
            if kept is not identity:
                reason = f"has the same content as {kept.item.uri}"
                same = Drop(
                    item=identity.item.uri, stage="input", kind="trim", code="duplicate", reason=reason
                )
                self.ledger.drop((over_all(same, identity, self.settings, self.cache),))
        return list(first.values())

    def _record(self, identities: Sequence[Identity]) -> Recordings:
        """Every recording's clips: unchanged in OUT, known by a record, or built by a job, the longest
        first."""
        from corpus.pipeline.record import Recorded, record, record_unless_there, recorded_before

        recordings = self._what_stands(list(self._jobs(identities)))
        waiting: list[RecordingJob] = []
        # What an earlier build left is checked byte by byte: on a cluster that is the tasks' work.
        looks_here = not self.request.rehash and self.request.engine == "local"
        looks_there = not self.request.rehash and self.request.engine == "ray"
        for job in recordings.others:
            known = recorded_before(job, self.cache) if looks_here else None
            if known is None:
                waiting.append(job)
            else:
                self._take(job.identity, known.drops, built=True)
                recordings.recorded.append((job, known))
        # The longest first, so that no worker starts a two-hour film when all others are done.
        waiting.sort(key=lambda job: (-job.identity.bytes, job.identity.recording))
        self.ledger.begin("build", len(waiting))
        for ended in self._run(record_unless_there if looks_there else record, waiting):
            self.ledger.done += 1
            identity, result = ended.job.identity, ended.result
            # A crash in native code is this recording's fault only; the others continue.
            if isinstance(result, WorkerDied):
                result = Recorded(annotated=_died(identity))
            self._take(identity, result.drops, built=result.built)
            if result.built:
                recordings.recorded.append((ended.job, result))
        # Workers finish in any order; what is written must not depend on it.
        recordings.recorded.sort(key=lambda pair: pair[0].identity.recording)
        return recordings

    def _engine(self) -> AbstractContextManager[None]:
        if self.request.engine == "local":
            return nullcontext()
        from corpus.pipeline.ray_engine import connected

        return connected(self.request.address)

    def _run(self, record: Callable[[RecordingJob], Recorded], jobs: Sequence[RecordingJob]) -> _Ended:
        """The jobs, in order as far as there is room, on the engine that was asked for."""
        request, on_poll = self.request, self.ledger.poll
        if request.engine == "local":
            return run_jobs(record, jobs, num_workers=request.num_workers, on_poll=on_poll)
        from corpus.pipeline.ray_engine import gpus_a_job, run_on_ray

        gpus = gpus_a_job(self.settings)
        return run_on_ray(record, jobs, address=request.address, on_poll=on_poll, gpus=gpus)

    def _what_stands(self, jobs: Sequence[RecordingJob]) -> Recordings:
        """The recordings that OUT holds as they are asked for, and the jobs of all others."""
        from corpus.shards.old import Old

        doubted = self.kept.doubted(everything=self.request.rehash)
        known = self.before.by_recording
        old = Old.read(self.request.out, doubted) if known else None
        whole = old.standing(self.request.out) if old is not None else frozenset()
        recordings = Recordings(doubted=doubted, old=old)
        for job in jobs:
            one = known.get(job.identity.recording)
            if one is not None and one.recording in whole and one.key == job.key:
                recordings.unchanged[one.recording] = one
                self._take(job.identity, one.drops, built=True)
            else:
                recordings.others.append(job)
        return recordings

    def _jobs(self, identities: Sequence[Identity]) -> Iterator[RecordingJob]:
        """A job for each recording not in quarantine; the split is drawn here, before anything is decoded."""
        from corpus.pipeline.names import names_before, vouched_for
        from corpus.pipeline.published import annotations_of
        from corpus.pipeline.record import RecordingJob

        reviews = texts_by_recording(self.request.out)
        known = self.before.names
        # Annotation files seen before need not be parsed again to know whom they name.
        vouched = {
            one.recording: known[files]
            if (files := annotations_of(one)) in known
            else vouched_for(one, self.settings)
            for one in identities
        }
        bonds = [
            Bond(
                recording=one.recording,
                conversation=one.item.conversation,
                named_speakers=names_before(one, vouched[one.recording], reviews.get(one.recording, ())),
            )
            for one in identities
        ]
        split = assign(bonds, self.settings.clips)
        for identity in identities:
            if self.ledger.hold(identity.item.uri, partial(self._failure_key, identity)):
                continue
            yield RecordingJob(
                identity=identity,
                settings=self.settings,
                reviews=reviews.get(identity.recording, ()),
                names=vouched[identity.recording],
                split=split[identity.recording],
                config=self.config,
                cache_root=self.cache.root,
                scratch=self.cache.scratch.name,
                cache_url=self.request.cache_url,
            )

    def _failure_key(self, identity: Identity) -> str:
        """Digest of all that decides whether a recording fails: its bytes, entry, settings and versions."""
        marks = [m.sha256 for m in (*identity.media, *identity.sidecars)]
        return digest([to_plain(identity.item), marks, self.config])

    def _take(self, identity: Identity, drops: Sequence[Drop], *, built: bool) -> None:
        self.ledger.take(identity.item.uri, partial(self._failure_key, identity), drops, built=built)

    def _write(self, found: Recordings) -> Outcome:
        from corpus.pipeline.publish import publish
        from corpus.pipeline.shard_jobs import spread_of
        from corpus.shards.shard_task import ShardWriter
        from corpus.shards.write import read_manifest

        self.ledger.begin("write", 1)
        before = _shards(read_manifest(self.request.out))
        drops = self.ledger.ordered_drops()
        manifest, views = publish(
            out=self.request.out,
            state=self.kept.folder,
            cache=self.cache,
            found=found,
            before=self.before,
            drops=drops,
            settings=self.settings,
            config=self.config,
            writer=ShardWriter(spread=spread_of(self.request, self.ledger.poll), afar=self.afar),
            run_views=self._run_views,
        )
        self.kept.save_damaged(())
        return Outcome(
            exit_code=EXIT_FAULTS if self.ledger.faults else EXIT_OK,
            unchanged=False,
            recordings=manifest.recordings,
            clips=manifest.clips,
            windows=manifest.windows,
            shards=len(manifest.shards),
            shards_written=len(_shards(manifest) - before),
            drops=tuple(drops),
            poor=views.poor,
        )

    def _run_views(self, job: ViewsJob) -> Views:
        """Here, or for many recordings on the cluster, where it is a task like others."""
        from corpus.pipeline.views import make_views

        if self.request.engine == "local" or job.run.recordings < LEAST_FOR_A_TASK:
            return make_views(job)
        from corpus.pipeline.ray_engine import run_on_ray

        address, on_poll = self.request.address, self.ledger.poll
        [ended] = run_on_ray(make_views, [job], address=address, on_poll=on_poll)
        # What dies at every try is done by this process.
        return make_views(job) if isinstance(ended.result, WorkerDied) else ended.result


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
        reason="the worker process died at every try: a crash in a native library, or memory ran out; "
        "retry it alone with --num-workers 1",
    )
    return Annotated(uri=uri, recording=identity.recording, drops=(drop,))
