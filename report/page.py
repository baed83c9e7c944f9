"""report.html: what was built and what was left out, on one page that loads nothing from anywhere."""

from __future__ import annotations

import json
from pathlib import Path

from corpus.report.catalog import open_catalog
from corpus.report.cue_counts import SOURCES
from corpus.report.cue_pages import cue_table, unmade_table
from corpus.report.pages import lists as named
from corpus.report.pages.charts import Bar, bars, offset_histogram, strip
from corpus.report.pages.lanes import clock
from corpus.report.pages.lists import Lists, read_lists
from corpus.report.pages.markup import Markup, el, join, page
from corpus.report.pages.tables import Column, table
from corpus.report.people import people_part
from corpus.report.spread import Spread
from corpus.report.stats import Stats
from corpus.report.stats_text import ms_text, time_text
from corpus.schemas.files import storage_errors, write_whole

_REPORT_FILE = "report.html"


def write_report(out: Path, stats: Stats) -> None:
    """Write OUT/report.html from the dataset's numbers and its catalog.

    Raises:
        DatasetError: no catalog there.
        StorageError: the disk is full or the folder cannot be written.
    """
    with open_catalog(out) as connection:
        lists = read_lists(connection)
    path = out / _REPORT_FILE
    with storage_errors(path):
        write_whole(path, _report_page(stats, lists, people_part(out)).encode())


def _report_page(stats: Stats, lists: Lists, people: Markup) -> str:
    """The report of a dataset: the same wherever its folder stands."""
    return page(
        "Dataset report",
        el(
            "main",
            _header(stats),
            _alarm(stats),
            _talk(stats, lists),
            _floor(stats),
            _cues(stats),
            people,
            _left_out(stats, lists),
            _recordings(stats, lists),
            _oddities(stats, lists),
            _contents(stats),
            _settings(stats, lists),
        ),
        styles=("page.css",),
    )


def _section(title: str, *content: str) -> Markup:
    return el("section", el("h2", title), *content)


def _note(*content: str) -> Markup:
    return el("p", *content, class_="note")


def _figure(title: str, image: Markup, caption: str = "", *, look: str | None = None) -> Markup:
    below = el("figcaption", caption) if caption else Markup("")
    return el("figure", el("h3", title) if title else Markup(""), image, below, class_=look)


def _command(*words: str) -> Markup:
    return el("pre", el("code", " ".join(words)))


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# -- the parts --------------------------------------------------------------------------------


def _header(stats: Stats) -> Markup:
    talk = stats.talk
    amount, unit = _amount(stats.written_us)
    pictures = stats.windows_with_picture / stats.windows if stats.windows else 0.0
    figures = [
        (amount, unit, f"of conversation in {_count(stats.windows, 'window')} of 200 ms"),
        (f"{stats.recordings:,}", "", "recordings" if stats.recordings != 1 else "recording"),
        (f"{stats.clips:,}", "", f"clips, {stats.bytes / 1e6:,.1f} MB"),
        (f"{stats.speakers:,}", "", _voices(stats.named_people)),
        (f"{talk.speech_share:.1%}", "", "of the time somebody talks"),
        (f"{talk.overlap_share:.1%}", "", "of the time two or more talk"),
        (f"{talk.words:,}", "", _speed(talk.words_per_minute)),
        (f"{pictures:.0%}", "", "of the windows have a picture"),
    ]
    cells = [
        el("div", el("dt", label), el("dd", value, el("small", unit) if unit else Markup("")))
        for value, unit, label in figures
    ]
    splits = ", ".join(f"{_count(s.clips, 'clip')} for {s.split}" for s in stats.splits)
    return el(
        "header",
        el("h1", "Dataset report"),
        el("p", splits or "no clips", class_="lead"),
        el("dl", *cells, class_="figures"),
    )


def _voices(named_people: int) -> str:
    return f"voices; {named_people:,} known by name" if named_people else "voices; nobody known by name"


def _amount(us: int) -> tuple[str, str]:
    if us >= 3_600_000_000:
        return f"{us / 3.6e9:,.1f}", "h"
    return (f"{us / 6e7:.1f}", "min") if us >= 60_000_000 else (f"{us / 1e6:.1f}", "s")


def _speed(words_per_minute: float | None) -> str:
    return "words" if words_per_minute is None else f"words, {words_per_minute:.0f} a minute of talking"


def _alarm(stats: Stats) -> Markup:
    faults = sum(drop.drops for drop in stats.drops if drop.kind == "fault")
    if not faults:
        return Markup("")
    what = el("strong", _count(faults, "fault"))
    return el(
        "div",
        el("p", what, " left something in quarantine. Reasons are below; this tries again:"),
        _command("corpus errors OUT retry"),
        class_="alarm",
    )


