"""Videos with a known truth: a flash, a cut, movements that are counted; noise and a camera that shakes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from corpus.align.sight.watch import Watcher
from corpus.schemas.settings import SightSettings
from corpus.schemas.sight import Seen

WIDTH, HEIGHT, RATE = 320, 180, 25
Picture = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Something moved `count` times, out and back, each time for about `period_s`."""

    start_s: float
    count: int
    period_s: float
    kind: str
    """`lift` goes up and down, `swing` turns about a point, `blink` appears and goes."""
    tempo: float = 0.08
    """Deviation of each repetition's length, as a share."""


def room(rng: np.random.Generator) -> Picture:
    """A still background of large and small structure, larger than the picture so that it can shake."""
    high, wide = HEIGHT + 32, WIDTH + 32
    picture = np.full((high, wide), rng.uniform(70, 150), np.float32)
    y, x = np.mgrid[0:high, 0:wide]
    for _ in range(12):
        left, top = rng.integers(0, wide), rng.integers(0, high)
        width, height = rng.integers(20, 120), rng.integers(20, 90)
        inside = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
        picture[inside] = rng.uniform(30, 220)
    return picture


def phases(
    movement: Movement, times_s: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], float]:
    """Where in [0, count] the movement stands at each time, and when it ends."""
    lengths = movement.period_s * np.clip(rng.normal(1, movement.tempo, movement.count), 0.75, 1.25)
    edges = movement.start_s + np.concatenate(([0.0], np.cumsum(lengths)))
    return np.interp(times_s, edges, np.arange(movement.count + 1)), float(edges[-1])


def moved(picture: Picture, movement: Movement, phase: float, shade: float) -> Picture:
    """The picture with the thing where it is at this phase."""
    out = (1 - np.cos(2 * np.pi * phase)) / 2
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    shown = picture.copy()
    if movement.kind == "lift":
        inside = (np.abs(x - 170) < 28) & (np.abs(y - (150 - 70 * out)) < 22)
    elif movement.kind == "swing":
        angle = -0.9 + 1.8 * out
        along = (x - 176) * np.cos(angle) + (y - 130) * np.sin(angle)
        across = -(x - 176) * np.sin(angle) + (y - 130) * np.cos(angle)
        inside = (along > 0) & (along < 90) & (np.abs(across) < 12)
    else:
        inside = (np.abs(x - 110) < 30) & (np.abs(y - 80) < 30) & (out > 0.5)
    shown[inside] = shade
    return shown


def film(pictures: list[Picture], rng: np.random.Generator, *, noise: float, shake_px: float) -> Seen:
    """What is seen in the pictures, shown at RATE a second, through a noisy camera that is not held still."""
    watcher = Watcher(SightSettings(faces=False))
    for number, picture in enumerate(pictures):
        dx, dy = (int(v) for v in np.clip(np.rint(rng.normal(0, shake_px, 2)), -8, 8) + 16)
        part = picture[dy : dy + HEIGHT, dx : dx + WIDTH]
        grey = np.clip(part + rng.normal(0, noise, part.shape), 0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.repeat(grey[:, :, None], 3, 2), format="rgb24")
        watcher(frame, int(Fraction(number * 1_000_000, RATE)))
    return watcher.finish()
