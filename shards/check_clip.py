"""Checking one clip against its form: JSON, sound, mel, flags, pictures, and its row in the index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from corpus.schemas.activity import OVERLAP, PADDED, SEPARATED, SPEECH, UNRELIABLE
from corpus.schemas.arrays import Int16Array, UInt8Array
from corpus.schemas.artifacts import PICTURE_NONE, PICTURE_STALE
from corpus.schemas.clip import MEMBERS, ClipHead, Video, clip_key
from corpus.schemas.clock import US, WINDOW_US, samples_per_window
from corpus.schemas.codec import from_json, to_json
from corpus.schemas.conversation import Answer, Cue, Event, Turn, Word
from corpus.schemas.errors import CorpusError, FormatError
from corpus.shards.columns import ClipRow
from corpus.shards.flac import MOST_CHANNELS, decode_flac
from corpus.shards.mel import BINS, MEL_FORM, MelShape, mel_bytes, mel_shape
from corpus.shards.npy import npy_view
from corpus.shards.pictures import PATCH
from corpus.shards.row import Place, clip_row
from corpus.shards.talk import talk_flags

BROKEN = (CorpusError, ValueError, TypeError, LookupError, ArithmeticError, OSError, MemoryError)
"""All exceptions that damaged bytes can cause: `verify` must report damage, never crash on it."""

_Found = tuple[str, str]
"""Code and sentence of a problem."""
_Item = Turn | Word | Cue | Answer | Event


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedClip:
    """What is needed to check the next clip of the same recording."""

    head: ClipHead
    tail: Int16Array
    """The last samples of each channel: the next clip's first mel frame covers them."""


def check_clip(
    data: memoryview, row: ClipRow, before: CheckedClip | None
) -> tuple[list[_Found], CheckedClip]:
    """All problems of the clip with the bytes `data`. Raises one of BROKEN if it cannot be read."""
    # Members by the index, as a reader finds them; check_shard compares the index with the tar itself.
    parts = {name: _member(data, row, place) for place, name in enumerate(MEMBERS)}
    text = bytes(parts["json"])
    head = from_json(ClipHead, text)
    faults = [*_head(head, text, row), *_items(head)]
    same = before is not None and before.head.recording == head.recording
    before = before if same else None
    if before is not None:
        faults += _follows(before.head, head)
    sound = decode_flac(parts["flac"])
    faults += _sound(sound, bytes(parts["flac"][:26]), head)
    flags = npy_view(parts["activity.npy"])
    faults += _flags(flags, head)
    # Recompute the mel from the decoded sound: a member of the right shape may be another clip's.
    faults += _mel(npy_view(parts["mel.npy"]), sound, _context(head, before), head)
    faults += _pictures(head, parts["mjpeg"])
    faults += _row(row, head, flags, sound)
    return faults, _kept(head, sound)


def read_clip(data: memoryview, row: ClipRow) -> CheckedClip:
    """What the next clip's check needs, without checking this clip. Raises one of BROKEN if unreadable."""
    parts = {name: _member(data, row, place) for place, name in enumerate(MEMBERS)}
    head = from_json(ClipHead, bytes(parts["json"]))
    return _kept(head, decode_flac(parts["flac"]))


def _kept(head: ClipHead, sound: Int16Array) -> CheckedClip:
    return CheckedClip(head=head, tail=sound[:, -_shape(head).context_samples :])


def _member(data: memoryview, row: ClipRow, place: int) -> memoryview:
    start, size = row.member_offsets[place] - row.offset, row.member_sizes[place]
    if start < 0 or size < 0 or start + size > len(data):
        raise FormatError(f"member {MEMBERS[place]} lies outside the clip")
    return data[start : start + size]


def _head(head: ClipHead, text: bytes, row: ClipRow) -> Iterator[_Found]:
    """The head is in canonical form and its figures agree."""
    # Only for the current form: an older one cannot be written back byte for byte.
    if to_json(head).encode() != text and json.loads(text)["schema"] == head.schema:
        yield "json_form", "the JSON is not the text corpus writes for it"
    start_us = head.first_window * WINDOW_US
    expected = (row.key, head.source.sha256, WINDOW_US, MEL_FORM, start_us)
    declared = (head.key, head.recording, head.window_us, head.mel, head.start_us)
    if declared != expected or head.key != clip_key(head.recording, head.first_window):
        yield "head", f"key, recording, window, mel or start are {declared}, expected {expected}"
    if head.frames_per_window not in (8, 16):
        yield "head", f"{head.frames_per_window} frames a window, must be 8 or 16"
    if head.windows < 1 or head.stop_us != start_us + head.windows * WINDOW_US:
        yield "times", f"{head.windows} windows from {head.start_us} us do not end at {head.stop_us} us"
    if len(set(head.speakers)) != len(head.speakers) or len(head.speakers) >= MOST_CHANNELS:
        yield "speakers", f"{head.speakers} must be at most {MOST_CHANNELS - 1} different names"


