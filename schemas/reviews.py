"""Applying annotators' decisions to a conversation. Pure functions.

A decision supersedes the item it judged. If that no longer exists, and for the corrected item, it supersedes
every item of the same speaker (and label) that covers at least half of the union of the two spans.
docs/reviewing.md explains this to annotators.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from corpus.schemas.conversation import Answer, Conversation, Cue, Event, Turn, Word
from corpus.schemas.review import Judged, Review
from corpus.schemas.span import union
from corpus.schemas.votes import Group, Near, Outcome, exact, groups, judged, outcome, speaker_of

Settled = list[tuple[Group, Outcome]]
"""Groups with a decision that can be applied."""
MOST_SPEAKERS = 7
"""As many voices as a clip has channels."""

Item = TypeVar("Item", Cue, Word, Turn)
Spoken = TypeVar("Spoken", Cue, Word, Answer, Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of what happened to the decisions on one recording's items."""

    items: int = 0
    """Items that somebody decided on."""
    applied: int = 0
    """Those whose decision is in the conversation."""
    ties: int = 0
    """Those with equal votes: the original item is left unchanged."""
    unsure: int = 0
    """Those on which everybody abstained."""
    unmatched: int = 0
    """Those, applied or not, whose item can no longer be found."""
    refused: int = 0
    """Those that cannot be applied: their speaker no longer exists, or would be one too many."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self)}
        )


# -- cues -------------------------------------------------------------------------------------


def apply_to_cues(conversation: Conversation, reviews: Iterable[Review]) -> tuple[Conversation, Tally]:
    """The conversation with people's decisions on cues applied; other decisions are ignored."""
    about = [g for g in groups(reviews, conversation.turns, conversation.cues) if g.about == "cue"]
    settled, tally = _settle(about, set(conversation.speakers))
    gone, unmatched, placed = _superseded(conversation.cues, settled)
    kept = [cue for n, cue in enumerate(conversation.cues) if n not in gone]
    cues = [*kept, *(_human(p.cue, o) for _, o in placed for p in o.becomes if p.cue is not None)]
    cues = [_within(cue, conversation.duration_us) for cue in cues]
    tally += Tally(applied=len(settled), unmatched=unmatched)
    return dataclasses.replace(conversation, cues=tuple(cues)), tally


def _human(cue: Cue, decided: Outcome) -> Cue:
    """The cue as decided by people: with their names, its share of the votes, and no id."""
    return dataclasses.replace(cue, origin=f"human:{','.join(decided.who)}", confidence=decided.share, id="")


def _within(cue: Cue, duration_us: int) -> Cue:
    if cue.stop_us <= duration_us:
        return cue
    return dataclasses.replace(cue, start_us=min(cue.start_us, duration_us), stop_us=duration_us)


def _settle(about: Sequence[Group], speakers: set[str]) -> tuple[Settled, Tally]:
    """The groups with a decision that can be applied, and the counts of the others."""
    settled: Settled = []
    ties = unsure = refused = 0
    for group in about:
        decided = outcome(group)
        names = {name for part in decided.becomes if (name := speaker_of(part)) is not None}
        if decided.kind == "tie":
            ties += 1
        elif decided.kind == "unsure":
            unsure += 1
        elif (
            group.lost or len(speakers | names) > MOST_SPEAKERS or (group.about == "cue" and names - speakers)
        ):
            refused += 1
        else:
            speakers |= names
            settled.append((group, decided))
    return settled, Tally(items=len(about), ties=ties, unsure=unsure, refused=refused)


def _superseded(items: Sequence[Cue | Word | Turn], settled: Settled) -> tuple[set[int], int, Settled]:
    """The positions of superseded items, how many decisions matched nothing, and the decisions to apply.

    Every decision on a cue is applied; on words and turns those that matched or that name a new item.
    """
    pool = _Pool(items)
    gone: set[int] = set()
    hits: list[set[int]] = []
    for group, _ in settled:  # first each the very item it judged
        hits.append({n for part in group.judged for n in pool.same(part)} - gone)
        gone.update(hits[-1])
    placed: Settled = []
    unmatched = 0
    for (group, decided), hit in zip(settled, hits, strict=True):  # then what took its place
        more = pool.all_like((*group.judged, *decided.becomes)) - gone
        gone.update(more)
        added = not group.judged
        if not hit and not more and not added:
            unmatched += 1
            if group.about != "cue" and not any(r.becomes for r in group.latest.values()):
                continue
        placed.append((group, decided))
    return gone, unmatched, placed


class _Pool:
    """Items of one kind, for looking up equal ones and ones with nearly the same span."""

    def __init__(self, items: Sequence[Cue | Word | Turn]) -> None:
        self._same: dict[Hashable, list[int]] = defaultdict(list)
        self._near = Near[int]()
        for number, item in enumerate(items):
            part = judged(item)
            self._same[exact(part)].append(number)
            self._near.put(part, number)

    def same(self, part: Judged) -> list[int]:
        return self._same.get(exact(part), [])

    def all_like(self, parts: Iterable[Judged]) -> set[int]:
        return {number for part in parts for _, number in self._near.like(part)}


# -- speakers, turns and words ----------------------------------------------------------------


