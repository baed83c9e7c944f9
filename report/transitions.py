"""How the floor passes between speakers: units, pauses, gaps, overlaps and floor-transfer offsets.

The classes are those of M. Heldner and J. Edlund, "Pauses, gaps and overlaps in conversations",
Journal of Phonetics 38 (2010) 555-568: what lies between one speaker talking alone and the next.

    S1 ======      ======            pause            silence, the same speaker goes on
    S1 ======
    S2        ======                 gap              silence, the speaker changes
    S1 ========
    S2      ========                 overlap_between  both talk, the speaker changes
    S1 ==============
    S2      ====                     overlap_within   both talk, the speaker stays

The floor-transfer offset is the length of a gap, or minus that of an overlap_between. Their definition is for
two speakers; ours extends it to any number, and calls what they leave open `unclear`: two speakers who begin
or end in the same microsecond, or silence followed by overlap and the reverse.

All functions take the chain that `schemas.turn_taking.states` makes from the speakers' turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from corpus.schemas.turn_taking import State

TransitionKind = Literal["pause", "gap", "overlap_between", "overlap_within", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """What lies between one speaker talking alone and the next one talking alone."""

    kind: TransitionKind
    from_speaker: str
    to_speaker: str
    start_us: int
    stop_us: int

    @property
    def offset_us(self) -> int | None:
        """The floor-transfer offset; None if the floor is not transferred, or unclear."""
        length_us = self.stop_us - self.start_us
        return {"gap": length_us, "overlap_between": -length_us}.get(self.kind)


def transitions(chain: Iterable[State]) -> Iterator[Transition]:
    """Every transition of a conversation in order, from the chain of its units' states."""
    before: State | None = None
    between: list[State] = []
    for state in chain:
        if len(state.talking) != 1:
            between.append(state)
            continue
        if before is not None:
            yield _transition(before, between, state)
        before, between = state, []


def _transition(before: State, between: Sequence[State], after: State) -> Transition:
    (left,), (right,) = before.talking, after.talking
    return Transition(
        kind=_kind(between, same=left == right),
        from_speaker=left,
        to_speaker=right,
        start_us=before.span.stop_us,
        stop_us=after.span.start_us,
    )


def _kind(between: Sequence[State], *, same: bool) -> TransitionKind:
    silent = {not state.talking for state in between}
    if len(silent) == 2:
        return "unclear"
    if silent == {False}:
        return "overlap_within" if same else "overlap_between"
    return "pause" if same else "gap"  # no state between: one begins in the microsecond another ends
