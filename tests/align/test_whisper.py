"""What is given to the recogniser's network, and what is asked again."""

from __future__ import annotations

import time
import wave
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("faster_whisper")

from faster_whisper import WhisperModel

from corpus.align.languages import LOOPING
from corpus.align.score import Said, compare, figures
from corpus.align.sidecars import read_sidecars
from corpus.align.transcribe import open_transcriber
from corpus.align.whisper import MOST_TOKENS, SHORTEST_REST, Whisper
from corpus.schemas.settings import TranscribeSettings


@dataclass(frozen=True)
class Options:
    """Those of the library's that are changed."""

    max_new_tokens: int | None = None
    no_repeat_ngram_size: int = 0


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Whisper:
    """Without weights: it remembers what the library is asked for."""

    def encode(self: Any, features: Any) -> Any:
        self.encoded.append(features.shape)
        return "encoded"

    def generate(self: Any, encoded: Any, prompt: Any, tokenizer: Any, options: Options) -> Any:
        self.asked.append(options)
        return "tokens", -0.2, 0.0, self.ratios.pop(0)

    monkeypatch.setattr(WhisperModel, "encode", encode)
    monkeypatch.setattr(WhisperModel, "generate_with_fallback", generate)
    monkeypatch.setattr(Whisper, "_languages", lambda self, encoded: (("en", 1.0),))
    made: Any = Whisper.__new__(Whisper)
    made.encoded, made.asked, made.ratios, made.max_length = [], [], [1.0], 448
    whisper: Whisper = made
    return whisper


def padded(frames: int) -> np.ndarray:
    """Features of so much sound as the library pads them, the last frame quiet in all bins but one."""
    features = np.zeros((80, 3000), np.float32)
    features[:, : max(0, frames - 1)] = -0.3
    features[3, max(0, frames - 1) : frames] = 0.1
    return features


@pytest.mark.parametrize("frames", [SHORTEST_REST, 300, 3000])
def test_all_sound_is_encoded_as_the_library_pads_it(frames: int, model: Any) -> None:
    assert model.encode(padded(frames)) == model.encode(padded(frames)[None]) == "encoded"
    assert model.encoded == [(80, 3000), (1, 80, 3000)]


@pytest.mark.parametrize("frames", [0, 1, SHORTEST_REST - 1])
def test_a_rest_is_neither_encoded_nor_decoded(frames: int, model: Any) -> None:
    encoded = model.encode(padded(frames))
    result, sure, _, _ = model.generate_with_fallback(encoded, [1, 2], None, Options())
    assert model.encoded == model.asked == []
    # What the library's own test of silence wants to see.
    assert result.no_speech_prob > 0.6 and not sure > -1.0


def test_a_loop_is_asked_again_and_only_a_loop(model: Any) -> None:
    encoded = model.encode(padded(3000))
    model.ratios = [LOOPING]
    assert model.generate_with_fallback(encoded, [1], None, Options())[3] == LOOPING
    assert [options.no_repeat_ngram_size for options in model.asked] == [0]
    for ratios in ([7.0, 2.0], [7.0, 9.0]):
        model.ratios, model.asked = list(ratios), []
        assert model.generate_with_fallback(encoded, [1], None, Options())[3] == min(ratios)
        assert [bool(options.no_repeat_ngram_size) for options in model.asked] == [False, True]


@pytest.mark.parametrize(("frames", "prompt"), [(50, 9), (400, 9), (3000, 9), (3000, 230), (3000, 440)])
def test_no_more_is_written_than_can_be_said(frames: int, prompt: int, model: Any) -> None:
    encoded = model.encode(padded(frames))
    model.generate_with_fallback(encoded, [1] * prompt, None, Options())
    (options,) = model.asked
    assert options == replace(Options(), max_new_tokens=options.max_new_tokens)
    assert 0 < options.max_new_tokens <= min(MOST_TOKENS, 448 - prompt)
    # Eight tokens a second and three seconds more: nobody speaks faster for long.
    assert options.max_new_tokens >= min(MOST_TOKENS, 448 - prompt, 24 + frames * 8 // 100)


@pytest.mark.models
@pytest.mark.slow
def test_a_loop_in_a_real_meeting_is_cut_short(shared_data: Path, make_pcm: Any) -> None:
    """Whisper base loops in this clip on the processors at hand; it wrote 103 words of no length."""
    path = shared_data / "ami30" / "EN2006a_000-030.wav"
    with wave.open(str(path)) as file:
        pcm = make_pcm(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    rttm, _ = read_sidecars([path.with_suffix(".rttm")], 30_000_000)
    truth, _ = read_sidecars([path.with_suffix(".json")], 30_000_000)
    began = time.process_time()
    done = open_transcriber(TranscribeSettings())(pcm, rttm.turns or (), None)
    spent_s = time.process_time() - began
    wer = figures(compare(Said(rttm.turns, truth.words), Said(rttm.turns, tuple(done.words))))["wer"]
    left_out = sum(drop.count for drop in done.drops)
    print(f"WER {wer:.3f}, {left_out} words left out, {spent_s:.1f} s", [w.text for w in done.words])
    assert left_out < 60
