"""One run of a build: its phases, in order.

    identify -> split -> record (files to clips, a job each) -> layout -> write (a job a shard) -> views

Artifacts go through the cache, so a killed build resumes, and the order in which workers finish does
not matter: everything after a parallel phase is sorted first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from corpus.pipeline import state as keep
from corpus.pipeline.bundles import Bundle
from corpus.pipeline.cache import Cache
from corpus.pipeline.engine import Done, WorkerDied, run_jobs
from corpus.pipeline.found import Recordings
from corpus.pipeline.identify import Identity
from corpus.pipeline.ledger import Ledger
from corpus.pipeline.progress import Messenger
from corpus.pipeline.removals import built_in, refuse_removals, removed
from corpus.pipeline.request import EXIT_FAULTS, EXIT_OK, LEAST_FOR_A_TASK, Outcome, Request
from corpus.pipeline.reviewed import texts_by_recording
from corpus.pipeline.split import assign
from corpus.pipeline.survey import Survey
from corpus.schemas.codec import digest, to_json, to_plain
from corpus.schemas.dataset import MANIFEST_FILE, Manifest
from corpus.schemas.drops import Drop

if TYPE_CHECKING:
    from corpus.pipeline.annotate import Annotated
    from corpus.pipeline.identify_task import Run
    from corpus.pipeline.incoming import Incoming, Known
    from corpus.pipeline.record import Recorded, RecordingJob
    from corpus.shards.shard_task import Afar


_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class Building:
    """One run: the request, and its results so far."""

    def __init__(
        self, request: Request, talk: Messenger, kept: keep.State, afar: Afar | None, survey: Survey
    ) -> None:
        from corpus.pipeline.memory import Memory
        from corpus.pipeline.stamp import stamp_now
        from corpus.shards.old import Intact

        self.request = request
        self.kept = kept
        self.afar = afar
        self.survey = survey
        self.settings = request.settings
        root = request.cache or kept.folder
        self.cache = Cache(root, kept.own_name(), request.cache_url)
        self.ledger = Ledger(kept, talk, self.cache.scratch, on_cluster=request.engine == "ray")
        self.now = stamp_now(kept.folder, request)
        self.reviews = texts_by_recording(request.out)  # after the stamp: none that it names is missing
        self.items = sum(bundle.count for bundle in survey.bundles)
        """All that were named."""
        self.doubted = kept.doubted(everything=request.rehash)
        self.memory = (
            Memory.none(kept.folder, self.now) if request.rehash else Memory.read(kept.folder, self.now)
        )
        self.old = Intact.read(request.out, self.doubted) if self.memory else None

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

    def run(self) -> Outcome:
        bundles, input_drops = self.survey.bundles, self.survey.drops
        self.cache.clear_scratch()
        self._let_stand(bundles)
        standing = self.memory.standing
        self.ledger.begin("identify", sum(one.count for one in bundles if one.look not in standing))
        self.ledger.drop(input_drops)
        # All inputs are hashed before anything is removed or built: a lost mount stops here.
        with self._engine():
            incoming = self._look_at()
            if not self.request.allow_removals:
                self._refuse_removals([known.identity for known in incoming.all])
            self.remember()
            outcome = self._write(self._record(self._leave_out_duplicates(incoming)), incoming)
        self.cache.clear_scratch()
        self.ledger.total = self.items + sum(drop.kind == "fault" for drop in input_drops)
        self.ledger.done = outcome.recordings
        self.ledger.say("done")
        return outcome

    # -- the phases ---------------------------------------------------------------------------

    def _let_stand(self, bundles: Sequence[Bundle]) -> None:
        untouched = self.memory.stamp == self.now and not self.doubted
        if untouched and self.old is not None and self.old.is_sound:
            self.memory.let_stand((bundle.look for bundle in bundles), self.ledger.is_held)

    def _look_at(self) -> Incoming:
        """Identify all items whose bundle does not stand."""
        from corpus.pipeline.incoming import Incoming
        from corpus.schemas.marks import Marks

        incoming = Incoming(
            self.survey,
            self.memory,
            self.ledger,
            self.request,
            self.reviews,
            self.cache.root / "downloads",
            self._identify_elsewhere(),
        )
        incoming.read(Marks(self.kept.folder))
        self.ledger.stand(self.memory.quarantined())
        return incoming

    def _refuse_removals(self, identities: Sequence[Identity]) -> None:
        """Refuse to remove recordings of bundles that do not stand, unless that is allowed."""
        if self.memory:
            built = {(one.recording, one.uri) for one in self.memory.changed().recordings}
        else:
            built = built_in(self.request.out)
        gone = removed(built, {one.recording for one in identities}, {one.item.uri for one in identities})
        refuse_removals(self.request.out, gone)

    def _leave_out_duplicates(self, incoming: Incoming) -> list[Known]:
        """The first by uri of those with the same content; the others are Drops that name it."""
        first: dict[str, Known] = {}
        for known in incoming.all:
            kept, identity = first.setdefault(known.identity.recording, known), known.identity
            if kept is not known:
                from corpus.pipeline.lengths import over_all

                reason = f"has the same content as {kept.identity.item.uri}"
                same = Drop(
                    item=identity.item.uri, stage="input", kind="trim", code="duplicate", reason=reason
                )
                self.ledger.drop((over_all(same, identity, self.settings, self.cache),))
        return list(first.values())

    def _record(self, incoming: Sequence[Known]) -> Recordings:
        """Every recording's clips: unchanged in OUT, known by a record, or built by a job, the longest
        first."""
        from corpus.pipeline.found import Made
        from corpus.pipeline.record import Recorded, record, record_unless_there, recorded_before

        recordings = self._what_stands(list(self._jobs(incoming)))
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
                recordings.made.append(Made.of(job, known))
        # The longest first, so that no worker starts a two-hour film when all others are done.
        waiting.sort(key=lambda job: (-job.identity.bytes, job.identity.recording))
        self.ledger.begin("build", len(waiting))
        for ended in self._record_each(record_unless_there if looks_there else record, waiting):
            self.ledger.done += 1
            identity, result = ended.job.identity, ended.result
            # A crash in native code is this recording's fault only; the others continue.
            if isinstance(result, WorkerDied):
                result = Recorded(annotated=_died(identity))
            self._take(identity, result.drops, built=result.built)
            if result.built:
                recordings.made.append(Made.of(ended.job, result))
        # Workers finish in any order; what is written must not depend on it.
        recordings.made.sort(key=lambda one: one.job.identity.recording)
        return recordings

    def _engine(self) -> AbstractContextManager[None]:
        if self.request.engine == "local":
            return nullcontext()
        from corpus.pipeline.ray_engine import connected

        return connected(self.request.address)

    def _record_each(
        self, record: Callable[[RecordingJob], Recorded], jobs: Sequence[RecordingJob]
    ) -> Iterator[Done[RecordingJob, Recorded]]:
        """Run the jobs on the requested engine, in order as far as there is room."""
        request, on_poll = self.request, self.ledger.poll
        if request.engine == "local":
            return run_jobs(record, jobs, num_workers=request.num_workers, on_poll=on_poll)
        from corpus.pipeline.ray_recordings import record_on_ray

        return record_on_ray(record, jobs, request, self.cache, on_poll)

    def _identify_elsewhere(self) -> Run | None:
        if self.request.engine == "local":
            return None
        from corpus.pipeline.ray_recordings import identify_on_ray

        return partial(identify_on_ray, request=self.request, on_poll=self.ledger.poll)

    def _what_stands(self, jobs: Sequence[RecordingJob]) -> Recordings:
        """The recordings that OUT already holds unchanged, and the jobs of all others."""
        known = self.memory.changed().by_recording
        old = self.old
        whole = old.standing(list(known)) if old is not None else frozenset()
        recordings = Recordings(memory=self.memory, old=old, doubted=self.doubted)
        for job in jobs:
            one = known.get(job.identity.recording)
            if one is not None and one.recording in whole and one.key == job.key:
                recordings.unchanged[one.recording] = one
                self._take(job.identity, one.drops, built=True)
            else:
                recordings.others.append(job)
        return recordings

    def _jobs(self, incoming: Sequence[Known]) -> Iterator[RecordingJob]:
        """A job for each recording not in quarantine; the split is drawn here, before anything is decoded."""
        from corpus.pipeline.record import RecordingJob

        # Bundles that stand share nobody with these, so their splits stay as they are.
        split = assign([known.bond for known in incoming], self.settings.clips)
        for known in incoming:
            identity = known.identity
            if self.ledger.hold(identity.item.uri, partial(self._failure_key, identity)):
                continue
            yield RecordingJob(
                identity=identity,
                settings=self.settings,
                reviews=self.reviews.get(identity.recording, ()),
                names=known.names,
                split=split[identity.recording],
                config=self.now.config,
                cache_root=self.cache.root,
                scratch=self.cache.scratch.name,
                cache_url=self.request.cache_url,
            )

    def _failure_key(self, identity: Identity) -> str:
        """Digest of all that decides whether a recording fails: its bytes, entry, settings and versions."""
        marks = [m.sha256 for m in (*identity.media, *identity.sidecars)]
        return digest([to_plain(identity.item), marks, self.now.config])

    def _take(self, identity: Identity, drops: Sequence[Drop], *, built: bool) -> None:
        self.ledger.take(identity.item.uri, partial(self._failure_key, identity), drops, built=built)

    def _write(self, found: Recordings, incoming: Incoming) -> Outcome:
        from corpus.pipeline.publish import Makers, publish
        from corpus.pipeline.published import sha256_or_none
        from corpus.pipeline.shard_jobs import spread_of
        from corpus.pipeline.views import make_views
        from corpus.shards.planning import plan
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
            drops=drops,
            settings=self.settings,
            config=self.now.config,
            makers=Makers(
                shards=ShardWriter(
                    plan=partial(self._run_one, plan),
                    spread=spread_of(self.request, self.ledger.poll),
                    afar=self.afar,
                ),
                views=partial(self._run_one, make_views),
            ),
        )
        # Last: it vouches for a manifest and a catalog that are complete.
        manifest_sha256 = sha256_or_none(self.request.out / MANIFEST_FILE)
        stamp = replace(self.now, manifest_sha256=manifest_sha256, catalog_sha256=views.catalog_sha256)
        self.memory.save(incoming.rows(found.published()), stamp)
        self.kept.save_damaged(())
        return Outcome(
            exit_code=EXIT_FAULTS if self.ledger.faults else EXIT_OK,
            unchanged=False,
            recordings=manifest.recordings,
            clips=manifest.clips,
            windows=manifest.windows,
            shards=len(manifest.shards),
            shards_written=len(_shards(manifest) - before),
            drops=(*drops, *(drop for one in self.memory.quarantined() for drop in one.drops)),
            trims=self.memory.trims() + sum(drop.kind == "trim" for drop in drops),
            poor=views.poor,
        )

    def _run_one(self, function: Callable[[_Job], _Result], job: _Job) -> _Result:
        """Run a job that concerns the whole dataset here, or for many recordings as a task on the cluster."""
        if self.request.engine == "local" or self.items < LEAST_FOR_A_TASK:
            return function(job)
        from corpus.pipeline.ray_engine import run_on_ray

        address, on_poll = self.request.address, self.ledger.poll
        [ended] = run_on_ray(function, [job], address=address, on_poll=on_poll)
        # A task that dies at every try is done by this process.
        return function(job) if isinstance(ended.result, WorkerDied) else ended.result


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
