"""A clip as one page: pictures, sound and labels on one time line, to see with one's own eyes and ears."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from corpus.pipeline.cache import write_atomic
from corpus.pipeline.pages.html import code, length, page, table, text
from corpus.pipeline.pages.png import data_uri
from corpus.pipeline.pages.timeline import FLAGS, WINDOW_PX, draw_timeline
from corpus.schemas.clock import US
from corpus.schemas.errors import UsageError

if TYPE_CHECKING:
    from corpus.schemas.clip import ClipHead
    from corpus.shards.read import Clip, Clips


def write_page(clip: Clip, path: Path) -> None:
    """Write the clip's page: about 3 MB for 30 s with pictures, and nothing else is needed to open it."""
    write_atomic(path, render(clip).encode())


def choose(clips: Clips, key: str | None) -> Clip:
    """The clip of that key, or of the one key that begins so; the first clip without a key.

    Raises:
        UsageError: no clip, or more than one, is meant.
    """
    keys = clips.keys()
    if not keys:
        raise UsageError("the dataset holds no clips", where=str(clips.path))
    meant = [k for k in keys if k.startswith(key or keys[0])]
    if key in clips or len(meant) == 1:
        return clips[key if key in clips else meant[0]]  # type: ignore[index]
    what = f"{len(meant)} clips begin with {key!r}" if meant else f"no clip begins with {key!r}"
    todo = f'the first is {keys[0]}; all: corpus catalog {clips.path} "SELECT clip_id, uri FROM clips"'
    raise UsageError(what, where=str(clips.path), todo=todo)


def render(clip: Clip) -> str:
    head = clip.json
    drawing, names = draw_timeline(clip)
    markup = "\n".join(
        (
            f'<div id="clip" data-windows="{head.windows}" data-window-us="{head.window_us}" '
            f'data-first-window="{head.first_window}" data-window-px="{WINDOW_PX}"></div>',
            _head(head),
            f"<main>{_stage(head)}</main>",
            f'<section class="time" aria-label="Time line">{names}<div class="lanes" tabindex="0">{drawing}</div></section>',
            f"<main>{_legend()}{_cues(head)}{_untimed(head)}{_facts(head)}</main><footer></footer>",
            _sounds(clip),
        )
    )
    return page(
        title=f"{head.source.uri} at {head.start_us / US:.1f} s",
        markup=markup,
        style=("style.css", "clip.css"),
        script="clip.js",
    )


def _head(head: ClipHead) -> str:
    span = f"{head.start_us / US:.1f} to {head.stop_us / US:.1f} s, windows {head.first_window} to {head.first_window + head.windows - 1}"
    return (
        f'<header><p class="over">Clip in {text(head.split)}</p><h1>{text(head.source.uri)}</h1>'
        f'<p class="lead">{text(span)}. <span class="mono">{text(head.key)}</span></p></header>'
    )


def _stage(head: ClipHead) -> str:
    names = ["Mix", *head.speakers, "Room"]
    buttons = "".join(
        f'<button type="button" data-sound aria-pressed="{"true" if i == 0 else "false"}">{text(name)}</button>'
        for i, name in enumerate(names)
    )
    screen = (
        '<div class="screen">no picture<img id="picture" alt="Picture of the current window" hidden></div>'
    )
    return (
        f'<div class="stage{"" if head.video else " sound"}">{screen if head.video else ""}<div>'
        '<p class="clock"><span id="clock">0:00.00</span><small id="place"></small></p>'
        '<p class="saying" id="saying" aria-live="off"></p>'
        f'<div class="controls" role="group" aria-label="Sound"><button type="button" class="play" id="play">Play</button>{buttons}</div>'
        '<p class="hint"><kbd>space</kbd> plays, <kbd>←</kbd> <kbd>→</kbd> go by one window, <kbd>Home</kbd> <kbd>End</kbd> '
        "to the edges, <kbd>1</kbd> … choose the sound, a click on the time line goes there.</p></div></div>"
    )


def _legend() -> str:
    items = "".join(
        f'<li><span class="key" style="background:rgb{colour}"></span>{text(name)}</li>'
        for _, name, colour in FLAGS
    )
    return f'<ul class="legend" aria-label="Flags, from top to bottom">{items}<li>italic words: time not measured</li></ul>'


def _cues(head: ClipHead) -> str:
    if not head.cues:
        return "<h2>Cues</h2><p class='soft'>None in this clip.</p>"
    rows = "".join(
        f'<tr data-us="{c.start_us}" tabindex="0"><td class="n">{c.start_us / US:.2f} s</td>'
        f'<td class="n">{text(length(c.stop_us - c.start_us))}</td><td>{text(c.label.replace("_", " "))}</td>'
        f"<td>{text(c.kind.replace('_', ' '))}</td><td>{text(c.speaker or '')}</td>"
        f'<td class="n">{c.confidence:.2f}</td><td>{code(c.origin)}</td><td><code class="wrap">{text(c.evidence)}</code></td></tr>'
        for c in head.cues
    )
    heads = ("Start", "Length", "Label", "Kind", "Speaker", "Confidence", "From", "Evidence")
    top = "".join(
        f'<th scope="col"{" class=n" if h in ("Start", "Length", "Confidence") else ""}>{h}</th>'
        for h in heads
    )
    return (
        '<h2>Cues</h2><div class="scroll"><table><caption>Those that overlap the clip; a click goes there.</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _untimed(head: ClipHead) -> str:
    words = [w for w in head.words if w.start_us is None]
    if not words:
        return ""
    said = " ".join(f"{text(w.text + w.after)}" for w in words)
    return f"<h2>Words without a time</h2><p>{said}</p>"


def _facts(head: ClipHead) -> str:
    source = head.source
    mel = f"{head.mel.bins} bins, {head.frames_per_window} frames a window, from {head.mel.low} in steps of {head.mel.step}"
    pairs = (
        ("Recording", head.recording),
        ("Licence", source.licence or "not stated"),
        ("Consent", source.consent or "not stated"),
        ("Sound", f"{head.sample_rate_hz} Hz, {len(head.speakers)} speakers and the room"),
        ("Mel", mel),
        ("Mix, sha256", head.mix_sha256),
        ("Configuration", head.config),
    )
    rows = [(text(name), f'<span class="mono">{text(value)}</span>') for name, value in pairs]
    return "<h2>The clip</h2>" + table(caption="What it is made of", head=("", ""), rows=rows)


def _sounds(clip: Clip) -> str:
    """The mix and each channel as FLAC; the mix is saturated to 16 bits only here, for the ear."""
    from corpus.shards.flac import encode_flac

    channels = clip.audio()
    mix = np.clip(channels.astype(np.int32).sum(axis=0), -32768, 32767).astype(np.int16)
    rate_hz = clip.json.sample_rate_hz
    return "".join(
        f'<audio preload="auto" src="{data_uri("audio/flac", encode_flac(one[None, :], rate_hz))}"></audio>'
        for one in (mix, *channels)
    )
