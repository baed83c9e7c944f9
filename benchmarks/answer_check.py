"""Checks answers against their definition in docs/cues.md, tick by tick, on random conversations.

    python benchmarks/answer_check.py [ANSWERS]

The check uses no product code: talk is a set of ticks, and the definition is evaluated at every tick. It ends
with the number of wrong, missing and extra ones among at least ANSWERS (default 1,000,000).
"""

from __future__ import annotations

import itertools
import random
import sys
import time
from typing import Any

from corpus.schemas.answers import with_answers
from corpus.schemas.conversation import Conversation, Cue, CueSpan, Event, Turn
from corpus.schemas.settings import CueSettings

TICK_US = 100_000
TICKS = 240
SETTINGS = CueSettings()
Told = tuple[str | None, int, int, str, str, str]


def conversation(numbers: random.Random) -> Conversation:
    """A random conversation with turns, cues and events at whole ticks; cues need not fit the talk."""
    speakers = tuple("CABD"[: numbers.randrange(1, 5)])

    def span(longest: int) -> dict[str, Any]:
        start = numbers.randrange(TICKS - longest)
        return {"start_us": start * TICK_US, "stop_us": (start + numbers.randrange(1, longest)) * TICK_US}

    def cue() -> Cue:
        speaker: str | None = numbers.choice(speakers)
        partner, spans, times = None, tuple[CueSpan, ...](), span(30)
        label, kind = numbers.choice(KINDS)
        if label == "yield" and len(speakers) > 1:
            partner = numbers.choice([name for name in speakers if name != speaker])
        elif label == "visual":
            speaker = numbers.choice([None, speaker])
            if kind == "repetition" and numbers.random() < 0.7:
                parts = sorted(
                    numbers.sample(range(times["start_us"] // TICK_US, times["start_us"] // TICK_US + 30), 4)
                )
                spans = tuple(
                    CueSpan(role="repetition", start_us=a * TICK_US, stop_us=b * TICK_US)
                    for a, b in itertools.pairwise(parts)
                )
        return Cue(
            label=label,
            kind=kind,
            speaker=speaker,
            partner=partner,
            confidence=1.0,
            origin="made up",
            spans=spans,
            **times,
        )

    return Conversation(
        recording="made up",
        duration_us=TICKS * TICK_US,
        speakers=speakers,
        turns=tuple(Turn(speaker=numbers.choice(speakers), **span(40)) for _ in range(numbers.randrange(12))),
        cues=tuple(cue() for _ in range(numbers.randrange(12))),
        events=tuple(
            Event(
                label=numbers.choice(["tool_result", "note", "timer"]),
                kind="",
                speaker=None,
                origin="x",
                **span(3),
            )
            for _ in range(numbers.randrange(3))
        ),
    )


KINDS = (
    *(("yield", "turn_end"), ("yield", "overlap"), ("hold", "pause"), ("thinking", "pause")),
    *(("thinking", "filler"), ("invitation", "question"), ("invitation", ""), ("overlap", "simultaneous")),
    *(("visual", "repetition"), ("visual", "nod"), ("hesitation", "silent_pause")),
)


def expected(told: Conversation) -> set[Told]:
    """Every answer, by the wording of the definition."""
    talking = {name: _units(told, name) for name in told.speakers}
    within = SETTINGS.answer_within_us // TICK_US
    found: set[Told] = set()

    def add(item: Cue | Event, ticks: list[int], action: str, taker: str | None = None) -> None:
        others: list[str | None] = [name for name in told.speakers if name != item.speaker]
        why = item.label + (f"/{item.kind}" if item.kind else "")
        for start, stop in _runs(ticks):
            for who in [taker] if taker else others or [None]:
                found.add((who, start * TICK_US, stop * TICK_US, action, why, item.id))

    def from_on(tick: int, speaker: str | None, deaf_until: int) -> list[int]:
        """Ticks until the time is up, the recording ends, or the speaker talks again."""
        ticks: list[int] = []
        for now in range(tick, min(tick + within, TICKS)):
            unit = talking[speaker].get(now) if speaker else None
            if unit is not None and now >= deaf_until and talking[speaker or ""].get(now - 1) != unit:
                break
            ticks.append(now)
        return ticks

    asked: dict[str | None, set[int]] = {}
    for cue in told.cues:
        start, stop = cue.start_us // TICK_US, cue.stop_us // TICK_US
        if cue.label == "yield":
            add(cue, from_on(start, cue.speaker, stop), "answer", cue.partner)
        elif cue.label == "invitation":
            silent = stop
            while cue.speaker and talking[cue.speaker].get(silent) is not None and silent < 2 * TICKS:
                if talking[cue.speaker].get(silent) != talking[cue.speaker].get(stop):
                    break
                silent += 1
            if silent - stop <= within:
                ticks = from_on(silent, cue.speaker, silent)
                asked.setdefault(cue.speaker, set()).update(ticks)
                add(cue, ticks, "answer")
        elif cue.kind == "repetition":
            ends = sorted(part.stop_us // TICK_US for part in cue.spans) or [stop]
            for end, following in zip(ends, [*ends[1:], TICKS], strict=True):
                add(cue, [tick for tick in from_on(end, None, 0) if tick < following], "answer")
        elif cue.label == "visual":
            add(cue, from_on(start, None, 0), "answer")
    for cue in told.cues:
        if cue.label in ("hold", "thinking"):
            span = range(cue.start_us // TICK_US, cue.stop_us // TICK_US)
            add(cue, [tick for tick in span if tick not in asked.get(cue.speaker, set())], "wait")
    for event in told.events:
        if event.label != "note":
            add(event, from_on(event.start_us // TICK_US, None, 0), "answer")
    return found


def _units(told: Conversation, speaker: str) -> dict[int, int]:
    """The unit of each tick of the speaker's talk; silences up to the bridge are part of it."""
    ticks = {
        tick
        for turn in told.turns
        if turn.speaker == speaker
        for tick in range(turn.start_us // TICK_US, turn.stop_us // TICK_US)
    }
    bridge = SETTINGS.ipu_bridge_us // TICK_US
    units: dict[int, int] = {}
    last: int | None = None
    number = 0
    for tick in sorted(ticks):
        if last is None or tick - last - 1 > bridge:
            number += 1
        else:
            units.update(dict.fromkeys(range(last, tick), number))
        units[tick] = number
        last = tick
    return units


def _runs(ticks: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for tick in ticks:
        if runs and runs[-1][1] == tick:
            runs[-1] = (runs[-1][0], tick + 1)
        else:
            runs.append((tick, tick + 1))
    return runs


def check(seed: int) -> tuple[int, int]:
    """The number of answers in one random conversation, and the number of wrong ones."""
    told = with_answers(conversation(random.Random(seed)), SETTINGS)
    ours = [(a.speaker, a.start_us, a.stop_us, a.action, a.why, a.to) for a in told.answers]
    theirs = expected(told)
    return len(theirs), len(set(ours) ^ theirs) + len(ours) - len(set(ours))


def main(wanted: int) -> None:
    began = time.process_time()
    answers = wrong = seed = 0
    while answers < wanted:
        some, bad = check(seed)
        answers, wrong, seed = answers + some, wrong + bad, seed + 1
    spent_s = time.process_time() - began
    print(f"{answers:,} answers of {seed:,} conversations: {wrong} wrong; {spent_s:.0f} CPU s")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
