"""OUT/report.html: what was built, what was left out and why, on one page that needs nothing else."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from corpus.pipeline.cache import write_atomic
from corpus.pipeline.catalog import query
from corpus.pipeline.pages.html import code, figures, length, page, percent, size, table, text, whole
from corpus.pipeline.pages.plots import Bar, bars, offsets
from corpus.pipeline.stats import Lengths, Stats, stats

REPORT = "report.html"
MOST_ROWS = 200
"""Rows of a table; the page says how many there are more and how to see them."""
MOST_BARS = 40

Row = dict[str, Any]


def write_report(out: Path) -> None:
    """Write OUT/report.html from OUT/catalog.duckdb; the old page stays until the new one is whole.

    Raises:
        DatasetError: there is no catalog.
    """
    write_atomic(out / REPORT, render(out).encode())


def render(out: Path) -> str:
    found = stats(out)
    parts = (
        _head(out, found),
        "<main>",
        _figures(found),
        _drops(out, found),
        _turn_taking(found),
        _speakers(found),
        _cues(found),
        _recordings(out, found),
        _oddities(out),
        _settings(out),
        "</main>",
        "<footer><p>The same numbers: <code>corpus stats OUT --json</code>. Any other question: "
        "<code>corpus catalog OUT &quot;SELECT …&quot;</code>.</p></footer>",
    )
    return page(title=f"Report: {_count(found.recordings, 'recording')}", markup="\n".join(parts))


def _head(out: Path, found: Stats) -> str:
    splits = ", ".join(f"{whole(s.clips)} in {s.split}" for s in found.splits if s.clips) or "none"
    return (
        '<header><p class="over">Corpus report</p>'
        f"<h1>{text(_count(found.recordings, 'recording'))}, {text(length(found.recorded_us))}</h1>"
        f'<p class="lead">{text(_count(found.clips, "clip"))}: {text(splits)}.</p></header>'
    )


def _figures(found: Stats) -> str:
    voices = len(found.speakers)
    offset = found.floor.offsets
    return figures(
        [
            ("Windows of 200 ms", whole(found.windows), length(found.written_us)),
            ("Somebody talks", percent(found.speech_share), length(found.speech_us)),
            ("Two or more talk", percent(found.overlap_share), "of the speech"),
            ("Speakers", whole(voices), "counted per recording"),
            ("Words", whole(found.words), f"{found.words_per_minute:.0f} a minute of talk"),
            ("Floor-transfer offset", length(offset.median_us) if offset.count else "–", "median"),
            ("Longest monologue", length(found.floor.longest_monologue_us), ""),
            ("With a picture", percent(found.windows_with_picture / (found.windows or 1)), "of the windows"),
        ]
    )


def _drops(out: Path, found: Stats) -> str:
    faults = sum(d.items for d in found.drops if d.kind == "fault")
    head = "<h2>What was left out</h2>"
    if not found.drops:
        return head + '<p class="clean">Nothing.</p>'
    lead = (
        f'<p><span class="tag fault">{_count(faults, "fault")}</span> in quarantine.</p>'
        if faults
        else '<p class="clean">No faults: only what is expected.</p>'
    )
    return head + lead + (_faults(out) if faults else "") + _trims(out)


def _faults(out: Path) -> str:
    rows, more = _some(
        out,
        "SELECT item, stage, code, reason, sum(count)::BIGINT AS count FROM drops WHERE kind = 'fault' "
        "GROUP BY ALL ORDER BY item, stage, code, reason",
    )
    cells = [
        (
            f'<span class="mono">{text(r["item"])}</span>',
            f"{text(r['stage'])}<br><span class='soft'>{text(r['code'])}</span>",
            text(r["reason"]),
        )
        for r in rows
    ]
    retry = f"corpus errors {shlex.quote(str(out))} retry"
    return (
        table(caption=f"Faults.{more}", head=("Item", "Where", "Reason"), rows=cells)
        + f"<p>Once the cause is gone, this tries them again:</p><pre>{text(retry)}</pre>"
    )


def _trims(out: Path) -> str:
    rows, more = _some(
        out,
        "SELECT stage, code, count(DISTINCT item) AS items, sum(count)::BIGINT AS count, "
        "arg_min(reason, item) AS reason FROM drops WHERE kind = 'trim' GROUP BY ALL ORDER BY items DESC, stage, code",
    )
    cells = [
        (f"{text(r['stage'])}", code(r["code"]), whole(r["items"]), whole(r["count"]), text(r["reason"]))
        for r in rows
    ]
    if not cells:
        return ""
    head = ("Stage", "Code", "Items", "Pieces", "Reason, as for the first item")
    return table(caption=f"Expected trims.{more}", head=head, rows=cells, numbers=(2, 3))


def _turn_taking(found: Stats) -> str:
    floor = found.floor
    if not floor.units.count:
        return "<h2>Turn-taking</h2><p class='soft'>Nobody is known to talk in this corpus.</p>"
    names: tuple[tuple[str, Lengths], ...] = (
        ("Inter-pausal units", floor.units),
        ("Pauses: same speaker goes on", floor.pauses),
        ("Gaps: another speaker takes over", floor.gaps),
        ("Overlaps at a change of speaker", floor.overlaps_between),
        ("Overlaps inside a turn", floor.overlaps_within),
    )
    rows = [
        (
            text(name),
            whole(found_lengths.count),
            *(text(length(v)) if found_lengths.count else "–" for v in _quartiles(found_lengths)),
        )
        for name, found_lengths in names
    ]
    head = ("", "Count", "First quartile", "Median", "Third quartile")
    unclear = (
        f" {_count(floor.unclear, 'change')} with silence and overlap are not counted."
        if floor.unclear
        else ""
    )
    return (
        "<h2>Turn-taking</h2><p class='soft'>Time between one speaker having the floor alone and the next, after "
        f"Heldner and Edlund (2010); silences up to 200 ms belong to a unit.{unclear}</p>"
        + (offsets(floor) if floor.offsets.count else "<p>Nobody takes over from anybody.</p>")
        + table(caption="Lengths", head=head, rows=rows, numbers=(1, 2, 3, 4))
    )


def _quartiles(lengths: Lengths) -> tuple[int, int, int]:
    return lengths.low_us, lengths.median_us, lengths.high_us


def _speakers(found: Stats) -> str:
    shown: list[Bar] = []
    for (_, uri), group in groupby(found.speakers, key=lambda s: (s.recording, s.uri)):
        for place, one in enumerate(group):
            said = f"{length(one.speech_us)}, {whole(one.words)} w"
            heading = _short(uri, 110) if place == 0 else ""
            label = _short(one.speaker, 24)
            shown.append(Bar(label=label, value=one.speech_us, shown=said, colour=place, heading=heading))
    if not shown:
        return ""
    more = (
        f"<p class='soft'>The first {MOST_BARS} of {whole(len(shown))}.</p>" if len(shown) > MOST_BARS else ""
    )
    return "<h2>Speakers</h2>" + more + bars(shown[:MOST_BARS], title="Time each speaker talks")


def _cues(found: Stats) -> str:
    if not found.cues:
        return "<h2>Cues</h2><p class='soft'>None.</p>"
    shown: list[Bar] = []
    for place, (label, group) in enumerate(groupby(found.cues, key=lambda c: c.label)):
        for one in group:
            name = f"{label} · {one.kind}" if one.kind else label
            said = f"{whole(one.count)}  ({length(one.total_us)})"
            shown.append(Bar(label=name.replace("_", " "), value=one.count, shown=said, colour=place))
    return "<h2>Cues</h2>" + bars(shown, title="Cues by label and kind", label_width=250)


def _recordings(out: Path, found: Stats) -> str:
    rows, more = _some(
        out,
        "SELECT uri, split::VARCHAR AS split, duration_us, bytes, licence, sidecars, "
        "(SELECT list(s ORDER BY stream_id) FROM streams s WHERE s.recording_id = r.recording_id) AS streams "
        "FROM recordings r ORDER BY uri, recording_id",
    )
    cells = [
        (
            f'<span class="mono">{text(r["uri"])}</span>',
            f'<span class="tag">{text(r["split"] or "none")}</span>',
            text(length(r["duration_us"])),
            "<br>".join(text(_stream(s)) for s in r["streams"] or ()),
            "<br>".join(code(name) for name in r["sidecars"]) or '<span class="soft">models</span>',
            text(r["licence"] or "not stated"),
        )
        for r in rows
    ]
    head = ("Recording", "Split", "Length", "Streams", "Labels from", "Licence")
    return "<h2>Recordings</h2>" + table(
        caption=f"Every recording in the dataset.{more}", head=head, rows=cells, numbers=(2,)
    )


def _stream(stream: Row) -> str:
    if stream["kind"] == "video":
        shape = f"{stream['width']}×{stream['height']}, {_rate(stream['rate']):.4g} fps"
    else:
        channels = {1: "mono", 2: "stereo"}.get(stream["channels"], f"{stream['channels']} channels")
        shape = f"{_rate(stream['rate']) / 1000:.4g} kHz {channels}"
    offset = f", starts at {length(stream['offset_us'])}" if stream["offset_us"] else ""
    return f"{stream['codec']} {shape}{offset}{'' if stream['chosen'] else ' (not used)'}"


def _rate(fraction: str) -> float:
    above, _, below = fraction.partition("/")
    return float(above) / float(below or 1)


def _oddities(out: Path) -> str:
    rows, more = _some(
        out,
        "SELECT r.uri, s.kind, o.stream_id, o.code, o.detail FROM oddities o JOIN recordings r USING (recording_id) "
        "LEFT JOIN streams s ON s.recording_id = o.recording_id AND s.stream_id = o.stream_id "
        "ORDER BY r.uri, o.stream_id NULLS FIRST, o.start_us, o.code, o.detail",
    )
    cells = [
        (
            f'<span class="mono">{text(r["uri"])}</span>',
            text(f"{r['kind']} {r['stream_id']}" if r["kind"] else "whole"),
            code(r["code"]),
            text(r["detail"]),
        )
        for r in rows
    ]
    if not cells:
        return ""
    head = ("Recording", "Stream", "Code", "What it is")
    lead = "<p class='soft'>Nothing here is an error: the clock took account of it.</p>"
    return (
        "<h2>Oddities of the sources</h2>"
        + lead
        + table(caption=f"What a careful reader may want to know.{more}", head=head, rows=cells)
    )


def _settings(out: Path) -> str:
    columns, rows = query(out, "SELECT version, config, settings FROM runs ORDER BY run_id DESC LIMIT 1")
    version, config, settings = next(rows)
    lines = [
        (code(name), code(json.dumps(value, ensure_ascii=False)))
        for name, value in _flat(json.loads(settings), "")
    ]
    return (
        f"<h2>How it was built</h2><p>duplex-corpus {text(version)}, configuration {code(config[:16])}.</p>"
        "<details><summary>All settings</summary>"
        + table(caption="Settings that decide the bytes", head=("Setting", "Value"), rows=lines)
        + "</details>"
    )


def _flat(plain: Row, prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _some(out: Path, sql: str) -> tuple[list[Row], str]:
    """The first rows, and a sentence about the others where there are any."""
    columns, rows = query(out, sql)
    first = [dict(zip(columns, row, strict=True)) for row in islice(rows, MOST_ROWS)]
    rest = sum(1 for _ in rows)
    more = f" The first {MOST_ROWS} of {whole(MOST_ROWS + rest)}; corpus catalog has all." if rest else ""
    return first, more


def _count(number: int, noun: str) -> str:
    return f"{whole(number)} {noun}{'' if number == 1 else 's'}"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-most // 2 + 1 :]}"
