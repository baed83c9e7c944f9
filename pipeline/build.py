"""`corpus build`: from what the user names to a dataset on disk, under the lock of its folder."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.pipeline import state as keep
from corpus.pipeline.building import Building
from corpus.pipeline.items import Items
from corpus.pipeline.progress import Messenger
from corpus.pipeline.quick_key import quick_key
from corpus.pipeline.request import Outcome, Request
from corpus.pipeline.survey import bundled, survey_here, task_of
from corpus.schemas.errors import StorageError
from corpus.schemas.files import storage_errors

if TYPE_CHECKING:
    from corpus.shards.shard_task import Afar


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
    kept = keep.State(request.out)
    # First: a mistyped input leaves nothing behind.
    task = task_of(request, kept.folder)
    items, drops = survey_here(request.inputs, request.local_urls) if task is None else (Items(()), [])
    refuse_newer(request.out)
    kept.create()
    with kept.locked(talk.say), _cluster(request) if task is not None else nullcontext():
        # Under the lock: a swap that was interrupted must be finished before anyone looks at the outputs.
        with storage_errors(request.out):
            finish_swap(request.out)
        if task is not None:
            from corpus.pipeline.ray_recordings import survey_on_ray

            survey = survey_on_ray(task, request)
        else:
            survey = bundled(items, drops)
        key = quick_key(survey.bundles, request)
        finished = None if request.rehash or kept.damaged() else kept.finished()
        # Both sides: the inputs are as they were, and nobody touched the outputs since.
        if finished and finished.key == key and finished.outputs == keep.outputs_of(request.out):
            return Outcome(exit_code=finished.exit_code, unchanged=True)
        refuse_edited_catalog(kept.folder, request.out)
        running = Building(request, talk, kept, afar, survey)
        running.cache.create()
        damaged: set[Path] = set()
        try:
            while True:
                try:
                    outcome = running.run()
                    break
                except DamagedClipError as error:  # note the shard, and build its clips again from the cache
                    if error.file in damaged:
                        raise
                    damaged.add(error.file)
                    if error.file.is_relative_to(request.out):
                        kept.save_damaged([*kept.damaged(), error.file.relative_to(request.out).as_posix()])
                    running = Building(request, talk, kept, afar, survey)
        except KeyboardInterrupt:
            with suppress(StorageError):
                running.ledger.say("interrupted")
            raise
        except Exception as error:
            with suppress(StorageError):  # the disk that refused may refuse this too
                running.ledger.say("failed", str(error))
            raise
        outputs, key = keep.outputs_of(request.out), "" if outcome.may_pass else key
        kept.save_finished(keep.Finished(key=key, outputs=outputs, exit_code=outcome.exit_code))
        return outcome


def _cluster(request: Request) -> AbstractContextManager[None]:
    from corpus.pipeline.ray_engine import connected

    return connected(request.address)


def refuse_newer(out: Path) -> None:
    """Refuse a dataset written by a newer version, before any work is done.

    Raises:
        NewerSchemaError: it was written by a newer version.
    """
    from corpus.shards.write import read_manifest

    read_manifest(out)
