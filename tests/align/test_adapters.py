"""Adapters of other people's recognisers and diarizers.

faster-whisper in batches runs for real, with the bundled weights. WhisperX and NeMo are not among the pinned
packages: stand-ins with the published signatures take their place, so only what is asked of them and what is
made of their answers is tested.
"""

from __future__ import annotations

import sys
import types
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corpus.align import campplus, sortformer
from corpus.align.backend import Bounds
from corpus.align.diarize import open_diarizer
from corpus.align.heard import plain
from corpus.align.models import find
from corpus.align.sortformer import Sortformer, sortformer_backend, talk_of
from corpus.align.transcribe import open_transcriber
from corpus.align.whisperx_words import WhisperX, words_of
from corpus.schemas.errors import MissingDependencyError, MissingModelError, SettingsError
from corpus.schemas.settings import DiarizeSettings, TranscribeSettings
from corpus.schemas.span import Span


def needs(*names: str) -> None:
    for name in names:
        try:
            find(name)
        except MissingModelError as error:
            pytest.skip(str(error))


def test_what_is_not_installed_is_said_in_a_line(tmp_path: Path) -> None:
    if "whisperx" not in sys.modules:
        with pytest.raises(MissingDependencyError, match="pip install whisperx"):
            open_transcriber(TranscribeSettings(backend="whisperx:large-v3"))
    with pytest.raises(MissingDependencyError, match=r"pip install .nemo_toolkit"):
        open_diarizer(DiarizeSettings(backend="sortformer:nvidia/diar_sortformer_4spk-v1"))


def test_windows_for_batches_are_cut_where_it_is_quiet() -> None:
    pytest.importorskip("faster_whisper")
    from corpus.align.whisper_batched import LONGEST, cuts

    random = np.random.default_rng(4)
    sound = random.normal(scale=0.1, size=95 * 16_000 + 77).astype(np.float32)
    for second in (27, 55, 80):
        sound[second * 16_000 : second * 16_000 + 8_000] *= 0.01
    edges = cuts(sound)
    assert edges[0] == 0 and edges[-1] == len(sound)
    assert all(0 < stop - start <= LONGEST for start, stop in pairwise(edges))
    assert all(edge % 160 == 0 for edge in edges[:-1])
    assert [round(edge / 16_000) for edge in edges[1:-1]] == [27, 55, 80]
    assert cuts(np.zeros(0, np.float32)) == [0]
    assert cuts(np.zeros(5, np.float32)) == [0, 5]


@pytest.mark.models
@pytest.mark.slow
def test_batches_write_what_windows_one_by_one_write(sample_pcm: Any, sample_turns: Any) -> None:
    jiwer = pytest.importorskip("jiwer")
    needs("whisper-base")
    one, many, again = (
        open_transcriber(TranscribeSettings(batch_size=size))(sample_pcm, sample_turns, None)
        for size in (1, 4, 4)
    )
    assert many == again
    assert all(0 <= (w.start_us or 0) <= (w.stop_us or 0) <= 30_000_000 for w in many.words)
    texts = [" ".join(plain(word.text) for word in done.words) for done in (one, many)]
    # batches ask for no time stamps between words, which moves a few of them; mostly it is the same text
    assert jiwer.wer(*texts) < 0.25


def whisperx_stand_in(asked: list[Any]) -> types.ModuleType:
    module = types.ModuleType("whisperx")

    class Model:
        def transcribe(self, audio: Any, batch_size: int, language: str) -> dict[str, Any]:
            asked.append((len(audio), batch_size, language))
            return {"segments": [{"start": 1.0, "end": 4.0, "text": " so 42 ends"}], "language": language}

        def detect_language(self, audio: Any) -> str:
            return "de" if len(audio) > 16_000 else "en"

    def load_model(name: str, device: str, **named: Any) -> Model:
        asked.append((name, device, named))
        return Model()

    def align(segments: Any, model: Any, about: Any, audio: Any, device: str, **named: Any) -> dict[str, Any]:
        words = [
            {"word": "so", "start": 1.1, "end": 1.3, "score": 0.9},
            {"word": "42"},
            {"word": "ends", "start": 3.0, "end": 4.4, "score": 0.8},
        ]
        return {"segments": segments, "word_segments": words}

    module.load_model = load_model  # type: ignore[attr-defined]
    module.align = align  # type: ignore[attr-defined]
    module.load_align_model = lambda language_code, device: (None, {})  # type: ignore[attr-defined]
    return module


