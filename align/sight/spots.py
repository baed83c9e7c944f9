"""Interprets a single-shot detector's output: a box with points for each thing in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from corpus.align.sight.anchors import anchors
from corpus.align.sight.networks import Network
from corpus.align.sight.picture import Pictures, upright_size
from corpus.align.sight.piece import Box, overlap

_LEAST_SCORE = 0.5
_SAME = 0.3
"""Boxes with a larger intersection over union are of the same thing."""

_Grids = tuple[tuple[int, int], ...]
"""Pairs of stride in pixels and anchors per cell."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A thing in a picture."""

    box: Box
    points: npt.NDArray[np.float64]
    """(points, 2): x and y in pixels of the upright picture."""
    score: float


class Spotter:
    """One detector, on whole pictures."""

    def __init__(self, path: Path, grids: _Grids, darkest: float) -> None:
        """`darkest` as in networks.py."""
        self._network = Network(path)
        self._centres = anchors(self._network.side, grids)
        self._darkest = darkest

    def __call__(self, frame: av.VideoFrame, pictures: Pictures) -> list[Spot]:
        """The things in a picture, best first."""
        side = self._network.side
        square, left, top = pictures.whole(frame, side)
        rows, logits = self._network(square, darkest=self._darkest)
        centres = self._centres - np.array((left, top), np.float32) / np.float32(side)
        return spots(rows[0], logits[0, :, 0], centres, side, max(upright_size(frame)))


def spots(
    rows: npt.NDArray[np.float32],
    logits: npt.NDArray[np.float32],
    centres: npt.NDArray[np.float32],
    side: int,
    longest: int,
) -> list[Spot]:
    """The detector's output in pixels of a picture whose longer side is `longest`, one spot per thing.

    A row is the middle, width and height of a box, then points; all but the size are offsets from its anchor.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -50, 50)))
    kept = np.flatnonzero(scores >= _LEAST_SCORE)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    values = rows[kept].astype(np.float64) / side
    at = centres[kept].astype(np.float64)
    middles, halves = values[:, :2] + at, values[:, 2:4] / 2
    boxes = np.concatenate((middles - halves, middles + halves), axis=1) * longest
    points = (values[:, 4:].reshape(len(kept), (rows.shape[1] - 4) // 2, 2) + at[:, None]) * longest
    things: list[Spot] = []
    left = list(range(len(kept)))
    while left:
        # Rows come best first; all that overlap the best one are the same thing, seen from other anchors.
        same = [n for n in left if overlap(boxes[left[0]], boxes[n]) > _SAME] or left[:1]
        weights = scores[kept[same]] / scores[kept[same]].sum()
        box, mean = weights @ boxes[same], np.tensordot(weights, points[same], 1)
        things.append(Spot(box, mean, float(scores[kept[same[0]]])))
        left = [n for n in left if n not in same]
    return things
