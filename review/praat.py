"""Reading and writing Praat's TextGrid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from praatio import textgrid
from praatio.utilities.errors import PraatioException

from corpus.review.tiers import Mark, Tiers
from corpus.schemas.errors import FormatError
from corpus.schemas.files import put_in_place, temporary


def write_textgrid(path: Path, tiers: Mapping[str, Sequence[Mark]], duration_us: int) -> None:
    """Write interval tiers, whose marks must not overlap within a tier."""
    whole_s = duration_us / 1e6
    grid = textgrid.Textgrid(0, whole_s)
    for name, marks in tiers.items():
        entries = [(mark.start_us / 1e6, mark.stop_us / 1e6, mark.text or " ") for mark in marks]
        grid.addTier(textgrid.IntervalTier(name, entries, 0, whole_s))
    grid.save(str(temporary(path)), format="long_textgrid", includeBlankSpaces=True)
    put_in_place(path)


def read_textgrid(path: Path) -> Tiers:
    """The interval tiers; intervals without text are skipped.

    Raises:
        FormatError: the file is damaged or not a TextGrid.
    """
    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False, reportingMode="silence")
    except (PraatioException, OSError, ValueError, IndexError, KeyError, AssertionError) as error:
        raise FormatError(f"is not a readable TextGrid: {error}", where=str(path)) from error
    tiers: Tiers = {}
    for name in grid.tierNames:
        tier = grid.getTier(name)
        if isinstance(tier, textgrid.IntervalTier):
            tiers[name] = [
                Mark(start_us=round(start * 1e6), stop_us=round(stop * 1e6), text=text)
                for start, stop, text in tier.entries
            ]
    return tiers
