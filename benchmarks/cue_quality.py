"""Cues compared with people's marks, for given words and turns, by series: some for tuning, the others for
reporting.

    python benchmarks/cue_quality.py FOLDER --series ES2005 --series IS1001

FOLDER holds `*.json.gz` in the conversation form with gold cues. The released weights were trained, and their
thresholds set, on ES2002, IS1003 and TS3005, so only the other series are informative. Matching is that of
`corpus score-cues --tolerance-ms 0`: one to one, longest common time first. Invitations are scored three
times: as found with the transcribers' punctuation, without it, and then by the whole question (span `act`).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corpus.align.cues.files import conversation_files, read_marks, without_cues
from corpus.align.cues.score import Marked, Scores, score
from corpus.align.label import label_cues
from corpus.schemas.conversation import Conversation, Cue
from corpus.schemas.settings import CueSettings

VARIANTS = ("given", "no punctuation", "no punctuation, whole question", "no cut-offs, lower case", "rules")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--series", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    chosen = tuple(told.series)
    paths = [p for p in conversation_files([told.folder]) if not chosen or p.name.startswith(chosen)]
    scores = {name: Scores() for name in VARIANTS}
    spent_s = hours = 0.0
    for path in paths:
        annotation, duration_us, _ = read_marks(path)
        gold = Marked(cues=annotation.cues, events=annotation.events, words=annotation.words or ())
        bare = without_cues(path, annotation, duration_us)
        bare = replace(bare, events=())
        began = time.process_time()
        found = label_cues(bare, CueSettings())
        spent_s, hours = spent_s + time.process_time() - began, hours + duration_us / 3.6e9
        plain = label_cues(unpunctuated(bare), CueSettings())
        rules = label_cues(bare, CueSettings(backchannel="rule", self_correction="rule"))
        for name, cues, marks in (
            ("given", found, gold),
            ("no punctuation", plain, gold),
            ("no punctuation, whole question", acts(plain), replace(gold, cues=acts(gold.cues))),
            ("no cut-offs, lower case", label_cues(as_recognised(bare), CueSettings()), gold),
            ("rules", rules, gold),
        ):
            score(Marked(cues=tuple(cues)), marks, scores[name], tolerance_us=0)
    if told.json:
        print(json.dumps({name: each.plain() for name, each in scores.items()}))
        return
    print(f"{len(paths)} recordings, {hours:.2f} h; labelled at {spent_s / hours:.2f} CPU s an hour")
    for name, each in scores.items():
        print(f"\n{name}")
        show(each)


def show(scores: Scores) -> None:
    for name, of in scores.plain()["labels"].items():
        rows = [(name, of), *((f"  {kind}", one) for kind, one in of["kinds"].items())]
        if words := of.get("reparandum_words"):
            rows.append(("  reparandum words", words))
        for row, told in rows:
            shown = " ".join(f"{told[k] or 0:.3f}" for k in ("precision", "recall", "f1"))
            more = f"  any overlap {told['any_overlap']['f1'] or 0:.3f}" if "any_overlap" in told else ""
            print(f"{row:24} {shown}{more}  n {told.get('n', '')}")


def unpunctuated(told: Conversation) -> Conversation:
    return replace(told, words=tuple(replace(word, after="") for word in told.words))


def as_recognised(told: Conversation) -> Conversation:
    """The words without cut-off words, capitals and punctuation, which a recogniser may not give."""
    kept = (w for w in told.words if not w.text.rstrip(".,?!").endswith("-"))
    return replace(told, words=tuple(replace(w, text=w.text.lower(), after="") for w in kept))


def acts(cues: Sequence[Cue]) -> tuple[Cue, ...]:
    """Invitations extended to their whole question."""
    made: list[Cue] = []
    for cue in cues:
        parts = [part for part in cue.spans if part.role == "act"]
        if cue.label == "invitation":
            whole = (parts[0].start_us, parts[0].stop_us) if parts else (cue.start_us, cue.stop_us)
            made.append(replace(cue, start_us=whole[0], stop_us=whole[1]))
    return tuple(made)


if __name__ == "__main__":
    main()
