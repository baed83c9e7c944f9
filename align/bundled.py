"""The default diarization of one stretch of sound: segmentation-3.0, CAM++, clustering, Viterbi.

1  every second a window of 10 s says which of its three slots talk when       segmentation.py
2  the slots of every third window, in short sound of every one, get the
   vector of their voice, those of the same speech one vector                  pieces.py, campplus.py
3  slots that talk alone long enough are grouped by voice, those of one
   window never together                                                       clustering.py
4  every other slot joins the group that talks where it talks, one each
5  the likeliest path through sets of speakers says who talks when             resegment.py
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from corpus.align import campplus, clustering, resegment
from corpus.align.backend import Backend, Bounds, Found, StretchDiarizer, View
from corpus.align.face_votes import votes_of_faces
from corpus.align.models import find, pinned_digest
from corpus.align.pieces import HEARD_FRAMES, measured_for, speech_of
from corpus.align.segmentation import COUNTS, RATE_HZ, Posteriors, load_segmentation, posteriors
from corpus.align.slots import FRAME_OF_STEP, STEP_SAMPLES, Slot, Slots
from corpus.schemas.arrays import Float64Array
from corpus.schemas.settings import DiarizeSettings

ALONE_FRAMES = 60
"""Frames of the network (1 s) that a slot must talk alone for its voice to be grouped."""
SAME_VOICE = 0.56
"""Cosine distance, less what all voices share, up to which groups are one."""
DENSE_WINDOWS = 100
"""A stretch of fewer than twice as many has its voices measured in each, of fewer than three times in every
other: who says little is met in few windows there, while the cost is bounded."""
MOST_SPEAKERS = 20
"""In a stretch: the path's memory grows with the square of their number, whatever the sound."""
LEAST_TALK_S = 0.5
"""A speaker who talks less than this in all is dropped."""


@dataclass(frozen=True, slots=True)
class _Networks:
    segmentation: Any
    embedding: Any
    device: str


def bundled_backend(settings: DiarizeSettings, models: Path | None, device: str) -> Backend:
    """Segmentation-3.0 and CAM++ out of the model folder.

    Raises:
        MissingModelError: they are not on this machine.
    """
    segmentation, embedding = find("segmentation-3.0", models), find("campplus", models)
    weights = f"{pinned_digest('segmentation-3.0')} {pinned_digest('campplus')}"
    mean = hashlib.sha256(campplus.MEAN_FILE.read_bytes()).hexdigest()

    def load() -> StretchDiarizer:
        networks = _Networks(
            load_segmentation(segmentation).to(device), campplus.load_network(embedding).to(device), device
        )
        return partial(_diarize_stretch, networks, settings)

    return Backend(f"bundled {weights} {mean} {device}", load, SAME_VOICE)


def _diarize_stretch(
    networks: _Networks,
    settings: DiarizeSettings,
    sound: npt.NDArray[np.float32],
    bounds: Bounds,
    view: View | None,
) -> Found:
    """Who talks in sound at 16 kHz, and each one's voice; speakers are numbers as text."""
    scores = posteriors(networks.segmentation, sound, settings.hop_s * RATE_HZ, networks.device)
    slots = Slots.of(scores, len(sound))
    heard, vectors = _voices(networks, sound, scores, slots, settings.embed_every)
    # Only voices heard alone decide who there is; in a stretch of pure overlap all must do.
    grouped = [slot for slot in heard if slots.alone[slot] >= ALONE_FRAMES] or heard
    if not grouped:
        return Found((), {})
    rows = np.stack([vectors[slot] for slot in grouped])
    groups = _grouped(rows, grouped, slots, bounds, view)
    # A group's centre: slots count by how long they talk alone.
    weights = [np.array([slots.alone[grouped[place]] for place in group], np.float64) for group in groups]
    centres = np.stack(
        [
            clustering.unit((rows[group] * weight[:, None]).sum(axis=0))
            for group, weight in zip(groups, weights, strict=True)
        ]
    )
    speaker_of = {grouped[place]: number for number, group in enumerate(groups) for place in group}
    assigned = _assigned(slots, speaker_of, vectors, centres)
    activity, counts = _painted(slots, scores, assigned, len(groups))
    talk = resegment.talking(activity, counts)
    # After the path, which may leave a speaker a few frames only.
    talk[:, talk.sum(axis=0) * STEP_SAMPLES < LEAST_TALK_S * RATE_HZ] = False
    named = {str(number): centre for number, centre in enumerate(centres) if talk[:, number].any()}
    return Found(tuple(_spans(talk, len(sound))), named, tuple(_sureness(activity, talk, len(sound))))


