"""The report's entry for each stream: its facts and what was odd about it."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from av.container import InputContainer

from corpus.ingest.account import Account
from corpus.ingest.choose import Plan
from corpus.ingest.film import EditList
from corpus.ingest.head import LONGEST_S, StreamHead
from corpus.ingest.moving import PictureTrack
from corpus.ingest.probe import absurd_duration, declared_duration, head_oddities
from corpus.ingest.sound import SoundTrack
from corpus.ingest.tracks import Leg
from corpus.schemas.clock import US, us_from_seconds
from corpus.schemas.recording import Oddity, Stream

_DECLARED = tuple("mov matroska avi wav w64 flac asf caf mxf tta wv ape tak".split())
"""Containers that declare their duration; for others libav guesses it."""
_SHORT = Fraction(1)
"""A file that ends this much before its declared end was cut off."""


def stream_facts(file: int, head: StreamHead, plan: Plan, leg: Leg | None) -> Stream:
    """The report's entry for a stream, used or only listed."""
    offset_us = us_from_seconds(head.first - plan.zero) if head.first is not None and head.chosen else 0
    duration_us = 0
    oddities = head_oddities(head, plan.start)
    # A stream that continues another has no oddities of its own: the track counts them once, at its first.
    if leg is not None and leg.follows is not None:
        offset_us = leg.start_us
        detail = f"goes on where stream {leg.follows} ended"
        oddities.append(Oddity(code="continues", detail=detail, start_us=leg.start_us))
    elif leg is not None and leg.sound is not None and leg.sound.first is not None:
        offset_us = us_from_seconds(leg.sound.first)
        oddities += _sound_oddities(leg.sound)
    elif leg is not None and leg.pictures is not None and leg.pictures.first_us is not None:
        offset_us = leg.pictures.first_us
        oddities += _video_oddities(leg.pictures)
    if leg is not None:
        duration_us = max(0, leg.stop_us - offset_us)
    if head.chosen and not duration_us:
        oddities.append(Oddity(code="empty_stream", detail="nothing in this stream could be decoded"))
    return Stream(
        kind=head.kind,
        index=head.index,
        file=file,
        codec=head.codec,
        rate=head.rate,
        offset_us=offset_us,
        duration_us=duration_us,
        channels=head.channels,
        width=head.width,
        height=head.height,
        rotation_degrees=head.rotation_degrees,
        chosen=head.chosen,
        oddities=tuple(oddities),
    )


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds * 1000):.3f} ms"


def _sound_oddities(sound: SoundTrack) -> list[Oddity]:
    """What the clock did to the sound."""
    moves, oddities = sound.moves, list[Oddity]()
    if moves.corrections:
        oddities.append(
            Oddity(
                code="drift",
                detail=f"time stamps left the sample count for good {moves.corrections} times; corrected "
                f"by {_ms(moves.corrected)} in all, at most {_ms(moves.largest_correction)} at once",
            )
        )
    oddities += [
        Oddity(
            code="hole",
            detail=f"{_ms(length)} without sound, filled with silence",
            start_us=us_from_seconds(start),
            stop_us=us_from_seconds(start + length),
        )
        for start, length in moves.holes
    ]
    if moves.hole_count > len(moves.holes):
        oddities.append(
            Oddity(code="holes", detail=f"{moves.hole_count} holes in all, {_ms(moves.hole_total)} together")
        )
    oddities += _restarts(us_from_seconds(start) for start in moves.restarts)
    if sound.saturated_samples:
        oddities.append(
            Oddity(code="saturated", detail=f"{sound.saturated_samples} samples are louder than full scale")
        )
    if sound.before_zero:
        oddities.append(
            Oddity(code="before_zero", detail=f"{sound.before_zero} samples stand before zero; left out")
        )
    if sound.formats_changed:
        oddities.append(Oddity(code="format_change", detail="the rate or number of channels changes midway"))
    return oddities


def _video_oddities(moving: PictureTrack) -> list[Oddity]:
    """What was odd about the order and times of the pictures."""
    oddities = [
        Oddity(
            code="picture_hole",
            detail=f"no new picture for {(stop - start) / US:.3f} s",
            start_us=start,
            stop_us=stop,
        )
        for start, stop in moving.holes_us
    ]
    oddities += _restarts(moving.restarts_us)
    if moving.out_of_order:
        oddities.append(
            Oddity(
                code="non_monotonic",
                detail=f"{moving.out_of_order} pictures are stamped before the one they follow; left out",
            )
        )
    if moving.wild_stamps:
        oddities.append(Oddity(code="wild_stamps", detail=f"{moving.wild_stamps} time stamps make no sense"))
    if moving.before_zero:
        oddities.append(
            Oddity(
                code="before_zero", detail=f"{moving.before_zero} pictures stand before zero; shown at zero"
            )
        )
    return oddities


def _restarts(starts_us: Iterable[int]) -> list[Oddity]:
    return [
        Oddity(code="restart", detail="time stamps jump back; what follows goes on here", start_us=start_us)
        for start_us in starts_us
    ]


def edit_oddities(lists: Iterable[EditList]) -> list[Oddity]:
    """Joins in the edit lists in use."""
    most = max(lists, key=lambda edits: (edits.joins, edits.empty_s), default=None)
    if most is None or not (most.joins or most.empty_s):
        return []
    empty = f", and {most.empty_s:.3f} s are empty" if most.empty_s else ""
    detail = (
        f"the film joins {most.joins + 1} parts of its media{empty}; each stands where its edit list says"
    )
    return [Oddity(code="edits", detail=detail)]


def _lacking(plan: Plan, account: Account) -> Fraction:
    """A film with joins may be complete although its media is not: only the displayed parts count."""
    lacking = Fraction(0)
    for head in plan.heads.values():
        shown, tally = head.shown, account.tallies.get(head.index)
        if head.chosen and shown is not None:
            lacking = max(lacking, shown - (tally.length * tally.tick if tally is not None else 0))
    return lacking


def end_oddities(
    container: InputContainer,
    plan: Plan,
    end_us: int,
    cut_off: bool,
    account: Account,
    missing_bytes: int = 0,
) -> list[Oddity]:
    """Whether the file ends where it declares. The longest stream may be one that is not used."""
    declared = declared_duration(container, plan.heads.values())
    # Some forms declare where the last stamp stands, others how long it is to there: either is whole.
    # Compare on the file's own clock, from its first presentation, because that is what headers declare.
    end = Fraction(end_us, US) + plan.zero - plan.start
    if account.end is not None:
        end = max(end, account.end - plan.start, account.end)
    if declared is not None and declared > LONGEST_S:
        return [absurd_duration(declared)]
    known = any(name in plan.container for name in _DECLARED)
    lacking = _lacking(plan, account)
    if lacking > _SHORT:
        missing = f"; {_ms(lacking)} of what its edit list shows are missing"
        return [Oddity(code="truncated", detail=f"the file was cut off{missing}", start_us=end_us)]
    short = declared is not None and known and declared - end > _SHORT
    if not short and not cut_off and not missing_bytes:
        return []
    missing = f"; the last {missing_bytes} bytes it declares are missing" if missing_bytes else ""
    missing = f"; the last {_ms(declared - end)} it declares are missing" if short and declared else missing
    return [Oddity(code="truncated", detail=f"the file was cut off{missing}", start_us=end_us)]
