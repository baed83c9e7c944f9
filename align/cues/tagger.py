"""The weights of the self-correction tagger: one npz of plain arrays, no pickle."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.cues.repair_features import Statistics
from corpus.align.cues.repair_flow import Grammar
from corpus.align.cues.trees import Trees
from corpus.align.cues.word_statistics import WordStatistics


@dataclass(frozen=True, slots=True)
class Tagger:
    ends: Trees
    inside: Trees
    statistics: Statistics


def write_tagger(tagger: Tagger) -> bytes:
    """The same bytes for the same tagger."""
    words, grammar = tagger.statistics.words, tagger.statistics.grammar
    arrays: dict[str, npt.NDArray[np.generic]] = {
        **tagger.ends.arrays("ends"),
        **tagger.inside.arrays("inside"),
        "words": np.frombuffer("\n".join(words.rows).encode(), np.uint8),
        "word_counts": words.words,
        "pair_keys": words.pair_keys,
        "pair_counts": words.pairs,
        "total": np.array([words.total]),
        "class_pairs": grammar.pairs,
        "class_triples": grammar.triples,
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_tagger(data: bytes) -> Tagger:
    """From the bytes of the npz."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    listed = bytes(arrays["words"]).decode().split("\n")
    words = WordStatistics(
        {word: row for row, word in enumerate(listed)},
        arrays["word_counts"],
        arrays["pair_keys"],
        arrays["pair_counts"],
        float(arrays["total"][0]),
    )
    statistics = Statistics(words, Grammar(arrays["class_pairs"], arrays["class_triples"]))
    return Tagger(Trees.of(arrays, "ends"), Trees.of(arrays, "inside"), statistics)