def _items(head: ClipHead) -> Iterator[_Found]:
    """Turns, words, cues and events have ids and reach into the clip."""
    for name in ("turns", "words", "cues", "answers", "events"):
        items: Sequence[_Item] = getattr(head, name)
        if len({item.id for item in items}) != len(items) or any(not item.id for item in items):
            yield "ids", f"{name} without an id, or with the same"
        for item in items:
            if not _reaches(item, head.start_us, head.stop_us):
                yield "span", f"{item.id} lies outside the clip"


def _reaches(item: _Item, start_us: int, stop_us: int) -> bool:
    span = item.span
    if span is None:
        return False
    return span.start_us < stop_us and (span.stop_us > start_us or span.start_us >= start_us)


def _follows(before: ClipHead, head: ClipHead) -> Iterator[_Found]:
    """Clips of a recording do not overlap, agree about speakers, and share what crosses their border."""
    if head.first_window < before.first_window + before.windows:
        yield "windows", f"overlaps the clip {before.key} before it"
    if (head.speakers, head.sample_rate_hz) != (before.speakers, before.sample_rate_hz):
        yield "speakers", f"speakers or sample rate differ from the clip {before.key} before it"
    for name in ("turns", "words", "cues", "answers", "events"):
        here: set[_Item] = set(getattr(head, name))
        there: set[_Item] = set(getattr(before, name))
        # Items that reach into both clips must be in both, and equal: the symmetric difference is the fault.
        crossing = {item for item in there if _reaches(item, head.start_us, head.stop_us)}
        crossing ^= {item for item in here if _reaches(item, before.start_us, before.stop_us)}
        if crossing:
            ids = ", ".join(sorted(item.id for item in crossing))
            yield "border", f"{name} {ids} cross the border to {before.key} but are not the same in both"


def _sound(sound: Int16Array, stream_info: bytes, head: ClipHead) -> Iterator[_Found]:
    expected = (len(head.speakers) + 1, head.windows * samples_per_window(head.sample_rate_hz))
    if sound.shape != expected:
        yield "sound_shape", f"FLAC holds {sound.shape}, expected channels and samples {expected}"
    # STREAMINFO: the sample rate is the upper 20 bits of these three bytes.
    rate_hz = int.from_bytes(stream_info[18:21], "big") >> 4
    if rate_hz != head.sample_rate_hz:
        yield "sample_rate", f"FLAC is at {rate_hz} Hz, the head says {head.sample_rate_hz}"
    # Little endian, whatever the machine: the digest is of these bytes.
    mix = sound.sum(axis=0, dtype=np.int32).astype("<i4")
    if hashlib.sha256(mix.tobytes()).hexdigest() != head.mix_sha256:
        yield "mix", "the channels' sum is not the mix"


def _flags(flags: UInt8Array, head: ClipHead) -> Iterator[_Found]:
    """SPEECH where a speaker's turns cover half a frame, OVERLAP where another's SPEECH stands too."""
    expected = (len(head.speakers) + 1, head.windows, head.frames_per_window)
    if flags.shape != expected:
        yield "activity_shape", f"activity is {flags.shape}, expected {expected}"
        return
    if int((flags & ~np.uint8(SPEECH | OVERLAP | SEPARATED | UNRELIABLE | PADDED)).max()):
        yield "activity", "unknown flags are set"
    truth = talk_flags(head.turns, head.speakers, head.start_us, head.windows, head.frames_per_window)
    for name, bit in (("speech", SPEECH), ("overlap", OVERLAP)):
        wrong = int(np.count_nonzero((flags ^ truth) & bit))
        if wrong:
            yield "activity", f"{wrong} frames contradict the turns about {name}"


def _shape(head: ClipHead) -> MelShape:
    return mel_shape(head.sample_rate_hz, head.frames_per_window)


def _context(head: ClipHead, before: CheckedClip | None) -> Int16Array | None:
    """What sounds before the clip: zeros before the recording, None where it is not known."""
    shape = (len(head.speakers) + 1, _shape(head).context_samples)
    if head.first_window == 0:
        return np.zeros(shape, np.int16)
    if before is None or before.head.first_window + before.head.windows != head.first_window:
        return None
    return before.tail if before.tail.shape == shape else None


