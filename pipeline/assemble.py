"""Turns and words from sidecars or models become one conversation with at most seven voices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from corpus.schemas.conversation import Conversation, Cue, Event, Turn, Word
from corpus.schemas.drops import Drop

MOST_SPEAKERS = 7


def _in_order_of_speech(turns: Sequence[Turn], words: Sequence[Word], known: Sequence[str]) -> list[str]:
    """Every speaker once, by first turn or timed word, followed by `known` ones who never speak."""
    first: dict[str, int] = {}
    for turn in turns:
        first[turn.speaker] = min(first.get(turn.speaker, turn.start_us), turn.start_us)
    for word in words:  # a word's time is less sure than a turn's: it only counts where there is no turn
        if word.start_us is not None:
            first.setdefault(word.speaker, word.start_us)
    spoken = sorted(first, key=lambda name: (first[name], name))
    silent = [word.speaker for word in words if word.speaker not in first]
    return list(dict.fromkeys([*spoken, *known, *silent]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What files and models say of a recording; who speaks there is not yet gathered."""

    recording: str
    duration_us: int
    turns: Sequence[Turn] = ()
    words: Sequence[Word] = ()
    cues: Sequence[Cue] = ()
    events: Sequence[Event] = ()
    speakers: Sequence[str] = ()
    """Those to keep even if silent: one per channel, or those listed in a file."""
    named_speakers: Sequence[str] = ()


def assemble(uri: str, draft: Draft) -> tuple[Conversation, list[Drop]]:
    """One conversation, without ids. Voices beyond the seventh are left out and reported."""
    spoken = _in_order_of_speech(draft.turns, draft.words, draft.speakers)
    others = [*(c.speaker for c in draft.cues), *(e.speaker for e in draft.events)]
    names = list(dict.fromkeys([*spoken, *(name for name in others if name is not None)]))
    # A clip's FLAC has eight channels: seven voices and the room.
    kept, drops = names, list[Drop]()
    if len(names) > MOST_SPEAKERS:
        kept, drops = _most_talkative(uri, names, draft.turns)
    keep = set(kept)
    return (
        Conversation(
            recording=draft.recording,
            duration_us=draft.duration_us,
            speakers=tuple(kept),
            turns=tuple(t for t in draft.turns if t.speaker in keep),
            words=tuple(w for w in draft.words if w.speaker in keep),
            cues=tuple(c for c in draft.cues if c.speaker is None or c.speaker in keep),
            events=tuple(e for e in draft.events if e.speaker is None or e.speaker in keep),
            named_speakers=tuple(n for n in dict.fromkeys(draft.named_speakers) if n in keep),
        ),
        drops,
    )


def _most_talkative(uri: str, names: Sequence[str], turns: Sequence[Turn]) -> tuple[list[str], list[Drop]]:
    talk_us: Counter[str] = Counter()
    for turn in turns:
        talk_us[turn.speaker] += turn.span.duration_us
    ranked = sorted(names, key=lambda name: (-talk_us[name], name))
    kept, out = set(ranked[:MOST_SPEAKERS]), ranked[MOST_SPEAKERS:]
    drop = Drop(
        item=uri,
        stage="label",
        kind="trim",
        code="too_many_speakers",
        reason=f"a clip holds {MOST_SPEAKERS} voices; those who talk least are left in the room: "
        + ", ".join(sorted(out)),
        count=len(out),
    )
    return [name for name in names if name in kept], [drop]
