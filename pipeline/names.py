"""Who is known by name before anything is decoded: what a split is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corpus.pipeline.identify import Identity
from corpus.pipeline.reviewed import Texts, renamed
from corpus.schemas.settings import Settings


def names_before(identity: Identity, settings: Settings, reviews: Texts) -> tuple[str, ...]:
    """Everybody whom the manifest or an annotation file vouches for, and what reviews call them."""
    from corpus.align.conversation_json import named_in

    item = identity.item
    names = [*item.speakers, *(file.speaker for file in item.files if file.speaker is not None)]
    if settings.sidecars or item.sidecars is not None:
        names += named_in([Path(mark.place) for mark in identity.sidecars])
    return _with_new_names(dict.fromkeys(names), reviews)


def _with_new_names(names: dict[str, None], reviews: Sequence[str]) -> tuple[str, ...]:
    """A review that did not win binds too: one bond too many parts nobody."""
    changes = renamed(reviews) if names and reviews else []
    count = -1
    while count != len(names):
        count = len(names)
        names |= dict.fromkeys(new for old, new in changes if old in names)
    return tuple(names)
