"""Writers of other tools' JSON: Moshi, WhisperX, Emilia, Label Studio; and of conversation JSON."""

from __future__ import annotations

import json
from typing import Any

from corpus.align.formats.label_studio import NOBODY
from corpus.align.formats.outgoing import Said, fitting, sound_words, utterances, without_place, written
from corpus.schemas.codec import to_json
from corpus.schemas.conversation import Conversation, Word
from corpus.schemas.drops import Drop


def write_conversation(talk: Conversation) -> tuple[str, list[Drop]]:
    """`corpus.conversation/2`, which holds all there is."""
    return to_json(talk, indent=1) + "\n", []


def write_moshi(talk: Conversation) -> tuple[str, list[Drop]]:
    """The words; who talks without words is left out."""
    words, drops = sound_words(talk)
    rows = [[written(word), _times(word), word.speaker] for word in words]
    return _text({"alignments": rows}), [*drops, *without_place(talk, "turns")]


def write_whisperx(talk: Conversation) -> tuple[str, list[Drop]]:
    """Turns as segments with their words; a confidence is a word's `score`."""
    said, drops = utterances(talk)
    segments = [{**_region(each), "words": [_word(word) for word in each.words]} for each in said]
    words = [word for segment in segments for word in segment["words"]]
    return _text({"segments": segments, "word_segments": words}), [*drops, *without_place(talk)]


def _word(word: Word) -> dict[str, Any]:
    start, stop = _times(word)
    plain: dict[str, Any] = {"word": written(word), "start": start, "end": stop}
    if word.confidence is not None:
        plain["score"] = word.confidence
    return {**plain, "speaker": word.speaker}


def write_emilia(talk: Conversation) -> tuple[str, list[Drop]]:
    """Turns with their texts."""
    said, drops = utterances(talk)
    return _text([_region(each) for each in said]), [*drops, *without_place(talk)]


def write_label_studio(talk: Conversation) -> tuple[str, list[Drop]]:
    """One task whose annotation holds a labelled region and a text for every turn."""
    names, renamed = fitting(talk, lambda name: f"{name}_" if name.lower() in NOBODY else name)
    said, drops = utterances(talk)
    result: list[dict[str, Any]] = []
    for number, each in enumerate(said):
        times = {"start": each.span.start_us / 1e6, "end": each.span.stop_us / 1e6, "channel": 0}
        head = {"id": f"turn{number}", "to_name": "audio", "original_length": talk.duration_us / 1e6}
        label = {"from_name": "labels", "type": "labels", "value": {**times, "labels": [names[each.speaker]]}}
        text = {"from_name": "transcription", "type": "textarea", "value": {**times, "text": [each.text]}}
        result += [{**head, **label}, {**head, **text}]
    task = {"data": {"audio": talk.recording}, "annotations": [{"result": result}]}
    return _text([task]), [*renamed, *drops, *without_place(talk)]


def _region(said: Said) -> dict[str, Any]:
    times = {"start": said.span.start_us / 1e6, "end": said.span.stop_us / 1e6}
    return {"text": said.text, **times, "speaker": said.speaker}


def _times(word: Word) -> list[float]:
    assert word.start_us is not None and word.stop_us is not None
    return [word.start_us / 1e6, word.stop_us / 1e6]


def _text(plain: object) -> str:
    return json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=1) + "\n"
