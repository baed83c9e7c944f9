"""report.html: what was built and what was left out, on one self-contained page."""

from __future__ import annotations

from pathlib import Path

from corpus.report.catalog import open_catalog
from corpus.report.cue_counts import SOURCES
from corpus.report.cue_pages import cue_table, unmade_table
from corpus.report.funnel_text import loss_name
from corpus.report.page_contents import (
    contents_part,
    left_out_part,
    oddities_part,
    recordings_part,
    settings_part,
)
from corpus.report.page_parts import command, counted, figure, note, plural, section
from corpus.report.page_talk import floor_part, talk_part
from corpus.report.pages.funnel_chart import Cut, funnel_bars
from corpus.report.pages.lanes import clock
from corpus.report.pages.lists import Lists, read_lists
from corpus.report.pages.markup import Markup, el, page
from corpus.report.pages.tables import Column
from corpus.report.people import people_part
from corpus.report.poor import NAMED, Poor
from corpus.report.stats import Stats
from corpus.report.stats_text import time_text
from corpus.schemas.files import storage_errors, write_whole

REPORT_FILE = "report.html"


def write_report(out: Path, stats: Stats) -> None:
    """Write OUT/report.html from the dataset's statistics and its catalog.

    Raises:
        DatasetError: there is no catalog.
        StorageError: the disk is full or the folder cannot be written.
    """
    with open_catalog(out) as connection:
        lists = read_lists(connection)
    path = out / REPORT_FILE
    with storage_errors(path):
        write_whole(path, _report_page(stats, lists, people_part(out)).encode())


def _report_page(stats: Stats, lists: Lists, people: Markup) -> str:
    """The report of a dataset, independent of where its folder is."""
    return page(
        "Dataset report",
        el(
            "main",
            _header(stats),
            _alarm(stats),
            _poor(stats),
            _funnel(stats),
            talk_part(stats, lists),
            floor_part(stats),
            _cues(stats),
            people,
            left_out_part(stats, lists),
            recordings_part(stats, lists),
            oddities_part(stats, lists),
            contents_part(stats),
            settings_part(stats, lists),
        ),
        styles=("page.css",),
    )


# -- the parts --------------------------------------------------------------------------------


def _header(stats: Stats) -> Markup:
    talk = stats.talk
    amount, unit = _amount(stats.written_us)
    pictures = stats.windows_with_picture / stats.windows if stats.windows else 0.0
    figures = [
        (amount, unit, f"of conversation in {counted(stats.windows, 'window')} of 200 ms"),
        (f"{stats.recordings:,}", "", plural(stats.recordings, "recording")),
        (f"{stats.clips:,}", "", f"{plural(stats.clips, 'clip')}, {stats.bytes / 1e6:,.1f} MB"),
        (f"{stats.speakers:,}", "", _voices(stats.speakers, stats.named_people)),
        (f"{talk.speech_share:.1%}", "", "of the time somebody talks"),
        (f"{talk.overlap_share:.1%}", "", "of the time two or more talk"),
        (f"{talk.words:,}", "", _speed(talk.words, talk.words_per_minute)),
        (f"{pictures:.0%}", "", "of the windows have a picture"),
    ]
    cells = [
        el("div", el("dt", label), el("dd", value, el("small", unit) if unit else Markup("")))
        for value, unit, label in figures
    ]
    splits = ", ".join(f"{counted(s.clips, 'clip')} for {s.split}" for s in stats.splits)
    return el(
        "header",
        el("h1", "Dataset report"),
        el("p", splits or "no clips", class_="lead"),
        el("dl", *cells, class_="figures"),
    )


def _voices(voices: int, named_people: int) -> str:
    named = f"{named_people:,}" if named_people else "nobody"
    return f"{plural(voices, 'voice')}; {named} known by name"


def _amount(us: int) -> tuple[str, str]:
    if us >= 3_600_000_000:
        return f"{us / 3.6e9:,.1f}", "h"
    return (f"{us / 6e7:.1f}", "min") if us >= 60_000_000 else (f"{us / 1e6:.1f}", "s")


def _speed(words: int, words_per_minute: float | None) -> str:
    name = plural(words, "word")
    return name if words_per_minute is None else f"{name}, {words_per_minute:.0f} a minute of talking"


def _alarm(stats: Stats) -> Markup:
    faults = sum(drop.drops for drop in stats.drops if drop.kind == "fault")
    if not faults:
        return Markup("")
    what = el("strong", counted(faults, "fault"))
    return el(
        "div",
        el("p", what, " left something in quarantine. Reasons are below; this tries again:"),
        command("corpus errors OUT retry"),
        class_="alarm",
    )


def _poor(stats: Stats) -> Markup:
    if not stats.poor:
        return Markup("")
    lines = [
        el(
            "li",
            el("strong", f"{counted(len(one.recordings), 'recording')}: "),
            f"{one.what}. ",
            el("span", _names(one), class_="note"),
        )
        for one in stats.poor
    ]
    return el("div", el("p", "Listen before training on these:"), el("ul", *lines), class_="poor")


def _names(one: Poor) -> str:
    more = len(one.recordings) - NAMED
    return ", ".join(one.recordings[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _funnel(stats: Stats) -> Markup:
    funnel = stats.funnel
    given = Cut(label="given", size=funnel.given_us, shown=time_text(funnel.given_us))
    losses = [
        Cut(
            label=loss_name(loss),
            size=loss.us,
            shown=f"\N{MINUS SIGN}{time_text(loss.us)}",
            hint=f"{loss_name(loss)}, {loss.items:,} times; {loss.example}",
        )
        for loss in funnel.losses
    ]
    kept = Cut(label="kept", size=funnel.kept_us, shown=time_text(funnel.kept_us))
    share = funnel.kept_us / funnel.given_us if funnel.given_us else 0.0
    caption = (
        f"{share:.1%} of the time given is in the clips. Each bar is what one reason takes off the rest."
    )
    if funnel.unknown:
        caption += f" {counted(funnel.unknown, 'item')} of unknown length, not built, are not in it."
    if funnel.unaccounted_us:
        caption += f" {time_text(abs(funnel.unaccounted_us))} are not accounted for: please report this."
    title = "From hours given to hours kept"
    return el("div", figure(title, funnel_bars(title, given, losses, kept), caption, look="broad"))


def _cues(stats: Stats) -> Markup:
    if not stats.cues:
        return section("Cues", note("None were found."), unmade_table(stats.unmade))
    examples = [
        "in no clip" if c.example_clip is None else f"{c.example_uri}@{clock(c.example_start_us)}"
        for c in stats.cues
    ]
    return section(
        "Cues",
        cue_table(stats.cues, Column("for example"), examples),
        note(SOURCES),
        note("To hear one of each, on the page of its clip:"),
        command("corpus inspect OUT --cues heard"),
        note("Every cue carries the thresholds it was made with:"),
        command("corpus catalog OUT \"SELECT * FROM cues WHERE label = 'overlap'\""),
        unmade_table(stats.unmade),
    )
