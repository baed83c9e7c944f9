"""Parts of the report on what is in the dataset and what was left out, by recording."""

from __future__ import annotations

import json

from corpus.report.page_parts import command, counted, note, right, section
from corpus.report.pages.lists import Lists
from corpus.report.pages.markup import Markup, el, join
from corpus.report.pages.tables import Column, table
from corpus.report.stats import Stats
from corpus.report.stats_text import time_text


def left_out_part(stats: Stats, lists: Lists) -> Markup:
    if not stats.drops:
        return section("What was left out", note("Nothing."))
    by_reason = table(
        "By reason. A trim is expected; a fault puts the item in quarantine.",
        (
            Column(""),
            Column("reason", "name"),
            Column("stage"),
            right("times"),
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
    return section("What was left out", by_reason, _faults_part(stats, lists))


def _faults_part(stats: Stats, lists: Lists) -> Markup:
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
            note("When the cause is gone, all or some of them are tried again by"),
            command("corpus errors OUT retry [ITEM...]"),
        )
    )


def recordings_part(stats: Stats, lists: Lists) -> Markup:
    shown = len(lists.recordings)
    caption = (
        f"The {shown} longest of {stats.recordings:,}." if shown < stats.recordings else "The longest first."
    )
    columns = (
        *(Column("recording", "name"), Column("split"), right("length"), right("voices"), right("speech")),
        *(right("overlap"), right("cues"), Column("annotation from"), Column("streams")),
    )
    rows = [
        (
            *(r.uri, r.split, time_text(r.duration_us), str(r.speakers), f"{r.speech_share:.0%}"),
            *(f"{r.overlap_share:.1%}", f"{r.cues:,}", ", ".join(r.sidecars) or "models", r.streams),
        )
        for r in lists.recordings
    ]
    beside = counted(stats.recordings_with_sidecars, "recording")
    return section(
        "Recordings",
        note(f"Annotation files were used for {beside}; what they do not say comes from models."),
        table(caption, columns, rows),
        command('corpus catalog OUT "SELECT uri, sidecars FROM recordings"')
        if shown < stats.recordings
        else Markup(""),
    )


def oddities_part(stats: Stats, lists: Lists) -> Markup:
    if not lists.oddities:
        return section("Oddities of streams", note("None: every stream is as a careful writer leaves it."))
    columns = (
        *(Column("oddity", "name"), right("times"), right("recordings")),
        *(Column("for example"), Column("", "words")),
    )
    rows = [
        (o.code.replace("_", " "), f"{o.count:,}", f"{o.recordings:,}", o.uri, o.detail)
        for o in lists.oddities
    ]
    return section(
        "Oddities of streams", table("What was found in the files and taken care of.", columns, rows)
    )


def contents_part(stats: Stats) -> Markup:
    splits = table(
        "Splits. A conversation, and a person known by name, is never on two sides.",
        (Column("split"), right("recordings"), right("clips"), right("windows"), right("length")),
        [
            (s.split, f"{s.recordings:,}", f"{s.clips:,}", f"{s.windows:,}", time_text(s.windows * 200_000))
            for s in stats.splits
        ],
    )
    lengths = table(
        "Clip lengths.",
        (right("windows"), right("length"), right("clips")),
        [(str(n.windows), time_text(n.windows * 200_000), f"{n.clips:,}") for n in stats.clip_lengths],
    )
    quality = stats.quality
    shares = table(
        "Sound, as a share of all frames of all channels.",
        (Column(""), right("share")),
        [
            ("not what the channel's name says", f"{quality.unreliable_share:.1%}"),
            ("a separator's estimate", f"{quality.separated_share:.1%}"),
            ("no sound in the source", f"{quality.padded_share:.1%}"),
        ],
    )
    overlap = note(
        f"Two or more talk in {stats.talk.overlap_of_speech:.1%} of the speech. Who has a channel of his own"
        " keeps it whole there. Speakers who share one are silent in their channels and heard in the room,"
        " unless a separator passed its test; each clip's separation says which."
    )
    return section("What the clips hold", el("div", splits, lengths, shares, class_="three"), overlap)


def settings_part(stats: Stats, lists: Lists) -> Markup:
    def block(title: str, text: str) -> Markup:
        pretty = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        return el("details", el("summary", title), el("pre", el("code", pretty)))

    return section(
        "Settings and versions",
        note("Same inputs, settings and versions give the same bytes. Their digest:"),
        command(stats.config),
        block("Settings", lists.settings_json),
        block("Versions of stages and libraries", lists.versions_json),
    )
