"""Faces in a whole picture, best first: by a model for small faces, else by one for large ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from corpus.align.sight.anchors import anchors
from corpus.align.sight.networks import Network
from corpus.align.sight.picture import Pictures, upright_size

LEAST_SCORE = 0.5
SAME_FACE = 0.3
"""Boxes with a larger intersection over union show the same face."""
FULL_RANGE = ("face_detection_full_range_sparse.tflite", ((4, 1),))
SHORT_RANGE = ("face_detection_short_range.tflite", ((8, 2), (16, 6)))

Box = npt.NDArray[np.float64]
"""left, top, right, bottom in pixels of the upright picture."""


@dataclass(frozen=True, slots=True)
class Found:
    """A face in a picture."""

    box: Box
    roll: float
    """Radians clockwise by which the line of the eyes is turned."""
    score: float


class Detector:
    """Looks at whole pictures."""

    def __init__(self, folder: Path) -> None:
        self._looks = [
            (network, anchors(network.side, grids))
            for file, grids in (FULL_RANGE, SHORT_RANGE)
            for network in (Network(folder / file),)
        ]

    def __call__(self, frame: av.VideoFrame, pictures: Pictures) -> list[Found]:
        for network, centres in self._looks:
            square, *_ = pictures.whole(frame, network.side)
            rows, logits = network(np.divide(square, np.float32(127.5), dtype=np.float32) - 1)
            longest = max(upright_size(frame))
            found = decode(rows[0], logits[0, :, 0], centres, network.side, longest)
            if found:
                return found
        return []


def decode(
    rows: npt.NDArray[np.float32],
    logits: npt.NDArray[np.float32],
    centres: npt.NDArray[np.float32],
    side: int,
    longest: int,
) -> list[Found]:
    """The detector's output in pixels of a picture whose longer side is `longest`, one box a face."""
    scores = 1 / (1 + np.exp(-np.clip(logits.astype(np.float64), -50, 50)))
    kept = np.flatnonzero(scores >= LEAST_SCORE)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    faces: list[Found] = []
    for at in kept:
        row = rows[at].astype(np.float64) / side
        x, y = row[0] + centres[at, 0], row[1] + centres[at, 1]
        box = np.array((x - row[2] / 2, y - row[3] / 2, x + row[2] / 2, y + row[3] / 2)) * longest
        # Non-maximum suppression: boxes come best first, so a later overlap is the same face again.
        if all(overlap(box, other.box) <= SAME_FACE for other in faces):
            # Points 0 and 1 are the eyes, seen from the front: the face's right one first.
            roll = float(np.arctan2(row[7] - row[5], row[6] - row[4]))
            faces.append(Found(box, roll, float(scores[at])))
    return faces


def overlap(left: Box, right: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(left[2], right[2]) - max(left[0], right[0])
    height = min(left[3], right[3]) - max(left[1], right[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = float(width * height)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (left, right)]
    return common / float(sum(areas) - common)
