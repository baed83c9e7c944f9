"""`corpus eval --report PAGE.html`: latencies beside the person's, and what its probabilities are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from corpus.cli.eval_tables import SCORES, counted, number, with_interval, worst
from corpus.cli.eval_words import FEWEST, in_plain_words
from corpus.report.pages.line_chart import Curve, Panel, figure
from corpus.report.pages.markup import Markup, el, page
from corpus.report.pages.plots import STYLE, Bars, Point, Series, captioned, grouped_bars, lines, reliability
from corpus.report.pages.tables import Column, table
from corpus.schemas.errors import StorageError

if TYPE_CHECKING:
    from corpus.trainer.evaluate.calibration import Bin, Calibration, Horizon
    from corpus.trainer.evaluate.evaluate import EvalReport
    from corpus.trainer.evaluate.held_out import LossRow
    from corpus.trainer.evaluate.timing_table import TimingRow

_WINDOW_S = 0.2
_WORST = 5
"""Recordings named for each stream."""
_SMOOTH = 10
"""Windows over which curves are averaged."""
_WHERE = "To see and hear one: corpus inspect OUT RECORDING. For all of them: corpus eval --json."
_ENDS_FROM_PAUSES = "Ends of turns told from pauses: area under the ROC curve"


def write_page(report: EvalReport, path: Path) -> None:
    """Write the page as one self-contained file.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.write_text(page_of(report), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path)) from error


def page_of(report: EvalReport) -> str:
    free = [row for row in report.timing if not row.told]
    forced = [row for row in report.timing if row.told]
    lead = (
        f"{report.data}, split {report.split}: {counted(report.documents)}, {report.free_documents} of them "
        "also run freely. Brackets hold the 95 % interval over documents; a dash means no case."
    )
    windows = _by_window(report)
    return page(
        "How the model keeps time",
        el("style", Markup(STYLE)),
        el(
            "main",
            el("h1", "How the model keeps time"),
            el("p", in_plain_words(report), class_="lead"),
            el("p", lead, class_="note"),
            el(
                "section",
                el("h2", "Latency of take-overs"),
                el(
                    "div",
                    *(
                        _latency(title, rows)
                        for title, rows in (("Freely", free), ("Told what the person did before", forced))
                        if rows
                    ),
                    class_="pair",
                ),
            ),
            _probability(report.calibration),
            *([windows] if windows else []),
            el(
                "section",
                el("h2", "All rows"),
                *(part for t, r in (("Freely", free), ("Told", forced)) if r for part in _tables(t, r)),
            ),
            _losses(report.losses),
            *([_cues(report)] if report.cues else []),
            _recordings(report),
        ),
        styles=("page.css",),
    )


def _latency(title: str, rows: Sequence[TimingRow]) -> Markup:
    """Take-overs of the model and the person, by time after the other's end."""
    shown = [
        (row, tone)
        for row in rows
        for name, tone in (("model", "one"), ("human", "many"))
        if row.name == name
    ]
    shown = [(row, tone) for row, tone in shown if sum(row.latency_counts) >= FEWEST]
    longest = max((len(row.latency_counts) for row, _ in shown), default=0)
    if not longest:
        few = f"Fewer than {FEWEST} turns were taken: nothing to draw."
        return captioned(title, el("p", few, class_="note"), "")
    shares = {
        row.name: [count / sum(row.latency_counts) for count in row.latency_counts]
        if row.latency_counts
        else []
        for row, _ in shown
    }
    groups = [
        Bars(
            tone=tone,
            heights=shares[row.name],
            hints=[
                f"{row.name}, {window * _WINDOW_S:.1f} s: {count}"
                for window, count in enumerate(row.latency_counts)
            ],
        )
        for row, tone in shown
    ]
    ticks = [f"{window * _WINDOW_S:.1f}" for window in range(longest)]
    picture = grouped_bars(f"Latencies, {title.lower()}", groups, ticks, "seconds after the end")
    said = "; ".join(
        f"{row.name}: {sum(row.latency_counts)} taken, median {number(row.latency_ms.value, 0)} ms"
        for row, _ in shown
    )
    return captioned(title, picture, said, key=[(tone, row.name) for row, tone in shown])