def apply_to_talk(conversation: Conversation, reviews: Sequence[Review]) -> tuple[Conversation, Tally]:
    """The conversation with people's decisions on speakers, turns and words applied; changed items have id
    "".

    Words follow a turn that is reassigned, split or rejected.
    """
    grouped = groups(reviews, conversation.turns, _talk_items(conversation))
    if not any(g.about != "cue" for g in grouped):
        return conversation, Tally()
    renamed, tally = _rename(conversation, [g for g in grouped if g.about == "speaker"])
    again = groups(reviews, renamed.turns, _talk_items(renamed)) if renamed != conversation else grouped
    names = set(renamed.speakers)
    turns, words, more = _turns(renamed, *_settle([g for g in again if g.about == "turn"], names))
    tally += more
    settled, counted = _settle([g for g in again if g.about == "word"], names)
    gone, unmatched, placed = _superseded(words, settled)
    kept = [word for n, word in enumerate(words) if n not in gone]
    words = [*kept, *(_bare(p.word) for _, o in placed for p in o.becomes if p.word is not None)]
    tally += counted + Tally(applied=len(placed), unmatched=unmatched)
    ordered = sorted(turns, key=lambda t: (t.start_us, t.stop_us, t.speaker))
    return (
        dataclasses.replace(
            renamed,
            turns=tuple(ordered),
            words=tuple(words),
            speakers=_in_order_of_speech(ordered, words, [*renamed.speakers, *_others(renamed)]),
        ),
        tally,
    )


def _talk_items(conversation: Conversation) -> list[Turn | Word]:
    return [*conversation.turns, *conversation.words]


def _bare(item: Item) -> Item:
    return dataclasses.replace(item, id="")


def _others(conversation: Conversation) -> list[str]:
    items: list[Cue | Event] = [*conversation.cues, *conversation.events]
    return [item.speaker for item in items if item.speaker is not None]


def _in_order_of_speech(
    turns: Sequence[Turn], words: Sequence[Word], known: Sequence[str]
) -> tuple[str, ...]:
    first: dict[str, int] = {}
    for turn in turns:
        first.setdefault(turn.speaker, turn.start_us)
    for word in words:
        if word.start_us is not None:
            first.setdefault(word.speaker, word.start_us)
    spoken = sorted(first, key=lambda name: (first[name], name))
    return tuple(dict.fromkeys([*spoken, *known, *(word.speaker for word in words)]))


def _rename(conversation: Conversation, about: Sequence[Group]) -> tuple[Conversation, Tally]:
    settled, tally = _settle(about, set())  # a new name takes an old one's place
    chosen = {
        part.speaker: ruling.becomes[0].speaker
        for group, ruling in settled
        for part in group.judged
        if ruling.becomes and part.speaker and part.speaker != ruling.becomes[0].speaker
    }
    unmatched = sum(all(p.speaker not in conversation.speakers for p in g.judged) for g, _ in settled)
    tally += Tally(applied=len(settled) - unmatched, unmatched=unmatched)
    if not chosen:
        return conversation, tally
    new = {name: _last_name(name, chosen) for name in conversation.speakers}
    speakers = tuple(dict.fromkeys(new.values()))
    merged = [name for name, count in Counter(new.values()).items() if count > 1]
    turns = [dataclasses.replace(t, speaker=new[t.speaker], id="") for t in conversation.turns]
    kept = [turn for turn in turns if turn.speaker not in merged]
    joined = [
        Turn(speaker=name, start_us=span.start_us, stop_us=span.stop_us)
        for name in merged
        for span in union(turn.span for turn in turns if turn.speaker == name)
    ]

    return (
        dataclasses.replace(
            conversation,
            speakers=speakers,
            turns=tuple(kept + joined),
            words=_named(new, conversation.words),
            cues=tuple(_partnered(new, cue) for cue in _named(new, conversation.cues)),
            answers=_named(new, conversation.answers),
            events=_named(new, conversation.events),
            named_speakers=tuple(dict.fromkeys(new[n] for n in conversation.named_speakers)),
        ),
        tally,
    )


def _named(new: Mapping[str, str], items: Sequence[Spoken]) -> tuple[Spoken, ...]:
    return tuple(
        item if item.speaker is None else dataclasses.replace(item, speaker=new[item.speaker], id="")
        for item in items
    )


def _partnered(new: Mapping[str, str], cue: Cue) -> Cue:
    return cue if cue.partner is None else dataclasses.replace(cue, partner=new.get(cue.partner))


def _last_name(name: str, chosen: Mapping[str, str | None]) -> str:
    """Follow the renamings to their end; if they form a circle, take one step."""
    seen, now = [name], chosen.get(name)
    while now is not None and now not in seen:
        seen.append(now)
        now = chosen.get(now)
    return seen[-1] if now is None else str(chosen[name])


def _turns(
    conversation: Conversation, settled: Settled, counted: Tally
) -> tuple[list[Turn], list[Word], Tally]:
    gone, unmatched, placed = _superseded(conversation.turns, settled)
    words = list(conversation.words)
    turns = [turn for n, turn in enumerate(conversation.turns) if n not in gone]
    for group, decided in placed:
        parts = [part.turn for part in decided.becomes if part.turn is not None]
        turns += [_bare(turn) for turn in parts]
        before = [part.turn for part in group.judged if part.turn is not None]
        words = [moved for word in words if (moved := _followed(word, before, parts)) is not None]
    return turns, words, counted + Tally(applied=len(placed), unmatched=unmatched)


def _followed(word: Word, before: Sequence[Turn], after: Sequence[Turn]) -> Word | None:
    """A word of a changed turn follows the turn; it disappears with a rejected one."""
    if word.start_us is None or word.stop_us is None:
        return word
    middle_us = (word.start_us + word.stop_us) // 2
    if not any(turn.speaker == word.speaker and middle_us in turn.span for turn in before):
        return word
    if not after:
        return None
    nearest = min(after, key=lambda t: (max(t.start_us - middle_us, middle_us - t.stop_us, 0), t.start_us))
    return (
        word if nearest.speaker == word.speaker else dataclasses.replace(word, speaker=nearest.speaker, id="")
    )
