"""Reading and writing ELAN's EAF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pympi import Eaf

from corpus.review.tiers import Mark, Tiers, in_xml
from corpus.schemas.errors import FormatError
from corpus.schemas.files import put_in_place, temporary

_WRITTEN = "2000-01-01T00:00:00+00:00"
"""The form wants a date; the same marks are to be the same bytes."""


def write_eaf(path: Path, tiers: Mapping[str, Sequence[Mark]], media: str) -> None:
    """Write the tiers in whole milliseconds; `media` is the name of the recording's file."""
    eaf = Eaf(author="corpus")
    eaf.adocument["DATE"] = _WRITTEN
    eaf.remove_tier("default")
    media = in_xml(media)
    eaf.add_linked_file(media, relpath=media, mimetype="application/octet-stream")
    for name, marks in tiers.items():
        eaf.add_tier(name)
        for mark in marks:
            eaf.add_annotation(name, round(mark.start_us / 1e3), round(mark.stop_us / 1e3), mark.text)
    eaf.to_file(str(temporary(path)))
    put_in_place(path)


def read_eaf(path: Path) -> Tiers:
    """The tiers whose marks have times of their own.

    Raises:
        FormatError: the file is damaged or not an EAF.
    """
    try:
        eaf = Eaf(str(path))
        return {
            name: [
                Mark(start_us=1000 * start, stop_us=1000 * stop, text=text or "")
                for start, stop, text, *_ in eaf.get_annotation_data_for_tier(name)
            ]
            for name in eaf.get_tier_names()
        }
    except Exception as error:  # pympi raises this very class for what it cannot read
        raise FormatError(f"is not a readable EAF: {error}", where=str(path)) from error