def _by_window(report: EvalReport) -> Markup | None:
    """Losses by window number: flat if the model is used as it was trained."""
    rows = [row for row in report.by_window if row.documents]
    if len(rows) < FEWEST:
        return None
    drawn, said = [], []
    for stream in ("control", "text", "sound"):
        values = _smooth([getattr(row, stream) for row in rows])
        known = [value for value in values if value is not None]
        if known:
            panel = Panel(
                title=stream,
                explained="nats",
                curves=(Curve(label=stream, values=values),),
                scale="linear",
                floor=0,
            )
            drawn.append(Markup(figure(panel, [row.window for row in rows])))
            said.append(f"{stream} {number(known[-1])} at the end, {number(known[0])} at the beginning")
    seen = report.attention_windows
    reach = "all windows before it" if seen is None else f"{seen} windows back"
    note = (
        f"Over the number of the window in its conversation, means over {_SMOOTH} windows: where a curve "
        f"stays flat the model can talk on. It attends to {reach}. " + "; ".join(said) + "."
    )
    return el(
        "section",
        el("h2", "Losses by window"),
        el("p", note, class_="note"),
        el("div", *drawn, class_="pair curves"),
    )


def _smooth(values: Sequence[float | None]) -> list[float | None]:
    """Moving averages over `_SMOOTH` values; None if all of them are missing."""
    means: list[float | None] = []
    for place in range(len(values)):
        near = [v for v in values[max(0, place - _SMOOTH // 2) : place + _SMOOTH // 2 + 1] if v is not None]
        means.append(sum(near) / len(near) if near else None)
    return means


def _cues(report: EvalReport) -> Markup:
    cells = [
        (
            cue.label,
            "own" if cue.own else "others'",
            cue.what,
            f"{cue.cases}",
            f"{cue.windows}",
            number(cue.nats, 4),
            number(cue.constant, 4),
            number(cue.auc) if cue.cases >= FEWEST else "-",
        )
        for cue in report.cues
        if cue.cases
    ]
    names = ("cases", "windows", "nats", "constant", "auc")
    columns = [Column("cue", "name"), Column("whose", "name"), Column("what", "name")]
    columns += [Column(name, "n") for name in names]
    said = f"Labels with a case; constant is the best constant guess, no auc of fewer than {FEWEST} cases"
    return el("section", el("h2", "Cues"), table(said, columns, cells))


def _probability(found: Calibration) -> Markup:
    series = [_reliability(found.bins, "one"), _reliability(found.bins_silent, "many")]
    by_probability = captioned(
        "Share spoken by probability",
        reliability("Reliability of the probability to speak", series, "p"),
        f"ECE {with_interval(found.ece, 3)}, out of silence {with_interval(found.ece_silent, 3)}. The area "
        "of a dot is its share of the cases; on the dashed line p is right.",
        key=[("one", "all windows"), ("many", "out of silence")],
    )
    horizons = captioned(
        "Begins within",
        _horizons(found.horizons),
        "Out of silence, share of windows after which the person begins within so long, and p summed "
        "up to there. They agree in the mean if p is right.",
        key=[("one", "expected"), ("many", "observed")],
    )
    rows = [
        (
            SCORES[one.score],
            f"{one.lag}",
            f"{one.shifts}",
            f"{one.holds}",
            with_interval(one.auc),
        )
        for one in found.separation
        if one.auc.value is not None
    ]
    columns = [
        Column("score", "name"),
        Column("windows later", "n"),
        Column("ends", "n"),
        Column("pauses", "n"),
    ]
    return el(
        "section",
        el("h2", "The probability to speak"),
        el("p", "Teacher-forced: the model knows what everybody did up to the window.", class_="note"),
        el("div", by_probability, horizons, class_="pair"),
        table(_ENDS_FROM_PAUSES, [*columns, Column("auc", "n")], rows)
        if rows
        else el("p", f"{_ENDS_FROM_PAUSES}: these clips do not hold both.", class_="note"),
    )


def _reliability(bins: Sequence[Bin], tone: str) -> Series:
    """Share spoken over probability; bins with few cases are left out."""
    known = [
        (one.p, one.spoken, one.cases)
        for one in bins
        if one.p is not None and one.spoken is not None and one.cases >= FEWEST
    ]
    total = sum(cases for _, _, cases in known) or 1
    return Series(
        tone=tone,
        points=[
            Point(x=p, y=spoken, area=cases / total, hint=f"p {p:.3f}, spoken {spoken:.3f}, {cases} windows")
            for p, spoken, cases in known
        ],
    )


def _horizons(horizons: Sequence[Horizon]) -> Markup:
    longest = max((one.windows for one in horizons), default=1)
    # The sum of probabilities may exceed 1 by far where they are wrong.
    highest = max(1.0, *(one.expected or 0.0 for one in horizons))
    series = [
        Series(
            tone=tone,
            points=[
                Point(x=one.windows / longest, y=value / highest)
                for one in horizons
                if (value := getattr(one, name)) is not None
            ],
        )
        for name, tone in (("expected", "one"), ("observed", "many"))
    ]
    ticks = [f"{longest * _WINDOW_S * k / 4:g}" for k in range(5)]
    return lines("Onsets expected and observed", series, "seconds", ticks, highest)


def _tables(title: str, rows: Sequence[TimingRow]) -> Iterator[Markup]:
    """The columns of the terminal's two tables."""
    first = ("speaks", "right", "off by", "pause taken", "turn taken", "bc/min", "bc dist")
    cells = [
        (
            row.name,
            with_interval(row.speaks),
            with_interval(row.right),
            with_interval(row.off_by_windows, 0),
            with_interval(row.pause_taken),
            with_interval(row.turn_taken),
            with_interval(row.backchannels_per_minute, 1),
            with_interval(row.backchannel_distance),
        )
        for row in rows
    ]
    yield _table(title, first, cells)
    second = ("latency, ms", "stops", "in, ms", "answers", "overlap", "false starts/min")
    speech = [
        (
            row.name,
            with_interval(row.latency_ms, 0),
            with_interval(row.stopped),
            with_interval(row.stop_ms, 0),
            with_interval(row.answered),
            with_interval(row.overlap),
            with_interval(row.false_starts_per_minute, 1),
        )
        for row in rows
    ]
    yield _table(f"{title}, continued", second, speech)


def _table(title: str, names: Sequence[str], cells: Sequence[Sequence[str]]) -> Markup:
    return table(title, [Column("row", "name"), *(Column(name, "n") for name in names)], cells)


def _losses(rows: Sequence[LossRow]) -> Markup:
    names = ("count", "model", "unigram", "bits/s", "levels off", "unigram off")
    cells = [
        (
            row.cue,
            row.stream,
            f"{row.count}",
            number(row.model),
            number(row.unigram),
            number(row.bits_per_s, 0),
            number(row.level_mae, 2),
            number(row.unigram_level_mae, 2),
        )
        for row in rows
    ]
    columns = [Column("cue", "name"), Column("stream", "name"), *(Column(name, "n") for name in names)]
    said = "Nats a token, for sound a bin; unigram is the best constant guess for the row's own data"
    return el("section", el("h2", "Losses"), table(said, columns, cells))


def _recordings(report: EvalReport) -> Markup:
    """The recordings with the highest losses of each stream."""
    worst_rows = worst(report.recordings, _WORST)
    means = {row.stream: row.model for row in report.losses if row.cue == "all"}
    cells = [
        (one.stream, one.recording, f"{one.scored}", number(one.loss), number(means.get(one.stream)))
        for one in worst_rows
    ]
    nothing = sum(not any(one.count for one in recording.streams) for recording in report.recordings)
    said = f"{len(report.recordings)} recordings in the split, {nothing} of them with nothing scored."
    columns = [Column("stream", "name"), Column("recording", "name")]
    columns += [Column("count", "n"), Column("model", "n"), Column("all", "n")]
    return el(
        "section",
        el("h2", "Recordings with the highest losses"),
        el("p", f"{said} {_WHERE}", class_="note"),
        table(f"At most {_WORST} of each stream; few tokens make a mean high by chance", columns, cells),
    )
