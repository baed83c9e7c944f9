"""`--asr`: recognise words with the recogniser that builds use, which the trainer does not import."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_WINDOW_SAMPLES = 3200


def recogniser(backend: str) -> Callable[[npt.NDArray[np.int16]], list[dict[str, Any]]]:
    """Words of int16 sound at 16 kHz as Full-Duplex-Bench writes them: `text`, `timestamp` in seconds.

    Raises:
        CorpusError: no such recogniser, or its model is missing.
    """
    from corpus.align.transcribe import open_transcriber
    from corpus.schemas.artifacts import Segment
    from corpus.schemas.conversation import Turn
    from corpus.schemas.pcm import Pcm
    from corpus.schemas.settings import TranscribeSettings

    transcriber = open_transcriber(TranscribeSettings(backend=backend))

    def words(sound_S: npt.NDArray[np.int16]) -> list[dict[str, Any]]:
        if not sound_S.any():  # in digital silence it could only invent words
            return []
        windows = -(-len(sound_S) // _WINDOW_SAMPLES)
        with tempfile.TemporaryDirectory() as folder:
            whole = np.pad(sound_S, (0, windows * _WINDOW_SAMPLES - len(sound_S)))
            whole.astype("<i2").tofile(Path(folder) / "channel-0.i16")
            pcm = Pcm(Path(folder), 1, [Segment(first_window=0, windows=windows)], 16_000)
            turn = Turn(speaker="S1", start_us=0, stop_us=windows * 200_000)
            recognised = transcriber(pcm, [turn], {"S1": 0}).words
        return [
            {"text": word.text, "timestamp": [word.start_us / 1e6, word.stop_us / 1e6]}
            for word in recognised
            if word.start_us is not None and word.stop_us is not None
        ]

    return words
