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


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """What is seen in a film, and the truth about it."""

    seen: Seen
    what: str
    count: int
    start_us: int
    """The first picture in which something has moved by a pixel or changed."""
    stop_us: int


KINDS = ("lift", "swing", "blink")
CUT_US = 2_000_000
LONGEST_S = 24
"""A film is not made longer: fewer repetitions where they are slow."""


def counted(seed: int, *, longest_s: float = LONGEST_S) -> Film:
    """A movement between two rests, drawn at random."""
    rng = np.random.default_rng(seed)
    period_s = float(rng.uniform(0.4, 3))
    count = max(2, min(int(rng.integers(2, 31)), int(longest_s / period_s)))
    kind = KINDS[seed % len(KINDS)]
    movement = Movement(start_s=float(rng.uniform(1.5, 2.5)), count=count, period_s=period_s, kind=kind)
    times = np.arange(round((movement.start_s + count * period_s * 1.3 + 3) * RATE)) / RATE
    phase, end_s = phases(movement, times, rng)
    pictures = round((end_s + 3) * RATE)
    base, shade = room(rng), float(rng.choice([20, 235]))
    noise, shake = float(rng.uniform(0, 8)), float(rng.uniform(0, 0.8))
    shown = [moved(base, movement, at, shade) for at in phase[:pictures]]
    changed = np.flatnonzero([_changed(movement, at) for at in phase[:pictures]])
    return Film(
        seen=film(shown, rng, noise=noise, shake_px=shake),
        what=f"{kind} {period_s:.2f} s noise {noise:.1f} shake {shake:.1f}",
        count=count,
        start_us=round(times[changed[0]] * 1_000_000),
        stop_us=round(times[changed[-1]] * 1_000_000),
    )


def _changed(movement: Movement, phase: float) -> bool:
    out = (1 - np.cos(2 * np.pi * phase)) / 2
    if movement.kind == "blink":
        return bool(out > 0.5)
    # The end of the bar is 90 pixels out and turns by 1.8; the other thing goes 70 pixels.
    return bool(out * (70 if movement.kind == "lift" else 90 * 1.8) >= 1)


def with_cut(seed: int) -> Film:
    """Two rooms, one after the other."""
    rng = np.random.default_rng(seed)
    rooms = [room(rng), room(rng)]
    pictures = [rooms[n * 1_000_000 // RATE >= CUT_US] for n in range(4 * RATE)]
    seen = film(pictures, rng, noise=float(rng.uniform(0, 8)), shake_px=float(rng.uniform(0, 0.8)))
    return Film(seen=seen, what="cut", count=0, start_us=CUT_US, stop_us=CUT_US)


def with_flash(seed: int) -> Film:
    """A room that is white for a moment, of 0.12 to 0.4 s."""
    rng = np.random.default_rng(seed)
    base, start = room(rng), int(rng.integers(40, 60))
    stop = start + int(rng.integers(3, 11))
    white = np.full_like(base, 250)
    pictures = [white if start <= n < stop else base for n in range(5 * RATE)]
    seen = film(pictures, rng, noise=float(rng.uniform(0, 8)), shake_px=float(rng.uniform(0, 0.8)))
    return Film(
        seen=seen, what="flash", count=0, start_us=start * 1_000_000 // RATE, stop_us=stop * 1_000_000 // RATE
    )
