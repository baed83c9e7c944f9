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

The floor-transfer offset is the length of a gap, or minus that of an overlap_between. Their definition
is for two speakers; ours says the same of any number, and calls what they leave open `unclear`: two who
begin or end in the same microsecond, silence and overlap in a row.

All functions take the chain that `align.cues.talk.states` makes of the speakers' talk.
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
        """The floor-transfer offset; None where the floor is not transferred, or unclear."""
        length_us = self.stop_us - self.start_us
        return {"gap": length_us, "overlap_between": -length_us}.get(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Monologue:
    """One speaker talking, with pauses of any length, while nobody else does."""

    speaker: str
    start_us: int
    stop_us: int


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


def speech_us(chain: Iterable[State]) -> tuple[int, int]:
    """Time in which anybody talks, and in which two or more do."""
    somebody = several = 0
    for state in chain:
        somebody += state.span.duration_us if state.talking else 0
        several += state.span.duration_us if len(state.talking) > 1 else 0
    return somebody, several


def longest_monologue(chain: Iterable[State]) -> Monologue | None:
    """The longest stretch in which only one speaker is heard; the first of equals, None in silence."""
    return max(_monologues(chain), key=lambda m: m.stop_us - m.start_us, default=None)


def _monologues(chain: Iterable[State]) -> Iterator[Monologue]:
    now: Monologue | None = None
    for state in chain:
        if not state.talking:
            continue
        alone = next(iter(state.talking)) if len(state.talking) == 1 else None
        if now is not None and now.speaker == alone:
            now = Monologue(speaker=alone, start_us=now.start_us, stop_us=state.span.stop_us)
            continue
        if now is not None:
            yield now
        start_us, stop_us = state.span.start_us, state.span.stop_us
        now = Monologue(speaker=alone, start_us=start_us, stop_us=stop_us) if alone is not None else None
    if now is not None:
        yield now
