"""Recordings and annotations that make no sense: built, flagged, no time outside the sound. No models run."""

from __future__ import annotations

import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.shards.read import open_clips
from corpus.shards.verify import verify_dataset

Run = Callable[..., Any]


def sound(folder: Path, name: str, seconds: float) -> None:
    at = np.arange(int(seconds * 16_000))
    pitch_hz = 200 + sum(map(ord, name)) % 100  # no two are duplicates
    samples = (3000 * np.sin(2 * np.pi * pitch_hz * at / 16_000)).astype("<i2")
    with wave.open(str(folder / f"{name}.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(samples.tobytes())


def talk(folder: Path, name: str, seconds: float, turns: list[Any], words: list[Any], told_s: float) -> None:
    sound(folder, name, seconds)
    told = {"schema": "corpus.conversation/2", "recording": name, "duration_us": int(told_s * 1e6)}
    told["speakers"] = sorted({item["speaker"] for item in (*turns, *words)})
    (folder / f"{name}.json").write_text(json.dumps({**told, "turns": turns, "words": words}))


def item(speaker: str, start_s: float, stop_s: float, text: str | None = None) -> dict[str, Any]:
    times = {"speaker": speaker, "start_us": int(start_s * 1e6), "stop_us": int(stop_s * 1e6)}
    return times if text is None else {**times, "text": text}


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    sound(folder, "two_seconds", 2.0)
    sound(folder, "no_window", 0.15)
    sound(folder, "nine", 19.0)
    lines = [f"SPEAKER nine 1 {2 * i} {1.9 - 0.1 * i} <NA> <NA> P{i} <NA> <NA>\n" for i in range(9)]
    (folder / "nine.rttm").write_text("".join(lines))
    talk(folder, "an_hour", 6.0, [item("A", 0, 3600)], [item("A", 3000, 3001, "late")], 3600)
    twice = [item("A", 1, 2.5, "one"), item("A", 1.5, 2, "two"), item("A", 1.5, 2, "two")]
    talk(folder, "overlapping", 6.0, [item("A", 0.9, 3), item("A", 2, 4)], twice, 6)
    long = [item("A", 1, 2.5, "x" * 200), item("A", 2.6, 2.7, "语" * 200)]
    talk(folder, "long_words", 6.0, [item("A", 0.9, 3)], long, 6)
    sound(folder, "scripts", 6.0)
    (folder / "scripts.stm").write_text("scripts 1 A 1 4 <o> 你好 世界 привет мир שלום\n")
    return folder


def test_all_are_built_flagged_and_inside_their_sound(bad: Path, tmp_path: Path, run_build: Run) -> None:
    out = tmp_path / "out"
    outcome = run_build(bad, out=out)
    # `recordings` counts those that have a clip: 0.15 s hold no window
    assert outcome.recordings == 6
    told = {(drop.item.removesuffix(".wav"), drop.code) for drop in outcome.drops}
    assert told >= {
        ("an_hour", "duration_differs"),
        ("an_hour", "past_the_end"),
        ("an_hour", "clipped_at_end"),
        ("nine", "too_many_speakers"),
        ("overlapping", "overlapping_words"),
        ("long_words", "very_long_words"),
        ("no_window", "last_partial_window"),
    }
    assert verify_dataset(out).problems == ()
    lengths = {"an_hour": 6.0, "nine": 19.0, "overlapping": 6.0, "long_words": 6.0, "scripts": 6.0}
    for clip in open_clips(out):
        name = clip.json.source.uri.removesuffix(".wav")
        for one in (*clip.json.turns, *clip.json.words):
            assert one.stop_us is not None and one.stop_us <= lengths[name] * 1e6 + 1000
        if name == "scripts" and clip.json.words:
            assert {word.timing for word in clip.json.words} == {"interpolated"}
        if name == "long_words" and clip.json.words:
            assert {len(word.text) for word in clip.json.words} == {200}


def test_the_poor_ones_are_named_at_the_end(bad: Path, tmp_path: Path, run_build: Run) -> None:
    outcome = run_build(bad, out=tmp_path / "out")
    said = {line.partition(": ")[0]: line.partition(": ")[2] for line in outcome.poor}
    assert said["no speech was found"] == "no_window.wav, two_seconds.wav"
    assert said["one voice only"] == "an_hour.wav, long_words.wav, overlapping.wav, scripts.wav"
    assert (tmp_path / "out" / "report.html").read_text().count("one voice only") == 1
