"""Identifying many inputs on a cluster: a million recordings are more than one machine should read.

The driver finds the annotation files, because it has listed the folders; workers read and hash the files and
learn whom the annotations name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from corpus.align.sidecar_files import Listing
from corpus.pipeline.engine import Done, WorkerDied
from corpus.pipeline.identify import Identity, identify, sidecars_of
from corpus.pipeline.items import Item
from corpus.pipeline.names import vouched_for
from corpus.schemas.drops import UNFETCHED, Drop
from corpus.schemas.errors import CorpusError, StorageError
from corpus.schemas.marks import FileMark
from corpus.schemas.settings import Settings
from corpus.schemas.urls import is_url

_ITEMS = 16
"""Of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyTask:
    """Inputs to be read."""

    items: tuple[Item, ...]
    sidecars: tuple[tuple[str, ...] | None, ...]
    """The annotation files of each; None if they are still to be found."""
    hashes: Mapping[str, FileMark]
    """Known hashes of these files, by path."""
    downloads: Path
    settings: Settings

    @property
    def places(self) -> Iterator[Path]:
        """The files that are there before the task."""
        for item, sidecars in zip(self.items, self.sidecars, strict=True):
            if sidecars is not None:
                yield from (Path(place) for place in (*(file.place for file in item.files), *sidecars))


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What a worker learnt of an item."""

    recording: str
    media: tuple[FileMark, ...]
    sidecars: tuple[FileMark, ...]
    names: tuple[str, ...]
    """People named in the annotation files."""

    def of(self, item: Item) -> Identity:
        return Identity(item=item, recording=self.recording, media=self.media, sidecars=self.sidecars)


Run = Callable[
    [Callable[[IdentifyTask], list[Identified | Drop]], Iterable[IdentifyTask]],
    Iterator[Done[IdentifyTask, list[Identified | Drop]]],
]
"""Runs a function on tasks wherever there is capacity; ends come in any order."""


def tasks_for(
    items: Sequence[Item],
    listing: Listing,
    hashes: Mapping[str, FileMark],
    downloads: Path,
    settings: Settings,
) -> Iterator[IdentifyTask]:
    """The tasks that identify these items."""
    for first in range(0, len(items), _ITEMS):
        part = tuple(items[first : first + _ITEMS])
        sidecars = [_sidecars(item, listing) for item in part]
        media = (file.place for item in part for file in item.files)
        places = {*media, *(place for some in sidecars for place in some or ())}
        yield IdentifyTask(
            items=part,
            sidecars=tuple(sidecars),
            hashes={place: hashes[place] for place in places if place in hashes},
            downloads=downloads,
            settings=settings,
        )


def identified(run: Run, tasks: Iterable[IdentifyTask]) -> Iterator[tuple[Item, Identified | Drop]]:
    """Every item and what was learnt of it, in any order."""
    for ended in run(identify_items, tasks):
        # Whoever dies at every try leaves the items to this process.
        results = ended.result
        if isinstance(results, WorkerDied):
            results = identify_items(ended.job)
        yield from zip(ended.job.items, results, strict=True)


def identify_items(task: IdentifyTask) -> list[Identified | Drop]:
    """What there is to know of each item, or why it cannot be read.

    Raises:
        StorageError: the disk for downloads is full.
    """
    return [
        _identified(task, item, sidecars) for item, sidecars in zip(task.items, task.sidecars, strict=True)
    ]


def _identified(task: IdentifyTask, item: Item, sidecars: tuple[str, ...] | None) -> Identified | Drop:
    found = attempt(item, task.hashes, task.downloads, sidecars=sidecars)
    if isinstance(found, Drop):
        return found
    return Identified(
        recording=found.recording,
        media=found.media,
        sidecars=found.sidecars,
        names=vouched_for(found, task.settings),
    )


def attempt(
    item: Item,
    hashes: Mapping[str, FileMark],
    downloads: Path,
    listing: Listing | None = None,
    sidecars: tuple[str, ...] | None = None,
) -> Identity | Drop:
    """The item's content, or why it cannot be read; raises StorageError."""
    try:
        return identify(item, hashes, downloads, listing, sidecars)
    except StorageError:
        raise
    except (CorpusError, OSError, ValueError) as error:
        code = UNFETCHED if any(is_url(file.place) for file in item.files) else "unreadable"
        return Drop(item=item.uri, stage="input", kind="fault", code=code, reason=str(error))


def _sidecars(item: Item, listing: Listing) -> tuple[str, ...] | None:
    places = [file.place for file in item.files]
    if any(map(is_url, places)):
        return None  # beside what is still to be fetched
    return tuple(sidecars_of(item, places, listing))
