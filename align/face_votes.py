"""Evidence from faces for diarization: slots whose speech matches the movement of one mouth, or of two.

A face whose mouth moves when a slot talks, and rests when it does not, is assigned to that slot. Slots of one
face are drawn together, slots of two faces seen at the same time are pushed apart. Faces that do not move, or
move with every talker, do not vote; nor does a recording without a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.align.backend import View
from corpus.align.slots import STEP_SAMPLES, Slot, Slots
from corpus.schemas.arrays import Float64Array
from corpus.schemas.sight import FaceTrack, Seen

WEIGHT = 0.3
"""What a certain face adds to, or takes from, the cosine distance of two slots."""
LEAST_CORRELATION = 0.3
AHEAD = 0.15
"""The face's correlation must exceed that of any other visible face by this much."""
LEAST_SEEN_S = 3.0
TOGETHER_US = 1_000_000
"""Two tracks seen together for so long are two people."""
RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class _Vote:
    """The face that talks as a slot does."""

    track: FaceTrack
    correlation: float


def votes_of_faces(slots: Slots, grouped: Sequence[Slot], view: View) -> Float64Array:
    """[slots, slots]: the faces' addition to the distances of the slots' voices; symmetric, mostly zeros."""
    mouths = {track.id: _mouth(view.seen, track) for track in view.seen.head.tracks if not track.still}
    votes = [_vote(slots, slot, view, mouths) for slot in grouped]
    added = np.zeros((len(grouped), len(grouped)))
    for one, first in enumerate(votes):
        for other, second in enumerate(votes[:one]):
            if first is None or second is None:
                continue
            sureness = WEIGHT * min(1.0, 2 * min(first.correlation, second.correlation))
            if first.track.id == second.track.id:
                added[one, other] = -sureness
            elif _together_us(first.track, second.track) >= TOGETHER_US:
                added[one, other] = sureness
    return added + added.T


def _mouth(seen: Seen, track: FaceTrack) -> tuple[npt.NDArray[np.int64], Float64Array]:
    """(times, movement) of the pictures in which the face was seen."""
    rows = seen.of_track(track.id)
    return seen.times_us[rows["frame"]], rows["mouth_movement"].astype(np.float64)


def _vote(
    slots: Slots, slot: Slot, view: View, mouths: dict[int, tuple[npt.NDArray[np.int64], Float64Array]]
) -> _Vote | None:
    here = slots.here(slot[0])
    first_us = view.zero_us + here.start * STEP_SAMPLES * 1_000_000 // RATE_HZ
    last_us = view.zero_us + here.stop * STEP_SAMPLES * 1_000_000 // RATE_HZ
    talk = slots.activity(slot)
    scores: list[tuple[float, int]] = []
    for track in view.seen.head.tracks:
        if track.id not in mouths or track.stop_us <= first_us or track.start_us >= last_us:
            continue
        times_us, movement = mouths[track.id]
        inside = (times_us >= first_us) & (times_us < last_us)
        if inside.sum() < LEAST_SEEN_S * view.seen.head.rate_hz:
            continue
        steps = (times_us[inside] - first_us) * RATE_HZ // (1_000_000 * STEP_SAMPLES)
        scores.append((_correlation(talk[np.minimum(steps, len(talk) - 1)], movement[inside]), track.id))
    scores.sort(reverse=True)
    if not scores or scores[0][0] < LEAST_CORRELATION:
        return None
    if len(scores) > 1 and scores[0][0] - scores[1][0] < AHEAD:
        return None
    track = next(track for track in view.seen.head.tracks if track.id == scores[0][1])
    return _Vote(track, scores[0][0])


def _correlation(left: Float64Array, right: Float64Array) -> float:
    left, right = left - left.mean(), right - right.mean()
    size = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / size if size > 0 else 0.0


def _together_us(left: FaceTrack, right: FaceTrack) -> int:
    common = left.span & right.span
    return common.duration_us if common else 0
