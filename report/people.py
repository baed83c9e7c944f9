"""The part of report.html on people's decisions about the labels."""

from __future__ import annotations

from pathlib import Path

from corpus.report.pages.markup import Markup, el
from corpus.report.pages.tables import Column, table
from corpus.schemas.agreement import Agreement, AgreementReport, agreement
from corpus.schemas.reviews_file import REVIEWS_FILE, kept_review, review_texts
from corpus.schemas.votes import groups


def people_part(out: Path) -> Markup:
    """Agreement and the labelers' precision, from OUT/reviews.parquet; empty if nobody reviewed."""
    path = out / REVIEWS_FILE
    if not path.exists():
        return Markup("")
    by_recording = review_texts(path)
    reviewed = (g for texts in by_recording.values() for g in groups(map(kept_review, texts), ()))
    report = agreement(reviewed)
    return _part(report) if report.decisions else Markup("")


def _part(report: AgreementReport) -> Markup:
    who = f"{report.decisions:,} decisions of {len(report.annotators)} annotators on {report.items:,} items"
    twice = f"{report.doubly:,} were judged by two or more, {report.disputed:,} of them are disputed"
    return el(
        "section",
        el("h2", "Checked by people"),
        el("p", f"{who}; {twice}.", class_="note"),
        _labelers(report),
        _agreements(report.labels) if report.labels else Markup(""),
    )


def _labelers(report: AgreementReport) -> Markup:
    columns = (
        *(Column("label"), Column("labeler"), Column("right", "n"), Column("precision", "n")),
        *(Column("95 %", "n"), Column("recall", "n"), Column("")),
    )
    rows = [
        (
            f"{q.label} {q.kind}".strip().replace("_", " "),
            q.origin,
            f"{q.right:,} of {q.judged:,}",
            _share(q.precision),
            f"{q.precision_low:.0%} to {q.precision_high:.0%}",
            _share(q.recall),
            el("span", "look at its thresholds", class_="tag fault") if q.doubtful else _drawn(q.sampled),
        )
        for q in report.quality
    ]
    return table("Labelers by people's judgement", columns, rows) if rows else Markup("")


def _drawn(sampled: bool) -> str:
    return "random sample" if sampled else "not a random sample"


def _agreements(found: tuple[Agreement, ...]) -> Markup:
    columns = (
        *(Column("label"), Column("items", "n"), Column("same", "n"), Column("kappa", "n")),
        *(Column("alpha", "n"), Column("ends apart, median", "n")),
    )
    rows = [
        (
            a.name.replace("_", " "),
            f"{a.items:,}",
            _share(a.agree),
            _number(a.kappa),
            _number(a.alpha),
            "–" if a.boundaries.median_ms is None else f"{a.boundaries.median_ms:.0f} ms",
        )
        for a in found
    ]
    return table("Agreement of annotators", columns, rows)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
