"""Listing a build's quarantine, and retrying items in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from corpus.pipeline.build import build_dataset
from corpus.pipeline.progress import Messenger
from corpus.pipeline.request import Outcome, Request
from corpus.pipeline.state import Quarantine, Quarantined, State
from corpus.schemas.codec import from_json
from corpus.schemas.errors import UsageError
from corpus.schemas.settings import Settings


def chosen(out: Path, names: Sequence[str]) -> list[Quarantined]:
    """The quarantined items with these names; all of them if no name is given.

    Raises:
        DatasetError: no build was started here.
        UsageError: a name is not in quarantine.
    """
    state = State(out)
    state.invocation()
    return chosen_of(state.quarantine(), names, str(out))


def chosen_of(quarantine: Quarantine, names: Sequence[str], where: str) -> list[Quarantined]:
    """The items with these names; all of them if no name is given."""
    items = list(quarantine.items)
    unknown = sorted(set(names) - {q.uri for q in items})
    if unknown:
        raise UsageError(f"not in quarantine: {', '.join(unknown)}", where=where)
    return [q for q in items if not names or q.uri in names]


Build = Callable[[Request, Messenger], Outcome]


def retry(out: Path, names: Sequence[str], talk: Messenger, build: Build = build_dataset) -> Outcome:
    """Take items out of quarantine and repeat the build as it was called."""
    state = State(out)
    called = state.invocation()
    again = {(q.uri, q.key) for q in chosen(out, names)}
    with state.locked():
        rest = tuple(q for q in state.quarantine().items if (q.uri, q.key) not in again)
        state.save_quarantine(Quarantine(items=rest))
        # Else the rebuild would find nothing changed and do nothing.
        state.forget_finished()
    out = out.resolve()
    # Relative inputs name the same files only from there.
    os.chdir(called.folder)
    return build(
        Request(
            inputs=called.inputs,
            out=out,
            settings=from_json(Settings, called.settings, where="invocation.json"),
            cache=Path(called.cache) if called.cache else None,
            num_workers=called.num_workers,
            local_urls=called.local_urls,
            cache_url=called.cache_url,
            engine=called.engine,
            address=called.address,
        ),
        talk,
    )
