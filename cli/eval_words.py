"""An evaluation in words: the first line of `corpus eval` and the paragraph on its page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus.trainer.evaluate.evaluate import EvalReport
    from corpus.trainer.evaluate.timing_table import TimingRow

FEWEST = 10
"""With fewer cases a figure is neither drawn nor mentioned."""
_CONSTANTS = ("silent", "unigram")
"""Rows of the timing tables that know nothing about the conversation."""
_STREAMS = {"control": "when to speak", "text": "what to say", "audio": "how it sounds"}
_YOUNG = 0.2
"""A model that speaks in a smaller share of the person's speaking windows "hardly speaks"."""


def verdict(report: EvalReport) -> list[str]:
    """First whether a constant would do as well, then what to try."""
    worse = [
        f"{_STREAMS[row.stream]} {row.model:.3f} nats, the best constant guess {row.unigram:.3f}"
        for row in report.losses
        if row.cue == "all" and row.stream in _STREAMS and row.count >= FEWEST
        if row.model is not None and row.unigram is not None and row.model > row.unigram
    ]
    rows = {row.name: row for row in report.timing if not row.told}
    worse += _worse_freely(rows)
    first = "Worse than a constant: " + "; ".join(worse) + "." if worse else ""
    lines = [first or "No figure with enough cases is worse than the best constant guess."]
    model, human = rows.get("model"), rows.get("human")
    speaks = model.speaks.value if model else None
    people = human.speaks.value if human else None
    if speaks is not None and people and speaks < _YOUNG * people:
        lines.append(
            f"It hardly speaks ({speaks:.0%} of windows, the person {people:.0%}): early in training a model "
            "seldom finds speaking likelier than not. --sampled samples instead."
        )
    return lines


def _worse_freely(rows: dict[str, TimingRow]) -> list[str]:
    model = rows.get("model")
    if model is None or model.right.value is None or model.right.cases < FEWEST:
        return []
    known = [(row.right.value, name) for name in _CONSTANTS if (row := rows.get(name))]
    best, name = max(((value, name) for value, name in known if value is not None), default=(0.0, ""))
    if model.right.value >= best:
        return []
    does = "never speaking" if name == "silent" else "speaking at random as often as people do"
    return [f"freely right in {model.right.value:.2f} of cases, {does} in {best:.2f}"]


def in_plain_words(report: EvalReport) -> str:
    """What was done and what it means, for readers who skip the tables."""
    said = [
        *verdict(report),
        f"The model read {report.documents} held-out conversations, each as one of the people in them, and "
        f"ran through {report.free_documents} freely: it heard only the others and continued from its own "
        "output.",
    ]
    rows = {row.name: row for row in report.timing if not row.told}
    model, human = rows.get("model"), rows.get("human")
    if model and human and model.speaks.value is not None and human.speaks.value is not None:
        said.append(f"It spoke {model.speaks.value:.0%} of the time, the people {human.speaks.value:.0%}.")
    if model and model.turn_taken.cases >= FEWEST and model.turn_taken.value is not None:
        said.append(
            f"When someone had finished, it took the turn in {model.turn_taken.value:.0%} of "
            f"{model.turn_taken.cases} cases (higher is better)."
        )
    if model and model.pause_taken.cases >= FEWEST and model.pause_taken.value is not None:
        said.append(
            f"When someone only paused, it spoke up in {model.pause_taken.value:.0%} of "
            f"{model.pause_taken.cases} cases (lower is better)."
        )
    said.append(f"Figures based on fewer than {FEWEST} cases appear neither here nor in the charts.")
    return " ".join(said)
