"""What an edit list with joins shows from its track, and in how many readings of the file.

    media  |aaaa|bbbbbbbb|cccccc|          a list: 2 s from b, 1 s of nothing, 1.5 s from c
    film   |bbbb|        |ccc|             sound is cut to the sample, a picture's time to the edit

Frames come in the order of the media. If a list goes back in it, to show something twice or in another order,
the file is read again: a list is divided into *runs*, one per reading, at the same moments of the film in all
tracks. Times are whole units of 1 / `per_second` s.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

from corpus.ingest.edits import Film, Track
from corpus.schemas.clock import US, round_half_up

MOST_RUNS = 16
"""Readings of one file."""
_LONGEST_S = 1_000_000
_MOST_PER_SECOND = 1 << 40
"""Of units: a stamp has 63 bits."""
_SLIP = Fraction(1, 50)
"""An edit that begins before the end of the previous one by at most this and two ticks of the film was only
rounded: nothing is read again for it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A part of the media, placed on the film."""

    film: int
    media: int
    length: int

    @property
    def media_stop(self) -> int:
        return self.media + self.length

    @property
    def film_stop(self) -> int:
        return self.film + self.length

    def continues(self, before: Edit) -> bool:
        """Whether it continues the previous edit without a break, on the film and in the media."""
        return self.film == before.film_stop and self.media == before.media_stop


@dataclass(frozen=True, slots=True)
class EditList:
    """What a track shows, in the order of the film."""

    per_second: int
    runs: tuple[tuple[Edit, ...], ...]
    joins: int = 0
    empty_s: float = 0.0
    """Behind its start."""
    other_speed_s: float = 0.0
    """Seconds of parts at another speed than the media's, which are left empty."""
    left_out_s: float = 0.0
    """Seconds of parts that would need too many readings, or are absurdly late."""

    def first_s(self, media_s: Fraction, media_stop_s: Fraction | None) -> Fraction | None:
        """When the first of a track's media, which begins at `media_s`, is shown; None if never."""
        start = round_half_up(media_s * self.per_second)
        for edit in (edit for run in self.runs for edit in run):
            begin = max(edit.media, start)
            beyond = media_stop_s is not None and begin >= media_stop_s * self.per_second
            if begin < edit.media_stop and not beyond:
                return Fraction(edit.film + begin - edit.media, self.per_second)
        return None

    def shown_s(self, media_start_s: Fraction, media_stop_s: Fraction) -> Fraction:
        """How much the list shows of a track's media between these two times; every showing counts."""
        start, stop = (round_half_up(at * self.per_second) for at in (media_start_s, media_stop_s))
        edits = (edit for run in self.runs for edit in run)
        shown = sum(max(0, min(e.media_stop, stop) - max(e.media, start)) for e in edits)
        return Fraction(shown, self.per_second)

    def end_s(self, media_stop_s: Fraction | None) -> Fraction:
        """When the last of a track's media, which ends at `media_stop_s`, has been shown."""
        stop = None if media_stop_s is None else round_half_up(media_stop_s * self.per_second)
        ends = [
            edit.film_stop if stop is None else edit.film + min(edit.length, stop - edit.media)
            for run in self.runs
            for edit in run
            if stop is None or edit.media < stop
        ]
        return Fraction(max(ends, default=0), self.per_second)


def edit_lists(film: Film, *, again: bool) -> dict[int, EditList]:
    """The lists of a film's tracks by their numbers; `again`: the file may be read several times."""
    parts = {track.number: _Parts(film, track) for track in film.tracks}
    # Every track is read anew where one goes back, so that all come along the film together.
    cuts = sorted({cut for part in parts.values() for cut in part.goes_back})
    runs = MOST_RUNS if again else 1
    return {number: part.list(cuts[: runs - 1], cuts[runs - 1 : runs]) for number, part in parts.items()}


class _Parts:
    """A track's list in units."""

    def __init__(self, film: Film, track: Track) -> None:
        units = lcm(film.movie_hz, track.media_hz)
        # A sample may begin between two units: none is longer than a microsecond.
        units *= -(-US // units)
        self.per_second = units if units <= _MOST_PER_SECOND else 10**9
        self.edits: list[Edit] = []
        self.empty = self.other_speed = self.left_out = 0
        if not track.entries:
            # Without a list the media is the film, and what stands before zero too.
            whole = _LONGEST_S * self.per_second
            self.edits = [Edit(-whole, -whole, 2 * whole)]
        at = 0
        for number, entry in enumerate(track.entries):
            start, at = at, at + entry.length
            film_start, film_stop = self._units(start, film.movie_hz), self._units(at, film.movie_hz)
            length = film_stop - film_start
            if film.fragmented and not entry.length and number == len(track.entries) - 1:
                length = _LONGEST_S * self.per_second
            if entry.empty:
                self.empty += length if self.edits else 0
            elif entry.speed != 1 << 16:
                self.other_speed += length
            elif film_start > _LONGEST_S * self.per_second:
                self.left_out += length
            elif length:
                media = self._units(entry.begin, track.media_hz)
                self.edits.append(Edit(film_start, media, min(length, _LONGEST_S * self.per_second)))
        self.goes_back = self._goes_back(self.per_second * min(Fraction(2, film.movie_hz), _SLIP))

    def _goes_back(self, slip: Fraction) -> list[Fraction]:
        """The moments of the film at which it shows media that has already been read."""
        moments, reached = list[Fraction](), None
        for edit in self.edits:
            if reached is not None and edit.media < reached - slip:
                moments.append(Fraction(edit.film, self.per_second))
                reached = edit.media_stop
            reached = edit.media_stop if reached is None else max(reached, edit.media_stop)
        return moments

    def _units(self, ticks: int, hz: int) -> int:
        return (2 * ticks * self.per_second + hz) // (2 * hz)

    def list(self, cuts: Sequence[Fraction], end: Sequence[Fraction]) -> EditList:
        """The list divided into runs at the moments `cuts`; edits beginning at or after `end` are dropped."""
        stops = [round_half_up(cut * self.per_second) for cut in cuts]
        runs: list[list[Edit]] = [[] for _ in range(len(cuts) + 1)]
        left_out, last = self.left_out, round_half_up(end[0] * self.per_second) if end else None
        for edit in self.edits:
            if last is not None and edit.film_stop > last:
                left_out += edit.film_stop - max(edit.film, last)
                edit = Edit(edit.film, edit.media, last - edit.film)
            run = bisect_right(stops, edit.film)
            while edit.length > 0:
                here = min(edit.length, stops[run] - edit.film) if run < len(stops) else edit.length
                runs[run].append(Edit(edit.film, edit.media, here))
                edit = Edit(edit.film + here, edit.media + here, edit.length - here)
                run += 1
        return EditList(
            self.per_second,
            tuple(tuple(run) for run in runs),
            joins=max(0, len(self.edits) - 1),
            empty_s=self.empty / self.per_second,
            other_speed_s=self.other_speed / self.per_second,
            left_out_s=left_out / self.per_second,
        )
