"""A clip as one HTML page: pictures, sound, mel, words, turns and cues on one time line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from corpus.report.pages import lanes
from corpus.report.pages.faces import LABEL, frames_of_faces
from corpus.report.pages.joints import LABELS, lines_of_joints
from corpus.report.pages.lanes import Axis, clock
from corpus.report.pages.markup import Markup, asset, data_uri, el, join, page
from corpus.report.pages.tables import Column, table
from corpus.schemas.arrays import Int16Array, UInt8Array
from corpus.schemas.clip import ClipHead
from corpus.schemas.clock import samples_per_window
from corpus.schemas.errors import DatasetError, FormatError
from corpus.schemas.files import storage_errors, write_whole
from corpus.shards.flac import encode_flac
from corpus.shards.read import Clip, open_clips


def find_clip(out: Path | str, key: str | None) -> Clip:
    """The clip with this name, resolved by `Clips.find`; the first clip without a name.

    Raises:
        DatasetError: no dataset in the folder or at the URL, or one without clips.
        UsageError: no clip, or more than one, has this name.
    """
    clips = open_clips(out)
    if not len(clips):
        raise DatasetError(
            "the dataset holds no clips", where=str(clips.path), todo="see report.html for why"
        )
    return clips[0] if key is None else clips.find(key)


def write_clip_page(clip: Clip, path: Path) -> None:
    """Write the clip's page, which needs only a browser.

    Raises:
        FormatError: a member of the clip is damaged.
        StorageError: the page cannot be written.
    """
    content = clip_page(clip).encode()
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)


def clip_page(clip: Clip) -> str:
    head = clip.json
    sound, mel, activity = clip.audio(), clip.mel(), clip.activity()
    names = (*head.speakers, "room")
    samples = head.windows * samples_per_window(head.sample_rate_hz)
    _check_shape("flac", sound.shape, (len(names), samples), head)
    _check_shape("mel.npy", mel.shape[:2], (len(names), head.windows), head)
    _check_shape("activity.npy", activity.shape[:2], (len(names), head.windows), head)
    body = el(
        "main",
        _header(head),
        _stage(head, names),
        _time_line(clip, head, _Channels(names, sound, mel, activity)),
        _below(clip, head),
        join(_sounds(head, sound, names)),
        class_="clip",
    )
    return page(head.key, body, styles=("page.css", "clip.css"), script=asset("clip.js"))


def _check_shape(member: str, shape: tuple[int, ...], expected: tuple[int, ...], head: ClipHead) -> None:
    if shape != expected:
        where = f"{head.key}.{member}"
        raise FormatError(f"holds {shape} values, {head.key}.json says {expected}", where=where)


class _Channels(NamedTuple):
    """Of the speakers in order, then the room."""

    names: tuple[str, ...]
    sound: Int16Array
    mel: UInt8Array
    activity: UInt8Array


def _header(head: ClipHead) -> Markup:
    place = f"{head.source.uri}, {clock(head.start_us)} to {clock(head.stop_us)}"
    size = f"{head.windows} windows from {head.first_window}, {head.split}"
    return el("header", el("h1", head.key), el("p", f"{place} · {size}", class_="lead"))


def _stage(head: ClipHead, names: tuple[str, ...]) -> Markup:
    """The picture and the words of the moment, and what plays them."""
    screen = Markup("")
    if head.video is not None:
        still = el("img", id="screen", src="data:,", alt="picture of the window", width=head.video.width,
                   height=head.video.height, style="visibility:hidden")  # fmt: skip
        faces = el("div", id="faces", data_faces=frames_of_faces(head))
        joints = el("svg", id="joints", data_joints=lines_of_joints(head), viewBox="0 0 100 100",
                    preserveAspectRatio="none", aria_hidden="true")  # fmt: skip
        screen = el("div", still, joints, faces, class_="screen")
    choices = [
        el("button", name, type="button", data_sound=n, aria_pressed="true" if n == 0 else "false")
        for n, name in enumerate(("mix", *names))
    ]
    said = [
        el(
            "p",
            el("b", name),
            el("span"),
            class_=f"{lanes.tone_of(name, head.speakers)} off",
            data_speaker=name,
        )
        for name in head.speakers
    ]
    keys = (("space", "play"), ("← →", "one window"), ("Home End", "ends"), ("+ −", "zoom"), ("0–9", "sound"))
    return el(
        "div",
        screen,
        el(
            "div",
            el("div", el("span", id="time"), el("small", id="window"), class_="clock"),
            el(
                "div",
                el("button", "Play", id="play", type="button"),
                el("span", "hear", class_="gapped"),
                *choices,
                el("span", "zoom", class_="gapped"),
                el("button", "−", id="out", type="button", aria_label="zoom out"),
                el("button", "+", id="in", type="button", aria_label="zoom in"),
                class_="controls",
            ),
            el("div", *said, class_="said"),
            el("div", id="doing", class_="doing"),
            el("div", join(_keys(keys)), class_="keys"),
            class_="now",
        ),
        class_="stage",
    )


def _keys(keys: tuple[tuple[str, str], ...]) -> list[Markup]:
    return [join((el("kbd", key), f" {meaning}   ")) for key, meaning in keys]


def _time_line(clip: Clip, head: ClipHead, channels: _Channels) -> Markup:
    axis = Axis(head)
    rows = [lanes.ruler(axis)]
    ratio = 0.625
    if head.video is not None:
        jpegs = [clip.jpeg(k) for k in range(head.windows)]
        rows.append(lanes.pictures(axis, jpegs, head.video.flags))
        ratio = head.video.height / head.video.width
    rows += lanes.cue_rows(axis, head.cues, head.speakers)
    drawn = {LABEL, *LABELS}  # over the picture, where they are
    rows += lanes.event_rows(axis, [e for e in head.events if e.label not in drawn], head.speakers)
    full = lanes.full_height(channels.sound, head.windows)
    for channel, name in enumerate(channels.names):
        speaker = name if channel < len(head.speakers) else None
        tone = lanes.tone_of(speaker, head.speakers)
        turns = lanes.turns_of(axis, (t for t in head.turns if t.speaker == speaker))
        wave = lanes.waveform(channels.sound[channel], head.windows, full)
        rows.append(lanes.row(name, turns, wave, kind="voice", tone=tone))
        if speaker is not None:
            words = lanes.words_of(axis, (w for w in head.words if w.speaker == speaker))
            rows.append(lanes.row("words", words, kind="words", tone=tone))
        rows.append(lanes.row("dMel", lanes.dmel_image(channels.mel[channel], name), kind="mel"))
        rows.append(
            lanes.row("activity", lanes.activity_image(channels.activity[channel], name), kind="flagged")
        )
    playhead = el("div", id="head", class_="head")
    line = el(
        "div",
        *rows,
        playhead,
        id="line",
        class_="line",
        style=f"--n:{head.windows};--ratio:{ratio:.4f}",
        data_windows=head.windows,
        data_start=f"{head.start_us / 1e6:.6f}",
        data_first=axis.seconds(_first_speech_us(head)),
    )
    return el("div", line, id="scroll", class_="scroll", tabindex="0", role="region", aria_label="time line")


def _first_speech_us(head: ClipHead) -> int:
    """Where the page opens: the window in which the first turn of the clip begins."""
    starts = [max(turn.start_us, head.start_us) for turn in head.turns]
    first_us = min(starts, default=head.start_us)
    return first_us - (first_us - head.start_us) % head.window_us


def _sounds(head: ClipHead, sound: Int16Array, names: tuple[str, ...]) -> list[Markup]:
    """The mix and every channel as FLAC. The mix may leave 16 bits and is kept within for listening only."""
    mix = np.clip(sound.sum(0, dtype=np.int32), -32768, 32767).astype(np.int16)
    return [
        el(
            "audio",
            preload="auto",
            aria_label=name,
            src=data_uri("audio/flac", encode_flac(samples[None], head.sample_rate_hz)),
        )
        for name, samples in zip(("mix", *names), (mix, *sound), strict=True)
    ]


def _below(clip: Clip, head: ClipHead) -> Markup:
    """How to read the lanes, the words as text, and what the clip says of itself."""
    flags = [
        el("li", Markup(f'<i style="background:rgb({r},{g},{b})"></i>'), name)
        for _, name, (r, g, b, _) in lanes.FLAGS
    ]
    source = head.source
    facts = table(
        "Facts",
        (Column(""), Column("", "words")),
        [
            ("source", source.uri),
            ("recording", source.sha256),
            ("licence", source.licence or "not stated"),
            ("consent", source.consent or "not stated"),
            ("sound", f"{head.sample_rate_hz} Hz, {len(head.speakers)} voices and the room"),
            (
                "overlaps",
                head.separation.reason if head.separation else "none, or whole in each one's channel",
            ),
            ("picture", f"{head.video.width}x{head.video.height}" if head.video else "none"),
            ("settings", head.config),
        ],
    )
    head_text = clip.json_bytes.decode("utf-8", "replace")
    return el(
        "div",
        el("p", "Activity, from the top:", class_="note"),
        el("ul", *flags, class_="key"),
        _transcript(head),
        _cues(head),
        facts,
        el("details", el("summary", "The clip's JSON"), el("pre", el("code", head_text))),
        class_="below",
    )


def _transcript(head: ClipHead) -> Markup:
    """Every turn with its words: the time line as text."""
    rows = []
    for turn in head.turns:
        words = [
            word.text + word.after
            for word in head.words
            if word.speaker == turn.speaker
            and word.start_us is not None
            and turn.start_us <= word.start_us < turn.stop_us
        ]
        who = el("span", turn.speaker, class_=f"who {lanes.tone_of(turn.speaker, head.speakers)}")
        rows.append((f"{clock(turn.start_us)} – {clock(turn.stop_us)}", who, " ".join(words)))
    timeless = [w for w in head.words if w.start_us is None]
    for word in timeless:
        rows.append(("time unknown", el("span", word.speaker, class_="who"), word.text + word.after))
    columns = (Column("time"), Column("who"), Column("words", "words"))
    return el("div", table("Turns", columns, rows), class_="transcript")


def _cues(head: ClipHead) -> Markup:
    columns = (*(Column("time"), Column("who"), Column("cue")), Column("sure", "n"), Column("origin"))
    rows = [
        (
            f"{clock(cue.start_us)} – {clock(cue.stop_us)}",
            el("span", cue.speaker or "nobody", class_=f"who {lanes.tone_of(cue.speaker, head.speakers)}"),
            f"{cue.label} {cue.kind}".strip().replace("_", " "),
            f"{cue.confidence:.2f}",
            cue.origin,
        )
        for cue in head.cues
    ]
    return el("div", table("Cues", columns, rows) if rows else Markup(""), class_="transcript")
