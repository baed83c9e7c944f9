"""Which labels can be made for a conversation, and why the others cannot."""

from __future__ import annotations

from dataclasses import replace

from corpus.schemas.conversation import CUE_KINDS, Conversation, LabelMade
from corpus.schemas.turn_taking import normal

_LEXICAL = ("hesitation", "self_correction", "invitation", "thinking")
_OF_TWO = ("yield", "invitation", "backchannel", "interruption", "overlap")
_OF_TURNS = ("yield", "hold", "backchannel", "interruption", "overlap", "invitation")
TOLD = "told by the recording's own file"
"""The reason given for a label that no labeler made."""
_FEWEST_WORDS = 30
"""With fewer words the language cannot be determined."""
_ENGLISH_SHARE = 0.2
_ENGLISH = frozenset(
    (
        *(
            "the",
            "a",
            "and",
            "to",
            "of",
            "i",
            "you",
            "it",
            "that",
            "is",
            "in",
            "we",
            "so",
            "for",
            "this",
            "on",
        ),
        *("be", "have", "do", "but", "what", "are", "with", "they", "was", "not", "can", "if", "at", "it's"),
        *("that's", "there", "about", "would", "or", "all", "i'm", "don't", "just", "like", "know", "think"),
        *("yeah", "yes", "okay", "uh", "um", "mm-hmm", "well", "right", "oh", "hello", "my", "your", "me"),
    )
)
"""Common English words; in English speech about half of all words are on this list."""


def labels_made(conversation: Conversation) -> tuple[LabelMade, ...]:
    """One entry per label, in the order of `CUE_KINDS`."""
    return tuple(_made(label, _why_not(label, conversation)) for label in CUE_KINDS)


def knows_language(conversation: Conversation) -> bool:
    """Whether the words are English, the only language of the lexical labelers; assumed if too few."""
    said = [normal(word.text) for word in conversation.words]
    return len(said) < _FEWEST_WORDS or sum(text in _ENGLISH for text in said) >= _ENGLISH_SHARE * len(said)


def _made(label: str, reason: str) -> LabelMade:
    return LabelMade(label=label, made=not reason, reason=reason)


def _why_not(label: str, told: Conversation) -> str:
    """Why a label cannot be made; "" where it can."""
    if label == "visual":
        return "nothing was looked at: the recording has no features of the picture"
    if label in _OF_TURNS and not any(turn.span for turn in told.turns):
        return "nobody is known to talk: there are no turns"
    if label in _OF_TWO and len({turn.speaker for turn in told.turns}) < 2:
        return "only one person talks"
    if label in _LEXICAL:
        if not told.words:
            return "there are no words"
        if all(word.start_us is None for word in told.words):
            return "the words have no times"
        if not knows_language(told):
            return "the words are not English, the only language these labelers know"
    return ""


def with_reasons(conversation: Conversation, told: frozenset[str]) -> Conversation:
    """The conversation with the labels that were looked for; those covered by its file count as made."""
    labels = [
        LabelMade(label=m.label, made=True, reason=TOLD) if m.label in told else m
        for m in labels_made(conversation)
    ]
    return replace(conversation, labels_made=tuple(labels))