def _talk(stats: Stats, lists: Lists) -> Markup:
    talk = stats.talk
    parts = (
        ("none", "nobody talks", max(0, stats.recorded_us - talk.speech_us)),
        ("one", "one person talks", talk.speech_us - talk.overlap_us),
        ("many", "two or more talk", talk.overlap_us),
    )
    whole = sum(size for _, _, size in parts) or 1
    names = [
        el("li", el("i"), f"{name} {_tight(f'{size / whole:.1%}')}", class_=tone)
        for tone, name, size in parts
    ]
    key = el("ul", *names, class_="key")
    voices = [
        Bar(
            label=f"{v.speaker} · {v.uri}",
            value=v.speech_us,
            shown=time_text(v.speech_us),
            hint=_voice_hint(v),
        )
        for v in lists.voices
    ]
    overlaps = [
        Bar(label=o.uri, value=o.overlap_share, shown=f"{o.overlap_share:.1%}", tone="many")
        for o in lists.overlapped
    ]
    more = f"The {len(voices)} who talk most of {stats.speakers:,}." if len(voices) < stats.speakers else ""
    longest = stats.longest_monologue
    if longest is not None:
        length, at = time_text(longest.stop_us - longest.start_us), time_text(longest.start_us)
        more += f" The longest stretch of one voice alone is {_tight(length)}: "
        more += f"{longest.speaker} in {longest.uri} at {_tight(at)}."
    figures = []
    if voices:
        figures.append(_figure("Speech per voice", bars("Speech per voice", voices), more.strip()))
    if overlaps:
        title = "Share of time in which two or more talk"
        figures.append(_figure(title, bars(title, overlaps), "The recordings with most of it."))
    return _section(
        "Who talks",
        el("figure", strip("How the recorded time is shared", parts), key),
        el("div", *figures, class_="pair") if figures else Markup(""),
    )


def _tight(amount: str) -> str:
    """A number and its unit that stay on one line."""
    return amount.replace(" ", "\N{NO-BREAK SPACE}")


def _voice_hint(voice: named.Voice) -> str:
    speed = f", {voice.words_per_minute:.0f} words a minute" if voice.words_per_minute else ""
    return f"{voice.speaker} in {voice.uri}{speed}"


def _floor(stats: Stats) -> Markup:
    floor = stats.floor
    rows = [
        ("Pause", "silence, the same speaker goes on", floor.pauses),
        ("Gap", "silence, the speaker changes", floor.gaps),
        ("Overlap with change", "both talk, the speaker changes", floor.overlaps_between),
        ("Overlap within", "both talk, the speaker stays", floor.overlaps_within),
        ("Unit", "one speaker's talk without a pause", floor.unit),
    ]
    lengths = table(
        "Lengths of what lies between one speaker alone and the next (classes of Heldner and Edlund, 2010).",
        (Column("", "name"), Column("what it is"), *map(_right, ("count", "10 %", "median", "90 %"))),
        [(name, what, f"{s.count:,}", *_percentiles(s)) for name, what, s in rows],
    )
    transfers = floor.offsets.spread
    if not transfers.count:
        return _section("How the floor passes", _note("The speaker never changes."), lengths)
    caption = (
        f"{_count(transfers.count, 'change')} of speaker, median {ms_text(transfers.median_us)}. Left of "
        "zero the next speaker begins before the last has ended. The outermost bars hold all beyond."
    )
    if floor.unclear:
        caption += f" {floor.unclear:,} more are left out: two began or ended together."
    return _section(
        "How the floor passes", _figure("", offset_histogram(floor.offsets), caption, look="broad"), lengths
    )


def _right(title: str) -> Column:
    return Column(title, "n")


def _percentiles(spread: Spread) -> tuple[str, str, str]:
    if not spread.count:
        return ("–", "–", "–")
    return ms_text(spread.p10_us), ms_text(spread.median_us), ms_text(spread.p90_us)


def _cues(stats: Stats) -> Markup:
    if not stats.cues:
        return _section("Cues", _note("None were found."), unmade_table(stats.unmade))
    examples = [
        "in no clip" if c.example_clip is None else f"{c.example_uri}@{clock(c.example_start_us)}"
        for c in stats.cues
    ]
    return _section(
        "Cues",
        cue_table(stats.cues, Column("for example"), examples),
        _note(SOURCES),
        _note("To hear one of each, on the page of its clip:"),
        _command("corpus inspect OUT --cues heard"),
        _note("Every cue carries the thresholds it was made with:"),
        _command("corpus catalog OUT \"SELECT * FROM cues WHERE label = 'overlap'\""),
        unmade_table(stats.unmade),
    )


