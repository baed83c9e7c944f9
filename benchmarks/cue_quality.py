"""Cues against people's marks, words and turns given.

    python benchmarks/cue_quality.py FOLDER

FOLDER holds `*.json.gz` in the conversation form with gold cues. A cue is found when one of the same label
and speaker shares any time with it; matches are one to one, longest common time first. A cue that matches
nothing but lies on a stretch the annotators left open (`unscored`) counts neither way.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from corpus.align.label import label
from corpus.align.sidecars import read_sidecars
from corpus.schemas.conversation import Conversation, Cue, Event
from corpus.schemas.settings import CueSettings

SCORED = (("backchannel", None), ("hesitation", "filled_pause"))


def matches(found: Sequence[Cue], gold: Sequence[Cue], unscored: Sequence[Event]) -> Counter[str]:
    by_speaker: defaultdict[str | None, list[int]] = defaultdict(list)
    for place, cue in enumerate(gold):
        by_speaker[cue.speaker].append(place)
    pairs: list[tuple[int, int, int]] = []
    for place, cue in enumerate(found):
        for other in by_speaker[cue.speaker]:
            common = cue.span & gold[other].span
            if common:
                pairs.append((-common.duration_us, place, other))
    hit: set[int] = set()
    taken: set[int] = set()
    for _, place, other in sorted(pairs):
        if place not in hit and other not in taken:
            hit.add(place)
            taken.add(other)
    wrong = [
        cue
        for place, cue in enumerate(found)
        if place not in hit
        and not any(event.speaker == cue.speaker and event.span.overlaps(cue.span) for event in unscored)
    ]
    return Counter(found=len(hit), wrong=len(wrong), missed=len(gold) - len(taken))


def main(folder: Path) -> None:
    totals: dict[str, Counter[str]] = {name: Counter() for name, _ in SCORED}
    for path in sorted(folder.glob("*.json.gz")):
        told, _ = read_sidecars([path], 10**12)
        bare = Conversation(
            recording=path.name,
            duration_us=10**12,
            speakers=told.speakers,
            turns=told.turns or (),
            words=told.words or (),
        )
        cues = label(bare, CueSettings())
        for name, kind in SCORED:
            ours, theirs = (
                [cue for cue in some if cue.label == name and kind in (None, cue.kind)]
                for some in (cues, told.cues)
            )
            unscored = [e for e in told.events if e.label == "unscored" and e.kind == name]
            totals[name] += matches(ours, theirs, unscored)
    for name, count in totals.items():
        precision = count["found"] / max(1, count["found"] + count["wrong"])
        recall = count["found"] / max(1, count["found"] + count["missed"])
        f1 = 2 * precision * recall / max(1e-9, precision + recall)
        print(f"{name}: {dict(count)}  precision {precision:.3f}  recall {recall:.3f}  F1 {f1:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
