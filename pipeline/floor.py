"""Who has the floor: units of speech, pauses, gaps, overlaps and floor-transfer offsets.

Definitions of M. Heldner and J. Edlund, "Pauses, gaps and overlaps in conversations", Journal of
Phonetics 38 (2010), for two speakers, read for any number: between two stretches in which exactly one
speaker talks lies

    silence    the same speaker before and after: pause     another: gap, offset = its length
    overlap    the same: within-speaker overlap             another: between-speaker overlap, offset < 0
    nothing    the same: cannot be                          another: transfer, offset = 0
    both       unclear: counted, without an offset
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from corpus.schemas.conversation import Turn
from corpus.schemas.span import Span, union

BRIDGE_US = 200_000
"""Silences of one speaker up to this are inside a unit: above stop closures, as `cues.ipu_bridge_us`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Lengths in microseconds, in order of time."""

    units_us: tuple[int, ...] = ()
    """Inter-pausal units: one speaker's talk with silences up to the bridge closed."""
    pauses_us: tuple[int, ...] = ()
    gaps_us: tuple[int, ...] = ()
    overlaps_between_us: tuple[int, ...] = ()
    overlaps_within_us: tuple[int, ...] = ()
    offsets_us: tuple[int, ...] = ()
    """Floor-transfer offsets: gaps positive, overlaps negative."""
    unclear: int = 0
    longest_monologue_us: int = 0
    """The longest time from taking the floor to the last moment of having it alone."""


@dataclass(frozen=True, slots=True)
class _State:
    """A stretch in which the same speakers talk."""

    span: Span
    speakers: frozenset[str]


def floor_of(turns: Iterable[Turn], *, bridge_us: int = BRIDGE_US) -> Floor:
    """Pauses, gaps, overlaps and transfers of one conversation; silence before and after it counts as nothing."""
    units = _units(turns, bridge_us)
    states = list(_states(units))
    solos = [place for place, state in enumerate(states) if len(state.speakers) == 1]
    found: dict[str, list[int]] = {name: [] for name in ("pause", "gap", "between", "within", "offset")}
    unclear, longest, since = 0, 0, 0
    if solos:
        since = states[solos[0]].span.start_us
        longest = states[solos[0]].span.stop_us - since
    for left, right in pairwise(solos):
        before, after = states[left], states[right]
        same = before.speakers == after.speakers
        length = after.span.start_us - before.span.stop_us
        silent = {not state.speakers for state in states[left + 1 : right]}
        if len(silent) == 2:
            unclear += 1
        elif True in silent:
            found["pause" if same else "gap"].append(length)
        elif length:
            found["within" if same else "between"].append(length)
        if not same:
            since = after.span.start_us
            if len(silent) < 2:
                found["offset"].append(-length if False in silent else length)
        longest = max(longest, after.span.stop_us - since)
    return Floor(
        units_us=tuple(span.duration_us for _, span in units),
        pauses_us=tuple(found["pause"]),
        gaps_us=tuple(found["gap"]),
        overlaps_between_us=tuple(found["between"]),
        overlaps_within_us=tuple(found["within"]),
        offsets_us=tuple(found["offset"]),
        unclear=unclear,
        longest_monologue_us=longest,
    )


def _units(turns: Iterable[Turn], bridge_us: int) -> list[tuple[str, Span]]:
    by_speaker: dict[str, list[Span]] = {}
    for turn in turns:
        by_speaker.setdefault(turn.speaker, []).append(turn.span)
    units = [(who, span) for who, spans in by_speaker.items() for span in union(spans, bridge_us=bridge_us)]
    return sorted(units, key=lambda unit: (unit[1], unit[0]))


def _states(units: Sequence[tuple[str, Span]]) -> Iterator[_State]:
    """The conversation as stretches without change, from first to last speech."""
    changes: dict[int, list[tuple[str, bool]]] = {}
    for who, span in units:
        changes.setdefault(span.start_us, []).append((who, True))
        changes.setdefault(span.stop_us, []).append((who, False))
    talking: set[str] = set()
    for start_us, stop_us in pairwise(sorted(changes)):
        for who, starts in changes[start_us]:
            (talking.add if starts else talking.discard)(who)
        yield _State(Span(start_us, stop_us), frozenset(talking))


def talking_us(turns: Iterable[Turn]) -> tuple[int, int]:
    """Time in which anybody talks, and in which two or more talk."""
    speech = overlap = 0
    for state in _states(_units(turns, 0)):
        speech += state.span.duration_us if state.speakers else 0
        overlap += state.span.duration_us if len(state.speakers) > 1 else 0
    return speech, overlap
