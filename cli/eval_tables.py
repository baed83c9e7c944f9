"""What `corpus eval` prints of when a model speaks: tables of at most 100 columns, and a bar before them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from tqdm import tqdm

from corpus.cli import show

if TYPE_CHECKING:
    from corpus.trainer.evaluate.by_window import WindowLoss
    from corpus.trainer.evaluate.calibration import Calibration
    from corpus.trainer.evaluate.confidence import Measure
    from corpus.trainer.evaluate.evaluate import EvalReport, Phase
    from corpus.trainer.evaluate.held_out import RecordingLosses
    from corpus.trainer.evaluate.timing_table import TimingRow

_WINDOW_STREAMS = ("control", "text", "sound")
SCORES = {"model": "p of the model", "heard": "silence so far", "whole": "whole silence"}


class EvalBar:
    """A bar for each phase: documents while losses are counted, then windows lived through."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None
        self._phase = ""

    def __enter__(self) -> EvalBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, phase: Phase, done: int, of: int) -> None:
        if self._bar is None or phase != self._phase:
            self.__exit__()
            unit = "document" if phase == "losses" else "window"
            self._bar = tqdm(total=of, desc=phase, unit=unit, disable=None, leave=False)
            self._phase = phase
        self._bar.update(done - self._bar.n)


class _Worst(NamedTuple):
    """A recording with a high loss."""

    stream: str
    recording: str
    """The name of its file, or its key where that is unknown."""
    scored: int
    """Tokens or positions of sound."""
    loss: float


def worst(recordings: Sequence[RecordingLosses], most: int) -> list[_Worst]:
    """Of each stream the recordings with the highest mean loss, at most so many."""
    scored = [
        _Worst(one.stream, recording.name or recording.recording, one.count, one.model)
        for recording in recordings
        for one in recording.streams
        if one.model is not None
    ]
    return [
        lossy
        for stream in dict.fromkeys(one.stream for recording in recordings for one in recording.streams)
        for lossy in sorted(
            (one for one in scored if one.stream == stream), key=lambda one: (-one.loss, one.recording)
        )[:most]
    ]


