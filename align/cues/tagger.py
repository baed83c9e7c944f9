"""The weights of the self-correction tagger: one npz of plain arrays, no pickle."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.cues.repair_features import WordStatistics
from corpus.align.cues.trees import Trees


@dataclass(frozen=True, slots=True)
class Tagger:
    ends: Trees
    inside: Trees
    statistics: WordStatistics


def write_tagger(tagger: Tagger) -> bytes:
    """The same bytes for the same tagger."""
    words = sorted(tagger.statistics.words)
    place = {word: number for number, word in enumerate(words)}
    known = sorted(pair for pair in tagger.statistics.pairs if place.keys() >= set(pair))
    arrays: dict[str, npt.NDArray[np.generic]] = {
        **tagger.ends.arrays("ends"),
        **tagger.inside.arrays("inside"),
        "words": np.frombuffer("\n".join(words).encode(), np.uint8),
        "word_counts": np.array([tagger.statistics.words[w] for w in words], np.float32),
        "pairs": np.array([[place[a], place[b]] for a, b in known], np.int32),
        "pair_counts": np.array([tagger.statistics.pairs[pair] for pair in known], np.float32),
        "total": np.array([tagger.statistics.total]),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_tagger(data: bytes) -> Tagger:
    """From the bytes of the npz."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    words = bytes(arrays["words"]).decode().split("\n")
    word_counts, pair_counts = arrays["word_counts"].tolist(), arrays["pair_counts"].tolist()
    pairs = [(words[a], words[b]) for a, b in arrays["pairs"].tolist()]
    statistics = WordStatistics(
        {word: tuple(counts) for word, counts in zip(words, word_counts, strict=True)},
        {pair: tuple(counts) for pair, counts in zip(pairs, pair_counts, strict=True)},
        float(arrays["total"][0]),
    )
    return Tagger(Trees.of(arrays, "ends"), Trees.of(arrays, "inside"), statistics)