def _left_out(stats: Stats, lists: Lists) -> Markup:
    if not stats.drops:
        return _section("What was left out", _note("Nothing."))
    counted = table(
        "By reason. A trim is expected; a fault puts the item in quarantine.",
        (
            Column(""),
            Column("reason", "name"),
            Column("stage"),
            _right("times"),
            Column("for example", "words"),
        ),
        [
            (
                el("span", d.kind, class_=f"tag {d.kind}"),
                d.code.replace("_", " "),
                d.stage,
                f"{d.drops:,}",
                d.example,
            )
            for d in stats.drops
        ],
    )
    return _section("What was left out", counted, _faults(stats, lists))


def _faults(stats: Stats, lists: Lists) -> Markup:
    if not lists.faults:
        return Markup("")
    total = sum(drop.drops for drop in stats.drops if drop.kind == "fault")
    first = (
        f"The first {len(lists.faults)} of {total:,} faults." if total > len(lists.faults) else "Every fault."
    )
    rows = [(fault.item, fault.stage, fault.reason.removeprefix(f"{fault.item}: ")) for fault in lists.faults]
    return join(
        (
            table(first, (Column("item", "name"), Column("stage"), Column("what is wrong", "words")), rows),
            _note("When the cause is gone, all or some of them are tried again by"),
            _command("corpus errors OUT retry [ITEM...]"),
        )
    )


def _recordings(stats: Stats, lists: Lists) -> Markup:
    shown = len(lists.recordings)
    caption = (
        f"The {shown} longest of {stats.recordings:,}." if shown < stats.recordings else "The longest first."
    )
    columns = (
        *(Column("recording", "name"), Column("split"), _right("length"), _right("voices"), _right("speech")),
        *(_right("overlap"), _right("cues"), Column("annotation from"), Column("streams")),
    )
    rows = [
        (
            *(r.uri, r.split, time_text(r.duration_us), str(r.speakers), f"{r.speech_share:.0%}"),
            *(f"{r.overlap_share:.1%}", f"{r.cues:,}", ", ".join(r.sidecars) or "models", r.streams),
        )
        for r in lists.recordings
    ]
    beside = _count(stats.recordings_with_sidecars, "recording")
    return _section(
        "Recordings",
        _note(f"Annotation files were used for {beside}; what they do not say comes from models."),
        table(caption, columns, rows),
        _command('corpus catalog OUT "SELECT uri, sidecars FROM recordings"')
        if shown < stats.recordings
        else Markup(""),
    )


def _oddities(stats: Stats, lists: Lists) -> Markup:
    if not lists.oddities:
        return _section("Oddities of streams", _note("None: every stream is as a careful writer leaves it."))
    columns = (
        *(Column("oddity", "name"), _right("times"), _right("recordings")),
        *(Column("for example"), Column("", "words")),
    )
    rows = [
        (o.code.replace("_", " "), f"{o.count:,}", f"{o.recordings:,}", o.uri, o.detail)
        for o in lists.oddities
    ]
    return _section(
        "Oddities of streams", table("What was found in the files and taken care of.", columns, rows)
    )


def _contents(stats: Stats) -> Markup:
    splits = table(
        "Splits. A conversation, and a person known by name, is never on two sides.",
        (Column("split"), _right("recordings"), _right("clips"), _right("windows"), _right("length")),
        [
            (s.split, f"{s.recordings:,}", f"{s.clips:,}", f"{s.windows:,}", time_text(s.windows * 200_000))
            for s in stats.splits
        ],
    )
    lengths = table(
        "Clip lengths.",
        (_right("windows"), _right("length"), _right("clips")),
        [(str(n.windows), time_text(n.windows * 200_000), f"{n.clips:,}") for n in stats.clip_lengths],
    )
    quality = stats.quality
    shares = table(
        "Sound, as a share of all frames of all channels.",
        (Column(""), _right("share")),
        [
            ("not what the channel's name says", f"{quality.unreliable_share:.1%}"),
            ("a separator's estimate", f"{quality.separated_share:.1%}"),
            ("no sound in the source", f"{quality.padded_share:.1%}"),
        ],
    )
    overlap = _note(
        f"Two or more talk in {stats.talk.overlap_of_speech:.1%} of the speech. Who has a channel of his own"
        " keeps it whole there. Speakers who share one are silent in their channels and heard in the room,"
        " unless a separator passed its test; each clip's separation says which."
    )
    return _section("What the clips hold", el("div", splits, lengths, shares, class_="three"), overlap)


def _settings(stats: Stats, lists: Lists) -> Markup:
    def block(title: str, text: str) -> Markup:
        pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        return el("details", el("summary", title), el("pre", el("code", pretty)))

    return _section(
        "Settings and versions",
        _note("Same inputs, settings and versions give the same bytes. Their digest:"),
        _command(stats.config),
        block("Settings", lists.settings_json),
        block("Versions of stages and libraries", lists.versions_json),
    )
