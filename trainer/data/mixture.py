"""Several datasets as one endless order: `A:0.7,B:0.3` takes seven documents of A for three of B.

Which dataset a place of the order belongs to is a function of the place: after any number of documents each
dataset has given its share, to within less than one document for each dataset before it. Shares are exact
fractions, so nothing is rounded and there is no state. A dataset that is exhausted begins its next epoch.

    place     0 1 2 3 4 5 6 7 8 9
    A:0.7     . 0 1 . 2 3 . 4 5 6      floor(0.7 (place + 1)) - floor(0.7 place) of each
    B:0.3     0 . . 1 . . 2 . . .      the rest, divided likewise if there are more than two
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from corpus.schemas.errors import SettingsError
from corpus.schemas.urls import is_url, public_url


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A dataset of a mixture."""

    path: Path | str
    """A folder, or a URL."""
    share: Fraction
    """Its share of all documents; the shares of a mixture add up to 1."""


def parts_of(data: str) -> tuple[_Part, ...]:
    """The datasets that `data.data` names: a folder or URL, or several with weights, `A:0.7,B:0.3`.

    Raises: SettingsError where a weight is missing or not above 0, or a URL holds credentials.
    """
    if _is_one(data):
        return (_Part(path=_place(data), share=Fraction(1)),)
    weighted = [_weighed(text.strip()) for text in data.split(",")]
    total = sum((weight for _, weight in weighted), Fraction(0))
    return tuple(_Part(path=path, share=weight / total) for path, weight in weighted)


def absolute(data: str) -> str:
    """The same with absolute folder paths."""
    if _is_one(data):
        return _absolute(data)
    parts = [text.strip().rpartition(":") for text in data.split(",")]
    # A part without a weight is left as it is and refused later, under the name the user gave.
    return ",".join((_absolute(path) if path else "") + sign + weight for path, sign, weight in parts)


def _is_one(data: str) -> bool:
    """Whether the text names one dataset without a weight; the colon of `s3://` begins none."""
    return ":" not in data or Path(data).is_dir() or (is_url(data) and not _weight(data.rpartition(":")[2]))


def _absolute(place: str) -> str:
    return place if is_url(place) else str(Path(place).absolute())


def _place(text: str) -> Path | str:
    if not is_url(text):
        return Path(text)
    if public_url(text) != text:
        todo = "give them to fsspec: its configuration or the environment, which no run keeps"
        raise SettingsError("a URL with credentials", where=public_url(text), todo=todo)
    return text


def _weight(text: str) -> Fraction:
    """The weight, or 0 if the text is no number above 0."""
    try:
        return max(Fraction(text), Fraction(0))
    except (ValueError, ZeroDivisionError):
        return Fraction(0)


def _weighed(text: str) -> tuple[Path | str, Fraction]:
    path, sign, weight = text.rpartition(":")
    share = _weight(weight)
    if not sign or not path or share <= 0:
        todo = "write folders or URLs with weights above 0, as A:0.7,B:0.3"
        raise SettingsError(f"{text!r} is not a folder with a weight", where="data.data", todo=todo)
    return _place(path), share


def source_of(place: int, shares: Sequence[Fraction]) -> tuple[int, int]:
    """The dataset of the document at a place of the order, and the document's place in that dataset."""
    rest = Fraction(1)
    for number, share in enumerate(shares[:-1]):
        # Of the places left by the datasets before, this one takes an evenly spread part.
        # Exact fractions: rounding would shift the order after millions of documents.
        part = share / rest
        taken = place * part.numerator // part.denominator
        if (place + 1) * part.numerator // part.denominator > taken:
            return number, taken
        place, rest = place - taken, rest - share
    return len(shares) - 1, place
