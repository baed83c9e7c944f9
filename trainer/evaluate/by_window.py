"""Losses by the window's number in its document; flat where a model works as it was trained to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_STREAMS = ("control", "text", "sound")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowLoss:
    """Means over all documents that have this window, in nats (for a flow's sound, squared error)."""

    window: int
    documents: int
    control: float | None
    text: float | None
    """None if no document has a word there, or nobody speaks."""
    sound: float | None


class WindowSums:
    """Sums and counts of each stream, by window."""

    def __init__(self) -> None:
        self._sum = {stream: np.zeros(0) for stream in _STREAMS}
        self._count = {stream: np.zeros(0, np.int64) for stream in _STREAMS}

    def add(self, stream: str, window_X: npt.NDArray[np.int32], loss_X: npt.NDArray[np.float64]) -> None:
        """Add losses, each with the window it belongs to."""
        most = int(window_X.max(initial=-1)) + 1
        short = max(0, most - len(self._sum[stream]))
        self._sum[stream] = np.pad(self._sum[stream], (0, short))
        self._count[stream] = np.pad(self._count[stream], (0, short))
        np.add.at(self._sum[stream], window_X, loss_X)
        np.add.at(self._count[stream], window_X, 1)

    def rows(self) -> tuple[WindowLoss, ...]:
        most = max(len(counts) for counts in self._count.values())
        count = {name: np.pad(each, (0, most - len(each))) for name, each in self._count.items()}
        return tuple(
            WindowLoss(
                window=window,
                documents=int(count["control"][window]),
                **{name: self._mean(name, window, int(count[name][window])) for name in _STREAMS},
            )
            for window in range(most)
        )

    def _mean(self, stream: str, window: int, count: int) -> float | None:
        return float(self._sum[stream][window]) / count if count else None


def over_windows(rows: Sequence[WindowLoss], stream: str, start: int, stop: int) -> float | None:
    """Mean of a stream over windows `[start, stop)`; all windows that have a value count alike."""
    values = [value for row in rows[start:stop] if (value := getattr(row, stream)) is not None]
    return sum(values) / len(values) if values else None
