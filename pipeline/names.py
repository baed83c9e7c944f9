"""People known by name before anything is decoded; the split is drawn from these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from corpus.pipeline.identify import Identity
from corpus.pipeline.reviewed import Texts, renamed
from corpus.schemas.settings import Settings


def names_before(identity: Identity, vouched: Sequence[str], reviews: Texts) -> tuple[str, ...]:
    """Everybody named in the manifest or an annotation file, with names given in reviews."""
    item = identity.item
    names = [*item.speakers, *(file.speaker for file in item.files if file.speaker is not None), *vouched]
    return _with_new_names(dict.fromkeys(names), reviews)


def vouched_for(identity: Identity, settings: Settings) -> tuple[str, ...]:
    """People named in the annotation files."""
    from corpus.align.conversation_json import named_in

    if not settings.sidecars and identity.item.sidecars is None:
        return ()
    return tuple(named_in([Path(mark.place) for mark in identity.sidecars]))


def _with_new_names(names: dict[str, None], reviews: Sequence[str]) -> tuple[str, ...]:
    """Add new names, even from reviews that did not win: an extra bond does no harm."""
    changes = renamed(reviews) if names and reviews else []
    count = -1
    # Until nothing is added: a person may have been renamed twice.
    while count != len(names):
        count = len(names)
        names |= dict.fromkeys(new for old, new in changes if old in names)
    return tuple(names)