def test_whisperx_words_have_the_aligners_times(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setitem(sys.modules, "whisperx", whisperx_stand_in(asked))
    model = WhisperX("folder", device="cpu", threads=2, windows_at_once=8)
    (window,) = model.windows(
        np.zeros(80_000, np.float32), 10_000_000, language="en", beam_size=5, prompt="Um."
    )
    assert window.span == Span(11_000_000, 14_000_000)
    assert [(w.written, w.span, w.aligned) for w in window.words] == [
        (" so", Span(11_100_000, 11_300_000), True),
        # the aligner has no letters for digits: the time between its neighbours, and not sure
        (" 42", Span(11_300_000, 13_000_000), False),
        (" ends", Span(13_000_000, 14_000_000), True),
    ]
    (name, device, options), transcribed = asked
    assert (name, device, options["language"], options["threads"]) == ("folder", "cpu", "en", 2)
    assert options["asr_options"]["hotwords"] == "Um." and transcribed == (80_000, 8, "en")
    assert model.languages_of([np.zeros(9, np.float32), np.zeros(20_000, np.float32)]) == {
        "en": 0.5,
        "de": 0.5,
    }


def test_whisperx_words_without_any_time_stay_in_their_segment() -> None:
    words = words_of([{"word": "7"}, {"word": "8"}], Span(5, 9), 0)
    assert [word.span for word in words] == [Span(5, 9), Span(9, 9)]
    assert words_of([], Span(5, 9), 0) == ()


class SortformerStandIn:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines

    def diarize(self, audio: Any, batch_size: int, sample_rate: int, verbose: bool) -> list[list[str]]:
        assert (len(audio), batch_size, sample_rate) == (1, 1, 16_000)
        assert audio[0].dtype == np.float32
        return [self.lines]


@pytest.mark.models
def test_sortformers_lines_are_talk_with_voices() -> None:
    needs("campplus")
    network = campplus.load_network(find("campplus"))
    sound = np.random.default_rng(2).normal(scale=0.1, size=6 * 16_000).astype(np.float32)
    lines = ["0.000 2.500 speaker_0", "2.000 5.000 speaker_1", "2.100 2.400 speaker_2"]
    found = Sortformer(SortformerStandIn(lines), network, "cpu")(sound, Bounds(), None)
    assert found.talk == ((0.0, 2.5, "speaker_0"), (2.0, 5.0, "speaker_1"), (2.1, 2.4, "speaker_2"))
    # the third is never alone: no voice, so it is joined with nobody
    assert set(found.centroids) == {"speaker_0", "speaker_1"}
    alone = campplus.features(sound)[:200]
    expected = campplus.voices(campplus.embed(network, [alone]))[0]
    assert np.allclose(found.centroids["speaker_0"], expected, atol=1e-5)


def test_no_lines_are_no_talk() -> None:
    assert talk_of([]) == ()


def test_sortformer_takes_a_file_or_a_folder_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("campplus")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: types.ModuleType(name))
    monkeypatch.setattr(sortformer, "version", lambda name: "3.0.0")
    (tmp_path / "a.nemo").write_bytes(b"one")
    one = sortformer_backend(str(tmp_path / "a.nemo"), None, "cpu")
    assert sortformer_backend(str(tmp_path), None, "cpu").identity == one.identity
    (tmp_path / "a.nemo").write_bytes(b"two")
    assert sortformer_backend(str(tmp_path), None, "cpu").identity != one.identity
    (tmp_path / "b.nemo").write_bytes(b"two")
    with pytest.raises(SettingsError, match=r"holds 2 \.nemo files instead of one"):
        sortformer_backend(str(tmp_path), None, "cpu")
