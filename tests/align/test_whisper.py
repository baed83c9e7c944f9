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

from corpus.align.diarize import heard
from corpus.align.heard import plain
from corpus.align.languages import LOOPING
from corpus.align.recogniser import open_recogniser
from corpus.align.score import Said, compare, figures
from corpus.align.sidecars import read_sidecars
from corpus.align.transcribe import open_transcriber
from corpus.align.whisper import MOST_TOKENS, SHORTEST_REST, Whisper, finished
from corpus.schemas.pcm import Pcm
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


STAMP = 100
"""The first timestamp in the tests' tokens."""


@pytest.mark.parametrize(
    ("tokens", "more"),
    [
        ([100, 1, 150, 150, 2, 3], [777]),  # the beginning of a sentence: the library would leave it out
        ([100, 1, 150, 150, 2, 180], []),
        ([100, 1, 150, 150], []),
        ([100, 1, 2], []),  # without a pair the library keeps all of it
        ([], []),
    ],
)
def test_what_the_sounds_end_cuts_off_is_kept(tokens: list[int], more: list[int]) -> None:
    assert finished(tokens, STAMP, 777) == tokens + more


@dataclass(frozen=True)
class Tokenizer:
    timestamp_begin: int = STAMP


def test_only_the_last_window_is_finished(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WhisperModel, "_split_segments_by_timestamps", lambda self, **given: given["tokens"])
    unfinished = [100, 1, 150, 150, 2]

    def split(seek: int) -> list[int]:
        tokens: list[int] = model._split_segments_by_timestamps(
            tokenizer=Tokenizer(), tokens=unfinished, seek=seek, segment_size=3000
        )
        return tokens

    assert split(0) == unfinished  # windows that were cut before, as on a GPU
    model._begin(np.zeros(160 * (3000 + SHORTEST_REST), np.float32), 0)
    assert split(0) == unfinished
    assert split(1) == [*unfinished, STAMP + 1500]


def test_what_is_read_again_is_not_encoded_again(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts: list[list[int]] = []

    def generate(self: Any, encoded: Any, prompt: list[int], tokenizer: Any, options: Any) -> Any:
        prompts.append(prompt)
        return Result(([prompt[-1], 7, STAMP + 620],)), -0.2, 0.0, 1.0

    monkeypatch.setattr(WhisperModel, "generate_with_fallback", generate)
    sound = np.random.default_rng(1).normal(size=40 * 16_000).astype(np.float32)
    model._begin(sound, 5_000_000)
    states = np.arange(1500, dtype=np.float32)[None, :, None] * np.ones(4, np.float32)
    model._encoded.add(0, 30 * 16_000, states)
    model._begin(sound[10 * 16_000 : 14 * 16_000], 15_000_000)
    given = np.array(model.encode(padded(400)))
    assert given.shape == (1, 201, 4) and given[0, 0, 0] == 500
    result, *_ = model.generate_with_fallback(given, [1, 2], Tokenizer(), Options())
    # The network is given the time at which it continues; the library counts from the part's beginning.
    assert prompts == [[1, 2, STAMP + 500]]
    assert result.sequences_ids == ([STAMP, 7, STAMP + 120],)
    # The rest of it, 2.5 s, is of the same window.
    assert np.array(model.encode(padded(250)))[0, 0, 0] == 575
    assert model.encoded == []


@dataclass(frozen=True)
class Result:
    sequences_ids: tuple[list[int], ...]
    no_speech_prob: float = 0.0


@pytest.mark.models
def test_words_of_a_part_are_those_of_the_whole(sample_pcm: Pcm, monkeypatch: pytest.MonkeyPatch) -> None:
    recognising = open_recogniser(TranscribeSettings(), None)
    whisper: Any = recognising.load()
    calls: list[int] = []
    encode = WhisperModel.encode
    monkeypatch.setattr(WhisperModel, "encode", lambda self, f: (calls.append(1), encode(self, f))[1])
    sound = heard(sample_pcm, 0, 30 * 16_000)
    asked = {"language": "en", "beam_size": 1, "prompt": ""}
    whole = [word for window in whisper.windows(sound, 0, **asked) for word in window.words]
    before = len(calls)
    part = sound[15 * 16_000 : 21 * 16_000]
    again = [word for window in whisper.windows(part, 15_000_000, **asked) for word in window.words]
    assert len(calls) == before
    times = {(plain(word.written), word.span.start_us // 1_000_000) for word in whole}
    near = [
        any((plain(word.written), word.span.start_us // 1_000_000 + by) in times for by in (-1, 0, 1))
        for word in again
    ]
    assert len(near) >= 5 and sum(near) >= 0.6 * len(near)
    assert all(15_000_000 <= word.span.start_us <= word.span.stop_us <= 21_000_000 for word in again)
    # The same sound at another time, and other sound at that time, are encoded.
    for other, zero_us in ((part, 16_000_000), (part + np.float32(0.001), 15_000_000)):
        list(whisper.windows(other, zero_us, **asked))
        assert len(calls) > before
        before = len(calls)


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