def _mel(mel: UInt8Array, sound: Int16Array, context: Int16Array | None, head: ClipHead) -> Iterator[_Found]:
    expected = (len(sound), head.windows, head.frames_per_window, BINS)
    if mel.shape != expected:
        yield "mel_shape", f"mel is {mel.shape}, expected {expected}"
        return
    shape = _shape(head)
    before = np.zeros((len(sound), shape.context_samples), np.int16) if context is None else context
    again = mel_bytes(np.concatenate([before, sound], axis=1), head.sample_rate_hz, head.frames_per_window)
    rows, truth = (m.reshape(len(sound), -1, BINS) for m in (mel, again))
    # Without the sound before the clip, frames that look back on it cannot be judged.
    first = 0 if context is not None else -(-shape.context_samples // shape.hop_samples)
    wrong = int(np.count_nonzero((rows[:, first:] != truth[:, first:]).any(axis=-1)))
    if wrong:
        yield "mel", f"{wrong} frames are not the mel of the sound"


def _pictures(head: ClipHead, mjpeg: memoryview) -> Iterator[_Found]:
    """The JPEGs tile the member, have the head's size, and were presented before their window's end."""
    video = head.video
    if video is None:
        if len(mjpeg):
            yield "pictures", "there are pictures in a clip without video"
        return
    lists = (video.offsets, video.sizes, video.pts_us, video.flags)
    if {len(values) for values in lists} != {head.windows}:
        yield "pictures", "offsets, sizes, pts_us and flags must each have one entry per window"
        return
    if min(video.width, video.height) < 1 or video.width % PATCH or video.height % PATCH:
        yield "picture_size", f"{video.width}x{video.height} is not a multiple of {PATCH}"
    at, last_us = 0, -1
    for k in range(head.windows):
        what = _picture(head, video, k, mjpeg, at, last_us)
        if what:
            yield "pictures", f"window {k}: {what}"
        at += max(0, video.sizes[k])
        last_us = max(last_us, video.pts_us[k])
    if at != len(mjpeg):
        yield "pictures", f"the JPEGs end at byte {at} of {len(mjpeg)}"


def _picture(head: ClipHead, video: Video, k: int, mjpeg: memoryview, at: int, last_us: int) -> str | None:
    """What is wrong with window k's picture, which must stand at `at` and not be older than `last_us`."""
    offset, size, pts_us, flags = video.offsets[k], video.sizes[k], video.pts_us[k], video.flags[k]
    if flags & ~(PICTURE_NONE | PICTURE_STALE):
        return f"unknown flags {flags}"
    if bool(flags & PICTURE_NONE) != (size == 0):
        return "the flag for no picture contradicts its size"
    if size == 0:
        return None if (offset, pts_us) == (-1, -1) else "no picture, yet it has an offset or a time"
    if offset != at or size < 0 or at + size > len(mjpeg):
        return f"its JPEG must stand at byte {at}"
    jpeg = bytes(mjpeg[at : at + size])
    if jpeg[:2] != b"\xff\xd8" or jpeg[-2:] != b"\xff\xd9":
        return "its bytes are no whole JPEG"
    if _jpeg_size(jpeg) != (video.width, video.height):
        return f"its JPEG is {_jpeg_size(jpeg)}, not {(video.width, video.height)}"
    age_us = head.start_us + (k + 1) * WINDOW_US - pts_us
    if pts_us < max(0, last_us) or age_us <= 0:
        return f"presented at {pts_us} us: after the window's end, or before an earlier picture"
    # A picture of exactly a second is on the line, and either way is right.
    if (age_us > US and not flags & PICTURE_STALE) or (age_us < US and flags & PICTURE_STALE):
        return f"is {age_us} us old, which its flags contradict"
    return None


def _jpeg_size(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height from the frame header; None where there is none."""
    at = 2
    while at + 9 <= len(jpeg) and jpeg[at] == 0xFF:
        marker, length = jpeg[at + 1], int.from_bytes(jpeg[at + 2 : at + 4], "big")
        # SOF markers; C4, C8 and CC are Huffman tables, reserved and arithmetic coding.
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(jpeg[at + 7 : at + 9], "big"), int.from_bytes(jpeg[at + 5 : at + 7], "big")
        at += 2 + length
    return None


def _row(row: ClipRow, head: ClipHead, flags: UInt8Array, sound: Int16Array) -> Iterator[_Found]:
    """The row in the index says what the clip holds."""
    place = Place(
        offset=row.offset,
        size=row.size,
        member_offsets=row.member_offsets,
        member_sizes=row.member_sizes,
        sha256=row.sha256,
    )
    again = clip_row(
        head,
        place,
        flags,
        sound.sum(axis=0, dtype=np.int32),
        conversation=row.conversation,
        named_speakers=row.named_speakers,
    )
    wrong = [
        name
        for name in ClipRow.__dataclass_fields__
        if name != "shard" and getattr(row, name) != getattr(again, name)
    ]
    if wrong:
        yield "row", f"clips.parquet contradicts the clip about {', '.join(wrong)}"
