"""What the inputs look like: bundles of items, of which those that are known need not be read.

For a hundred thousand inputs and more this is a task on a cluster: if little has changed, nearly all of a
build's time is spent on it, and where files are far away, a single look at each takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from corpus.align.sidecar_files import Listing
from corpus.pipeline.bundles import MEAN_ITEMS, Bundle, bundles_of
from corpus.pipeline.inputs import gather, refuse_missing
from corpus.pipeline.items import Items
from corpus.pipeline.memory import remembered
from corpus.pipeline.request import Request
from corpus.schemas.drops import Drop
from corpus.schemas.errors import StorageError
from corpus.schemas.garbage import no_search_for_garbage
from corpus.schemas.urls import is_url

MANY = 100_000
"""Inputs that a cluster looks at in place of this process."""
_SEEN = 8
"""Names in a folder by which a machine is known to see it, and not an empty mount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyTask:
    """Inputs to be looked at."""

    inputs: tuple[str, ...]
    """With absolute paths."""
    local_urls: tuple[str, ...]
    wanted: frozenset[str] | None
    """The looks of bundles whose items are wanted; None for all but the known ones."""
    known: frozenset[str]
    seen: tuple[str, ...]
    """Some of the files and folders that the driver sees: where they are missing, nothing is mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What there is to build."""

    bundles: Sequence[Bundle]
    drops: Sequence[Drop]
    listing: Listing
    """Of the folders in which files of unknown bundles lie."""
    again: Callable[[Set[str]], Survey] | None = None
    """Looks once more, for the items of bundles with these looks; None if all items are there."""

    def items_of(self, bundles: Sequence[Bundle]) -> tuple[dict[str, Items], Listing]:
        """The items of bundles, by look, and a listing of the folders in which their files lie.

        Raises:
            StorageError: they have changed since they were looked at.
        """
        there = {bundle.look: bundle.items for bundle in bundles if bundle.items is not None}
        lacking = {bundle.look for bundle in bundles} - there.keys()
        if not lacking or self.again is None:
            return there, self.listing
        found = self.again(lacking)
        there |= {one.look: one.items for one in found.bundles if one.items is not None}
        if not there.keys() >= lacking:
            todo = "wait until nobody writes there, then run the same command again"
            raise StorageError("the inputs are being changed", where="inputs", todo=todo)
        return there, self.listing.joined(found.listing)


def survey_here(inputs: Sequence[str], local_urls: Sequence[str]) -> tuple[Items, list[Drop]]:
    """The items; raises like `gather`."""
    with no_search_for_garbage():
        return gather(inputs, local_urls)


def bundled(items: Items, drops: Sequence[Drop]) -> Survey:
    """Look at the items and at the files beside them."""
    listing = Listing()  # one for all: a folder of a million files is listed once
    with no_search_for_garbage():
        return Survey(bundles=bundles_of(items, listing), drops=drops, listing=listing)


def survey(task: SurveyTask) -> Survey:
    """Look at the inputs; raises like `gather`."""
    whole = bundled(*survey_here(task.inputs, task.local_urls))
    known = task.known if task.wanted is None else {one.look for one in whole.bundles} - task.wanted
    unknown = [bundle for bundle in whole.bundles if bundle.look not in known]
    places = (f.place for bundle in unknown for one in bundle.items or () for f in one.files)
    return replace(
        whole,
        bundles=[replace(one, items=None) if one.look in known else one for one in whole.bundles],
        listing=whole.listing.about(place for place in places if not is_url(place)),
    )


def task_of(request: Request, folder: Path) -> SurveyTask | None:
    """The task for a cluster, if the last build that used the state `folder` had many inputs.

    Raises:
        UsageError: a named path does not exist.
    """
    known = remembered(folder) if request.engine == "ray" and not request.rehash else frozenset()
    if len(known) * MEAN_ITEMS < MANY:
        return None
    for text in request.inputs:
        refuse_missing(text)
    return SurveyTask(
        inputs=tuple(map(_absolute, request.inputs)),
        local_urls=tuple(map(_absolute, request.local_urls)),
        wanted=None,
        known=known,
        seen=tuple(place for text in request.inputs for place in _seen(text)),
    )


def _seen(text: str) -> Iterator[str]:
    """An input that is there, and the first few names in it if it is a folder."""
    if os.path.isdir(text):
        with os.scandir(text) as entries:
            yield from (os.path.abspath(entry.path) for entry in islice(entries, _SEEN))
    if os.path.exists(text):
        yield os.path.abspath(text)


def _absolute(text: str) -> str:
    return text if is_url(text) else os.path.abspath(text)