def measured_windows(count: int, every: int) -> list[int]:
    """Every n-th of so many windows, and the last; in short sound n is less than `every`."""
    step = min(every, max(1, count // DENSE_WINDOWS))
    return sorted({*range(0, count, step), count - 1})


def _voices(
    networks: _Networks, sound: npt.NDArray[np.float32], found: Posteriors, slots: Slots, every: int
) -> tuple[list[Slot], dict[Slot, Float64Array]]:
    """The slots of every n-th window, and the last one, whose voice can be measured, with their vectors."""
    asked = [
        slot
        for window in measured_windows(len(found.starts), every)
        for slot in slots.of_window(window)
        if slots.talking[slot[0], :, slot[1]].sum() >= HEARD_FRAMES
    ]
    if not asked:
        return [], {}
    frames = campplus.features(sound)
    speech = [speech_of(slot, int(found.starts[slot[0]]), slots, len(frames)) for slot in asked]
    places = measured_for(speech)
    measured = sorted(set(places))
    pieces = [speech[place].of(frames) for place in measured]
    rows = campplus.voices(campplus.embed(networks.embedding, pieces, networks.device))
    row_of = dict(zip(measured, rows, strict=True))
    vectors = {slot: row_of[place] for slot, place in zip(asked, places, strict=True)}
    vectors = {slot: row for slot, row in vectors.items() if np.isfinite(row).all()}
    return [slot for slot in asked if slot in vectors], vectors


def _grouped(
    rows: Float64Array,
    grouped: list[Slot],
    slots: Slots,
    bounds: Bounds,
    view: View | None,
) -> list[list[int]]:
    windows = np.array([window for window, _ in grouped])
    apart = windows[:, None] == windows[None]
    np.fill_diagonal(apart, False)
    distances = 1.0 - rows @ rows.T
    if view is not None:
        distances = distances + votes_of_faces(slots, grouped, view)
    at_most = min(bounds.at_most or MOST_SPEAKERS, MOST_SPEAKERS)
    at_least = min(bounds.at_least, at_most)
    # A long piece tells more of a voice than a short one.
    alone = np.array([max(1, slots.alone[slot]) for slot in grouped], np.float64)
    return clustering.group(distances, apart, SAME_VOICE, at_least=at_least, at_most=at_most, weights=alone)


def _assigned(
    slots: Slots, speaker_of: dict[Slot, int], vectors: dict[Slot, Float64Array], centres: Float64Array
) -> dict[Slot, int]:
    """A speaker for every slot that has one: by when it talks, and by its voice where that is known."""
    from scipy.optimize import linear_sum_assignment

    known = _activity(slots, speaker_of, len(centres))
    asked = {window for window, _ in vectors}
    assigned = dict(speaker_of)
    for window in range(len(slots.starts)):
        open_slots = [slot for slot in slots.of_window(window) if slot not in speaker_of]
        taken = {speaker_of[slot] for slot in slots.of_window(window) if slot in speaker_of}
        # The slots of a window are different people: one speaker each.
        free = [number for number in range(len(centres)) if number not in taken]
        if not open_slots or not free:
            continue
        scores = np.zeros((len(open_slots), len(free)))
        for row, slot in enumerate(open_slots):
            own = slots.activity(slot)
            scores[row] = (own @ known[slots.here(window)])[free] / max(own.sum(), 1e-6)
            if slot in vectors:
                # A voice measured in overlap counts less.
                sureness = min(1.0, slots.alone[slot] / (1.5 * ALONE_FRAMES))
                scores[row] += sureness * (centres[free] @ vectors[slot])
        # Hungarian method: the best assignment of the window as a whole.
        for row, column in zip(*linear_sum_assignment(-scores), strict=True):
            if scores[row, column] > 0 or window in asked:
                assigned[open_slots[row]] = free[column]
    return assigned


def _activity(slots: Slots, speaker_of: dict[Slot, int], speakers: int) -> Float64Array:
    """[steps, speakers]: the mean activity over the windows that have any of the slots."""
    total = np.zeros((slots.steps, speakers))
    seen = np.zeros(slots.steps)
    for window in sorted({window for window, _ in speaker_of}):
        seen[slots.here(window)] += 1
    for slot, number in speaker_of.items():
        total[slots.here(slot[0]), number] += slots.activity(slot)
    return total / np.maximum(seen, 1)[:, None]


def _painted(
    slots: Slots, found: Posteriors, assigned: dict[Slot, int], speakers: int
) -> tuple[Float64Array, Float64Array]:
    """Activity [steps, speakers] and the probabilities of 0, 1, 2 talking [steps, 3], means over windows."""
    activity = np.zeros((slots.steps, speakers))
    counts = np.zeros((slots.steps, 3))
    seen = np.zeros(slots.steps)
    # How many talk at once, from the network's classes of sets of slots.
    many = np.stack([found.classes[:, :, count == COUNTS].sum(axis=-1) for count in range(3)], axis=-1)
    many = many[:, FRAME_OF_STEP]
    for window in range(len(slots.starts)):
        here = slots.here(window)
        counts[here] += many[window, : here.stop - here.start]
        seen[here] += 1
    for slot, number in assigned.items():
        activity[slots.here(slot[0]), number] += slots.activity(slot)
    seen = np.maximum(seen, 1)[:, None]
    return activity / seen, counts / seen


def _sureness(
    activity: Float64Array, talk: npt.NDArray[np.bool_], samples: int
) -> list[tuple[float, float, float]]:
    """(start, stop, mean activity of those who are decided to talk), for each second of the talk.

    Activity is the mean over the windows that heard a moment: 1 where all agree that this speaker talks.
    """
    steps = RATE_HZ // STEP_SAMPLES
    sure_spans: list[tuple[float, float, float]] = []
    for start in range(0, len(talk), steps):
        here = talk[start : start + steps]
        if here.any():
            sure = float(np.clip(activity[start : start + steps][here].mean(), 0.0, 1.0))
            stop_s = min((start + len(here)) * STEP_SAMPLES, samples) / RATE_HZ
            sure_spans.append((start * STEP_SAMPLES / RATE_HZ, stop_s, round(sure, 6)))
    return sure_spans


def _spans(talk: npt.NDArray[np.bool_], samples: int) -> list[tuple[float, float, str]]:
    """(start, stop, speaker) in seconds."""
    spans: list[tuple[float, float, str]] = []
    for number in range(talk.shape[1]):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], talk[:, number], [False]])))
        for start, stop in edges.reshape(-1, 2):
            stop_s = min(int(stop) * STEP_SAMPLES, samples) / RATE_HZ
            spans.append((int(start) * STEP_SAMPLES / RATE_HZ, stop_s, str(number)))
    return spans
