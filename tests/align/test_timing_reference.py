"""Timing labels against their definitions in docs/cues.md, asked of every tick: all of them, and no other."""

from __future__ import annotations

import random
from itertools import combinations

from corpus.align.label import label_cues
from corpus.schemas.conversation import Conversation, Turn
from corpus.schemas.settings import CueSettings

TICK_US = 50_000
TICKS = 260
SPEAKERS = "ABC"
Found = tuple[str, str, str, str, int, int]


def made_up(seed: int) -> Conversation:
    numbers = random.Random(seed)
    turns = []
    for _ in range(numbers.randrange(10)):
        start = numbers.randrange(TICKS - 80)
        length = numbers.choice([1, 2, 3, 8, 19, 20, 21, 30, 60])
        turns.append(
            Turn(
                speaker=numbers.choice(SPEAKERS),
                start_us=start * TICK_US,
                stop_us=(start + length) * TICK_US,
            )
        )
    return Conversation(
        recording="r", duration_us=TICKS * TICK_US, speakers=tuple(SPEAKERS), turns=tuple(turns)
    )


def ticks(told: Conversation, speaker: str, bridge: int) -> list[bool]:
    on = [False] * TICKS
    for turn in told.turns:
        if turn.speaker == speaker:
            for tick in range(turn.start_us // TICK_US, turn.stop_us // TICK_US):
                on[tick] = True
    for start, stop in runs([not value for value in on]):
        if start > 0 and stop < TICKS and stop - start <= bridge:
            on[start:stop] = [True] * (stop - start)
    return on


def runs(on: list[bool]) -> list[tuple[int, int]]:
    found, start = [], None
    for tick, value in enumerate([*on, False]):
        if value and start is None:
            start = tick
        elif not value and start is not None:
            found.append((start, tick))
            start = None
    return found


def expected(told: Conversation) -> set[Found]:
    raw = {name: ticks(told, name, 0) for name in SPEAKERS}
    on = {name: ticks(told, name, 4) for name in SPEAKERS}
    found: set[Found] = set()

    def add(label_: str, kind: str, who: str, partner: str, start: int, stop: int) -> None:
        found.add((label_, kind, who, partner, start * TICK_US, stop * TICK_US))

    for left, right in combinations(SPEAKERS, 2):
        for start, stop in runs([a and b for a, b in zip(raw[left], raw[right], strict=True)]):
            if stop - start >= 2:
                began = {n: next(a for a, b in runs(raw[n]) if a <= start < b) for n in (left, right)}
                first, second = sorted((left, right), key=lambda n: (began[n], n))
                add("overlap", "simultaneous", second, first, start, stop)
    states = ["".join(n for n in SPEAKERS if on[n][tick]) for tick in range(TICKS)]
    chain: list[tuple[str, int, int]] = []
    for tick, state in enumerate(states):
        if chain and chain[-1][0] == state:
            chain[-1] = (state, chain[-1][1], tick + 1)
        else:
            chain.append((state, tick, tick + 1))
    for (before, b0, b1), (between, s0, s1), (after, a0, a1) in zip(
        chain, chain[1:], chain[2:], strict=False
    ):
        if len(before) != 1 or len(after) != 1 or b1 - b0 < 20 or a1 - a0 < 20:
            continue
        if not between and s1 - s0 >= 5:
            if before == after:
                add("hold", "pause", before, "", s0, s1)
            else:
                add("yield", "turn_end", before, after, s0, s1)
        elif set(between) == {before, after} and before != after:
            add("yield", "overlap", before, after, s0, s1)
    for who in SPEAKERS:
        for start, stop in runs(on[who]):
            for other in set(SPEAKERS) - {who}:
                for floor, ends in runs(on[other]):
                    both = min(stop, ends) - start
                    if stop - start >= 20 and floor < start < ends and both >= 10:
                        kind = "floor_taking" if ends < stop else "butting_in"
                        add("interruption", kind, who, other, start, start + both)
            lone = all(
                not on[who][t] for t in (*range(start - 20, start), *range(stop, stop + 20)) if 0 <= t < TICKS
            )
            inside = start - 20 >= 0 and stop + 20 <= TICKS
            near = any(on[o][t] for o in SPEAKERS if o != who for t in range(max(0, start - 20), start + 1))
            if 2 <= stop - start <= 20 and lone and inside and near:
                add("backchannel", "geometric", who, "", start, stop)
    return found


def test_timing_labels_are_exactly_those_of_the_definition() -> None:
    counted: dict[str, int] = {}
    for seed in range(1000):
        told = made_up(seed)
        cues = label_cues(told, CueSettings())
        ours = {(c.label, c.kind, c.speaker or "", c.partner or "", c.start_us, c.stop_us) for c in cues}
        assert len(ours) == len(cues)
        if len({turn.speaker for turn in told.turns}) < 2:
            assert {cue.label for cue in cues} <= {"hold"}
            continue
        assert ours == expected(told), seed
        for cue in cues:
            counted[f"{cue.label}/{cue.kind}"] = counted.get(f"{cue.label}/{cue.kind}", 0) + 1
    assert min(counted.values()) > 20 and len(counted) == 7, counted
