"""What the trainer needs of a clip's head, read in a fraction of the whole head's time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from corpus.schemas.clip import CLIP_FORM, ClipHead, MelForm, check_ranges
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.codec import reads
from corpus.schemas.errors import DatasetError, FormatError
from corpus.shards.mel import MEL_FORM
from corpus.shards.read import Clip
from corpus.trainer.config import DataConfig, ModelConfig
from corpus.trainer.data.text import BYTES, Tokenizer, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a plan needs of a clip's head: read without its turns and cues, which are most of it."""

    key: str
    first_window: int
    windows: int
    sample_rate_hz: int
    frames_per_window: int
    mel: MelForm
    speakers: tuple[str, ...]
    picture: tuple[int, int]
    """Width and height, (0, 0) without video."""
    picture_sizes: tuple[int, ...]
    """Bytes of each window's picture."""
    words: tuple[tuple[str, int, int, str, Tokens], ...]
    """Speaker, start, stop, id and tokens, in the order of these."""
    events: tuple[tuple[str | None, int, int, str, Tokens], ...]
    """The events that come with a text, likewise."""

    def window(self, time_us: int) -> int:
        return time_us // WINDOW_US - self.first_window


def read_head(clip: Clip, tokenizer: Tokenizer = BYTES) -> Head:
    """The head of a clip, some ten times faster than `clip.json`: every rank plans every document.

    Raises:
        FormatError: not the head of a clip of this version.
    """
    try:
        plain = json.loads(clip.json_bytes)
        if not reads(ClipHead, plain["schema"]):
            raise ValueError(f"is {plain['schema']}, not {CLIP_FORM}")
        check_ranges(plain)
        video = plain["video"] or {"width": 0, "height": 0, "sizes": ()}
        _only(int, (video["width"], video["height"], *video["sizes"]))
        _only(str, plain["speakers"])
        words = [(word, tokenizer.word(word["text"], word["after"])) for word in plain["words"]]
        events = [(event, _told(event["payload"], tokenizer)) for event in plain["events"]]
        return Head(
            key=clip.key,
            first_window=plain["first_window"],
            windows=plain["windows"],
            sample_rate_hz=plain["sample_rate_hz"],
            frames_per_window=plain["frames_per_window"],
            mel=MelForm(**plain["mel"]),
            speakers=tuple(plain["speakers"]),
            picture=(video["width"], video["height"]),
            picture_sizes=tuple(video["sizes"]),
            words=_in_order(words),
            events=_in_order(events),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(f"the head cannot be read: {error}", where=f"{clip.key}.json") from error


def view_id(key: str, channel: int) -> str:
    """The name of a document: a clip from the view of the speaker on a channel."""
    return f"{key}/{channel}"


def _in_order(
    items: Iterable[tuple[dict[str, Any], Tokens]],
) -> tuple[tuple[Any, int, int, str, Tokens], ...]:
    keyed = [
        (item["speaker"], item["start_us"], item["stop_us"], item["id"], tokens)
        for item, tokens in items
        if tokens and item["start_us"] is not None
    ]
    _only(int, (time for item in keyed for time in item[1:3]))
    _only(str, (item[3] for item in keyed))
    return tuple(sorted(keyed, key=lambda item: item[1:4]))


def _only(kind: type, values: Iterable[object]) -> None:
    for value in values:
        if type(value) is not kind:
            raise TypeError(f"{value!r:.60} is not of type {kind.__name__}")


def _told(payload: str, tokenizer: Tokenizer) -> Tokens:
    """Tokens of an event's text, the string `text` in its payload; none without one."""
    plain = json.loads(payload)
    text = plain.get("text") if isinstance(plain, dict) else None
    return tokenizer.event(text) if isinstance(text, str) and text else ()


def check_head(head: Head, model: ModelConfig, data: DataConfig) -> None:
    """Refuse a clip whose sound or pictures do not have the form that the model is made for."""
    if head.mel != MEL_FORM or head.mel.bins != model.mel_bins:
        raise DatasetError(
            f"mel of {head.mel.bins} bins from {head.mel.low} in steps of {head.mel.step}; the model needs "
            f"{model.mel_bins} bins, this version {MEL_FORM.low} and {MEL_FORM.step}",
            where=head.key,
            todo="build the dataset again with this version",
        )
    if head.frames_per_window != model.frames_per_window:
        raise DatasetError(
            f"{head.frames_per_window} frames a window, the model has {model.frames_per_window}",
            where=head.key,
            todo=f"set model.frames_per_window={head.frames_per_window}, or build the dataset again",
        )
    side = model.patch_pixels
    seen = (model.picture_columns * side, model.picture_rows * side)
    if head.picture_sizes and data.pictures and model.patches and head.picture != seen:
        width, height = head.picture
        rows, columns = height // side, width // side
        raise DatasetError(
            f"pictures of {width} x {height}, the model sees {seen[0]} x {seen[1]}",
            where=head.key,
            todo=f"set model.picture_rows={rows} model.picture_columns={columns}, or data.pictures=false",
        )
