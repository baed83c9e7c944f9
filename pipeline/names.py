"""Who is known by name before anything is decoded: what a split is drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corpus.pipeline.identify import Identity
from corpus.pipeline.reviewed import Texts, renamed
from corpus.schemas.settings import Settings


def names_before(identity: Identity, vouched: Sequence[str], reviews: Texts) -> tuple[str, ...]:
    """Everybody whom the manifest or an annotation file vouches for, and what reviews call them."""
    item = identity.item
    names = [*item.speakers, *(file.speaker for file in item.files if file.speaker is not None), *vouched]
    return _with_new_names(dict.fromkeys(names), reviews)


def vouched_for(identity: Identity, settings: Settings) -> tuple[str, ...]:
    """Whom the annotation files know by name."""
    from corpus.align.conversation_json import named_in

    if not settings.sidecars and identity.item.sidecars is None:
        return ()
    return tuple(named_in([Path(mark.place) for mark in identity.sidecars]))


def _with_new_names(names: dict[str, None], reviews: Sequence[str]) -> tuple[str, ...]:
    """A review that did not win binds too: one bond too many parts nobody."""
    changes = renamed(reviews) if names and reviews else []
    count = -1
    while count != len(names):
        count = len(names)
        names |= dict.fromkeys(new for old, new in changes if old in names)
    return tuple(names)
