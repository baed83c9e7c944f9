"""Parts of the report on who talks: time, voices, overlaps, floor transfers."""

from __future__ import annotations

from corpus.report.page_parts import counted, figure, note, right, section
from corpus.report.pages import lists as named
from corpus.report.pages.charts import Bar, bars, offset_histogram, strip
from corpus.report.pages.lists import Lists
from corpus.report.pages.markup import Markup, el
from corpus.report.pages.tables import Column, table
from corpus.report.spread import Spread
from corpus.report.stats import Stats
from corpus.report.stats_text import ms_text, time_text


def talk_part(stats: Stats, lists: Lists) -> Markup:
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
        figures.append(figure("Speech per voice", bars("Speech per voice", voices), more.strip()))
    if overlaps:
        title = "Share of time in which two or more talk"
        figures.append(figure(title, bars(title, overlaps), "The recordings with most of it."))
    return section(
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


def floor_part(stats: Stats) -> Markup:
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
        (Column("", "name"), Column("what it is"), *map(right, ("count", "10 %", "median", "90 %"))),
        [(name, what, f"{s.count:,}", *_percentiles(s)) for name, what, s in rows],
    )
    transfers = floor.offsets.spread
    if not transfers.count:
        return section("How the floor passes", note("The speaker never changes."), lengths)
    caption = (
        f"{counted(transfers.count, 'change')} of speaker, median {ms_text(transfers.median_us)}. Left of "
        "zero the next speaker begins before the last has ended. The outermost bars hold all beyond."
    )
    if floor.unclear:
        caption += f" {floor.unclear:,} more are left out: two began or ended together."
    return section(
        "How the floor passes", figure("", offset_histogram(floor.offsets), caption, look="broad"), lengths
    )


def _percentiles(spread: Spread) -> tuple[str, str, str]:
    if not spread.count:
        return ("–", "–", "–")
    return ms_text(spread.p10_us), ms_text(spread.median_us), ms_text(spread.p90_us)