def print_windows(report: EvalReport) -> None:
    """Losses by fifths of the longest document: they stay flat where the model is used as it was trained."""
    rows, most = report.by_window, len(report.by_window)
    if most < 5:
        return
    edges = [most * fifth // 5 for fifth in range(6)]
    show.table(
        [
            [f"{start} to {stop - 1}", *(_over(rows, stream, start, stop) for stream in _WINDOW_STREAMS)]
            for start, stop in itertools.pairwise(edges)
        ],
        ["window", *_WINDOW_STREAMS],
    )
    seen = report.attention_windows
    show.talk(f"it attends to {'all windows' if seen is None else f'{seen} windows'} before each")
    if report.dlogp is not None:
        show.talk(
            f"a session's log probabilities differ from the whole pass's by {report.dlogp.mean:.1e} nats a "
            f"token, at most {report.dlogp.most:.1e} ({report.dlogp.tokens} tokens)"
        )


def _over(rows: Sequence[WindowLoss], stream: str, start: int, stop: int) -> str:
    from corpus.trainer.evaluate.by_window import over_windows

    return number(over_windows(rows, stream, start, stop))


def print_recordings(recordings: Sequence[RecordingLosses]) -> None:
    """Where to look first: of each stream the recording with the highest loss, two lines at most."""
    if len(recordings) < 2:
        return
    cells = [
        f"{one.stream} {number(one.loss)} {one.recording}"
        for one in worst(recordings, 1)
        if one.stream != "end"
    ]
    head = "highest of a recording: "
    for start in range(0, len(cells), 2):
        show.data((" " * len(head) if start else head) + ", ".join(cells[start : start + 2]))


def print_cues(report: EvalReport) -> None:
    """Labels of which there is a case, as the model that was trained to tell them does."""
    lines = [
        [
            cue.label,
            "own" if cue.own else "others'",
            cue.what,
            f"{cue.cases} of {cue.windows}",
            number(cue.nats, 4),
            number(cue.constant, 4),
            number(cue.auc),
        ]
        for cue in report.cues
        if cue.cases
    ]
    if lines:
        show.table(lines, ["cue", "whose", "", "windows", "nats", "constant", "auc"])


def print_timing(report: EvalReport) -> None:
    for told, title in ((False, "freely"), (True, "told what the person did before")):
        rows = [row for row in report.timing if row.told == told]
        if rows:
            documents = report.documents if told else report.free_documents
            show.data(f"\n{title}, {counted(documents)}")
            _print_turns(rows)
            show.data("")
            _print_speech(rows)
    _print_calibration(report.calibration)
    show.talk(
        f"{counted(report.documents)} of split {report.split}, {report.free_documents} of them also freely. "
        "off by: windows, median\n(n): cases; '-': no case; [ ]: the 95 % interval over documents"
    )


def _print_turns(rows: list[TimingRow]) -> None:
    first = rows[0]
    head = [
        "",
        "speaks",
        "right",
        "off by",
        f"pause taken ({first.pause_taken.cases})",
        f"turn taken ({first.turn_taken.cases})",
        "bc/min",
        "bc dist",
    ]
    lines = [
        [
            row.name,
            number(row.speaks.value, 2),
            with_interval(row.right),
            number(row.off_by_windows.value, 0),
            with_interval(row.pause_taken),
            with_interval(row.turn_taken),
            number(row.backchannels_per_minute.value, 1),
            number(row.backchannel_distance.value, 2),
        ]
        for row in rows
    ]
    show.table(lines, head)


def _print_speech(rows: list[TimingRow]) -> None:
    head = ["", "latency p10 50 90, ms", "stops", "in, ms", "answers", "overlap", "false/min"]
    lines = [
        [
            row.name,
            _latency(row),
            with_interval(row.stopped) + _cases(row.stopped),
            number(row.stop_ms.value, 0),
            with_interval(row.answered),
            number(row.overlap.value, 2),
            number(row.false_starts_per_minute.value, 1),
        ]
        for row in rows
    ]
    show.table(lines, head)


def _print_calibration(calibration: Calibration) -> None:
    show.data("")
    near, far = calibration.horizons[0], calibration.horizons[-1]
    lines = [
        ["ece", with_interval(calibration.ece, 3) + _cases(calibration.ece)],
        ["ece out of silence", with_interval(calibration.ece_silent, 3) + _cases(calibration.ece_silent)],
        *(
            [
                f"begins within {one.windows} windows" if one.windows > 1 else "begins in the next window",
                f"{number(one.observed)} observed, {number(one.expected)} expected, "
                f"{with_interval(one.excess, 3)} apart",
            ]
            for one in (near, far)
        ),
    ]
    lines += [
        [
            f"auc of {SCORES[one.score]}" + (f", {one.lag} later" if one.lag else ""),
            f"{with_interval(one.auc)} ({one.shifts} ends, {one.holds} pauses)",
        ]
        for one in calibration.separation
        if one.lag < 2 and one.auc.value is not None
    ]
    show.table(lines, ["the probability to speak, told", ""])


def _latency(row: TimingRow) -> str:
    if row.latency_ms.value is None:
        return "-"
    low, high = number(row.latency_p10_ms.value, 0), number(row.latency_p90_ms.value, 0)
    return f"{low} {number(row.latency_ms.value, 0)} {high}{_cases(row.latency_ms)}"


def with_interval(found: Measure, digits: int = 2) -> str:
    if found.low is None or found.high is None:
        return number(found.value, digits)
    return f"{number(found.value, digits)} [{found.low:.{digits}f} {found.high:.{digits}f}]"


def _cases(found: Measure) -> str:
    return f" ({found.cases})" if found.cases else ""


def counted(documents: int) -> str:
    return f"{documents} document{'s' * (documents != 1)}"


def number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
