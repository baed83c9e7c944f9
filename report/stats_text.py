"""A dataset's statistics as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from corpus.report.funnel_text import loss_name
from corpus.report.poor import NAMED
from corpus.report.spread import Spread
from corpus.report.stats import Stats


def stats_text(stats: Stats) -> Iterator[str]:
    """About thirty lines, with durations in the most readable unit."""
    yield from _whole(stats)
    yield ""
    yield from _funnel(stats)
    for one in stats.poor:
        yield _line(one.what, f"{len(one.recordings):>8,}", ", ".join(one.recordings[:NAMED]))
    yield ""
    yield from _talk(stats)
    yield ""
    yield from _floor(stats)
    if stats.cues:
        yield ""
        yield "cues"
    for cue in stats.cues:
        yield _line(f"{cue.label} {cue.kind}".rstrip(), f"{cue.count:>8,}", time_text(cue.total_us))
    if stats.unmade:
        yield ""
        yield "labels not made"
    for label in stats.unmade:
        yield _line(label.label, f"{label.recordings:>8,}", label.reason)
    if stats.drops:
        yield ""
        yield "left out"
    for drop in stats.drops:
        yield _line(f"{drop.kind} {drop.code}", f"{drop.drops:>8,}", f"in {drop.stage}; {drop.example}")


def _whole(stats: Stats) -> Iterator[str]:
    yield _line("recordings", f"{stats.recordings:>8,}", f"{time_text(stats.recorded_us)} recorded")
    yield _line("clips", f"{stats.clips:>8,}", f"{time_text(stats.written_us)} in {stats.windows:,} windows")
    for split in stats.splits:
        yield _line(
            f"  {split.split}",
            f"{split.clips:>8,}",
            f"from {split.recordings:,} recording{'s' if split.recordings != 1 else ''}",
        )
    yield _line("pictures", f"{stats.windows_with_picture:>8,}", f"of {stats.windows:,} windows")
    yield _line("speakers", f"{stats.speakers:>8,}", f"{stats.named_people:,} people known by name")


def _funnel(stats: Stats) -> Iterator[str]:
    funnel = stats.funnel
    unknown = f"and {funnel.unknown:,} items of unknown length" if funnel.unknown else ""
    yield _line("given", f"{time_text(funnel.given_us):>12}", unknown)
    for loss in funnel.losses:
        yield _line(
            f"  {loss_name(loss)}", f"{'-' + time_text(loss.us):>12}", f"{loss.items:,}; {loss.example}"
        )
    yield _line("kept", f"{time_text(funnel.kept_us):>12}", "")
    if funnel.unaccounted_us:
        yield _line("not accounted for", f"{time_text(abs(funnel.unaccounted_us)):>12}", "please report this")


def _talk(stats: Stats) -> Iterator[str]:
    talk = stats.talk
    yield _line("speech", f"{talk.speech_share:>8.1%}", time_text(talk.speech_us))
    yield _line("overlap", f"{talk.overlap_share:>8.1%}", f"{talk.overlap_of_speech:.1%} of the speech")
    yield _line("words", f"{talk.words:>8,}", f"{talk.words_without_time:,} without a time")
    if talk.words_per_minute is not None:
        yield _line("words per minute", f"{talk.words_per_minute:>8.0f}", "of each speaker's talking time")
    longest = stats.longest_monologue
    if longest is not None:
        length = time_text(longest.stop_us - longest.start_us)
        at = f"{longest.speaker} in {longest.uri} at {time_text(longest.start_us)}"
        yield _line("longest monologue", f"{length:>8}", at)


def _floor(stats: Stats) -> Iterator[str]:
    floor = stats.floor
    yield _line("units", f"{floor.units:>8,}", f"median {time_text(floor.unit.median_us)}")
    parts = (
        ("pauses", floor.pauses),
        ("gaps", floor.gaps),
        ("overlaps, shift", floor.overlaps_between),
        ("overlaps, no shift", floor.overlaps_within),
    )
    for name, lengths in parts:
        yield _line(name, f"{lengths.count:>8,}", _spread_text(lengths))
    yield _line("floor transfers", f"{floor.offsets.spread.count:>8,}", _spread_text(floor.offsets.spread))


def _spread_text(spread: Spread) -> str:
    if not spread.count:
        return ""
    low, middle, high = (ms_text(us) for us in (spread.p10_us, spread.median_us, spread.p90_us))
    return f"median {middle}, from {low} (10 %) to {high} (90 %)"


def _line(name: str, number: str, rest: str) -> str:
    return f"{name:<28}{number}  {rest}".rstrip()


def ms_text(us: int) -> str:
    return f"{round(us / 1000):,} ms".replace("-", "\N{MINUS SIGN}")


def time_text(us: int) -> str:
    """12.3 s, 4:05 min or 1:02:03 h."""
    if us < 60_000_000:
        return f"{us / 1e6:.1f} s"
    minutes, seconds = divmod(round(us / 1e6), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02d}:{seconds:02d} h" if hours else f"{minutes}:{seconds:02d} min"
