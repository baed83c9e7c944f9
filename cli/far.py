"""Datasets in a folder or at a URL, for `corpus build` and the commands around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.schemas.errors import CorpusError, UsageError
from corpus.schemas.store import FolderStore, store_at
from corpus.schemas.urls import place_of, public_url

if TYPE_CHECKING:
    from corpus.pipeline.progress import Messenger
    from corpus.pipeline.request import Outcome, Request
    from corpus.pipeline.state import Quarantined, Status

_GONE_WITH_US = ("memory",)
"""Schemes of places that nobody else sees."""


def built_at(out: str) -> tuple[Path, Callable[[Request, Messenger], Outcome]]:
    """The folder in which the dataset is built, and the function that builds it."""
    folder = folder_of(out)
    if folder is not None:
        from corpus.pipeline.build import build_dataset

        return folder, build_dataset
    from corpus.pipeline.far_build import build_at, work_folder

    return work_folder(out), partial(build_at, out)


@contextmanager
def told_of(out: str) -> Iterator[None]:
    """Errors about the folder in which a dataset at a URL is built name the URL."""
    try:
        yield
    except CorpusError as error:
        if folder_of(out) is not None or error.where != str(built_at(out)[0]):
            raise
        what, todo = error.what, error.todo
        if what == "no build was started here":
            what = "was not built on this machine"
            todo = "use `--add` and `errors retry` where it was built, or name all inputs here"
        raise type(error)(what, where=public_url(out), todo=todo) from error


def status_of(out: str) -> tuple[Status | None, bool]:
    """A build's progress, and whether it still holds the dataset."""
    folder = folder_of(out)
    if folder is None:
        from corpus.pipeline.far_build import far_status

        return far_status(store_at(out))
    from corpus.pipeline.state import State

    return State(folder).status(), State(folder).is_locked()


def quarantined_in(out: str, names: Sequence[str]) -> list[Quarantined]:
    from corpus.pipeline.quarantine import chosen, chosen_of

    folder = folder_of(out)
    if folder is not None:
        return chosen(folder, names)
    from corpus.pipeline.far_build import far_quarantine

    store = store_at(out)
    return chosen_of(far_quarantine(store), names, store.shown)


def folder_of(out: str) -> Path | None:
    """A dataset's folder on this machine; None if it is elsewhere.

    Raises:
        UsageError: the place would be gone with this process.
    """
    if out.partition("://")[0] in _GONE_WITH_US:
        what = "is the memory of one process, and is gone when this command ends"
        raise UsageError(what, where=public_url(out), todo="give a folder, or the URL of a store")
    store = store_at(place_of(out))
    return store.root if isinstance(store, FolderStore) else None
