"""Groups of things that are alike, against a slow reference; slots, paths and faces of made-up windows."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.align import clustering, resegment
from corpus.align.backend import View
from corpus.align.bundled import measured_windows
from corpus.align.face_votes import votes_of_faces
from corpus.align.segmentation import CLASSES, FRAMES, WINDOW_SAMPLES, Posteriors, window_starts
from corpus.align.slots import STEP_SAMPLES, STEPS, Slots
from corpus.schemas.sight import FACE_DTYPE, FRAME_DTYPE, FaceTrack, Seen, Sight

RATE = 16_000


def slow_groups(
    distances: npt.NDArray[np.float64],
    apart: npt.NDArray[np.bool_],
    limit: float,
    weights: npt.NDArray[np.float64],
) -> list[list[int]]:
    """Average linkage by the book: all pairs of two groups, again and again."""
    groups = [[place] for place in range(len(distances))]

    def mean(a: list[int], b: list[int]) -> float:
        if any(apart[i, j] for i, j in product(a, b)):
            return np.inf
        pairs = list(product(a, b))
        return float(
            np.average(
                [distances[i, j] for i, j in pairs], weights=[weights[i] * weights[j] for i, j in pairs]
            )
        )

    while len(groups) > 1:
        best, a, b = min(
            (mean(x, y), i, j) for i, x in enumerate(groups) for j, y in enumerate(groups) if i < j
        )
        if best > limit:
            break
        groups[a] = sorted(groups[a] + groups[b])
        del groups[b]
    return sorted(groups)


@settings(max_examples=100)
@given(st.integers(1, 9), st.integers(0, 10**6), st.floats(0.1, 1.5), st.floats(0, 0.5))
def test_groups_are_those_of_average_linkage(count: int, seed: int, limit: float, share: float) -> None:
    random = np.random.default_rng(seed)
    distances = random.uniform(0, 2, (count, count))
    distances = (distances + distances.T) / 2
    apart = np.triu(random.uniform(size=(count, count)) < share, 1)
    apart |= apart.T
    found = clustering.group(distances, apart, limit)
    assert found == slow_groups(distances, apart, limit, np.ones(count))
    weights = random.uniform(0.1, 9, count)
    weighted = clustering.group(distances, apart, limit, weights=weights)
    assert weighted == slow_groups(distances, apart, limit, weights)
    assert not any(apart[i, j] for some in found for i in some for j in some)


def test_bounds_on_the_number_of_groups_hold() -> None:
    distances = np.full((4, 4), 0.9)
    apart = ~np.eye(4, dtype=bool)
    assert len(clustering.group(distances, apart, 0.5, at_most=2)) == 2
    assert clustering.group(distances, apart, 0.5, at_most=1) == [[0, 1, 2, 3]]
    none = np.zeros((4, 4), bool)
    assert len(clustering.group(distances * 0, none, 0.5, at_least=3)) == 3
    assert clustering.group(np.zeros((1, 1)), np.zeros((1, 1), bool), 0.5) == [[0]]


def test_more_windows_are_measured_in_short_sound() -> None:
    assert measured_windows(1, 3) == [0]
    for count in (2, 21, 100, 199):
        assert measured_windows(count, 3) == list(range(count))
        assert measured_windows(count, 1) == list(range(count))
    assert measured_windows(200, 3) == [*range(0, 200, 2), 199]
    for count in (300, 600, 889):
        assert measured_windows(count, 3) == sorted({*range(0, count, 3), count - 1})
        assert measured_windows(count, 1) == list(range(count))


def test_windows_cover_every_sample_and_end_with_the_sound() -> None:
    for samples in (1, 159_999, 160_000, 160_001, 171_234, 16_000 * 33):
        starts = window_starts(samples, RATE)
        assert starts[0] == 0 and not (starts % STEP_SAMPLES).any()
        assert (np.diff(starts) <= RATE).all() and (np.diff(starts) > 0).all()
        assert starts[-1] + WINDOW_SAMPLES >= samples > starts[-1]


def test_the_path_is_the_likeliest() -> None:
    """Against all paths of a short stretch with two speakers."""
    random = np.random.default_rng(3)
    activity = random.uniform(0, 1, (5, 2))
    counts = random.dirichlet((1, 1, 1), 5)
    sets = [(0, 0), (1, 0), (0, 1), (1, 1)]

    def score(path: tuple[int, ...]) -> float:
        total = 0.0
        for step, state in enumerate(path):
            weights = activity[step] + resegment.LEAST_ACTIVITY
            who = (0.0, *(np.log(weights / weights.sum())), 0.0)[state]
            total += np.log(counts[step, sum(sets[state])] + resegment.LEAST_COUNT) + who
            if step:
                changed = sum(a != b for a, b in zip(sets[state], sets[path[step - 1]], strict=True))
                total -= resegment.CHANGE * changed
        return total

    best = max(product(range(4), repeat=5), key=score)
    assert [tuple(row) for row in resegment.talking(activity, counts).astype(int)] == [sets[s] for s in best]
    assert resegment.talking(np.zeros((0, 2)), np.zeros((0, 3))).shape == (0, 2)
    assert not resegment.talking(np.zeros((4, 0)), np.ones((4, 3))).size


def scene(talk: list[list[tuple[float, float, int]]]) -> Slots:
    """Windows one every second; of each the spans (start, stop, slot) in seconds of the window."""
    classes = np.full((len(talk), FRAMES, len(CLASSES)), 0.01, np.float32)
    for window, spans in enumerate(talk):
        on = np.zeros((FRAMES, 3), int)
        for start, stop, slot in spans:
            on[int(start / 10 * FRAMES) : int(stop / 10 * FRAMES), slot] = 1
        for number, members in enumerate(CLASSES.astype(int)):
            classes[window, (on == members).all(axis=1), number] = 0.94
    starts = np.arange(len(talk), dtype=np.int64) * RATE
    return Slots.of(Posteriors(starts, classes), int(starts[-1]) + WINDOW_SAMPLES)


def test_slots_say_who_talks_alone_and_where() -> None:
    slots = scene([[(1, 4, 0), (3, 6, 1)], [(0, 3, 2)]])
    assert [slots.of_window(0), slots.of_window(1)] == [[(0, 0), (0, 1)], [(1, 2)]]
    assert slots.alone[0] == pytest.approx([2 / 10 * FRAMES, 2 / 10 * FRAMES, 0], abs=2)
    assert slots.here(1) == slice(50, 50 + STEPS)
    activity = slots.activity((0, 0))
    assert activity[75] > 0.9 > 0.1 > activity[250]


def faces(movement: dict[int, list[tuple[float, float]]], seconds: int, still: tuple[int, ...] = ()) -> Seen:
    """Faces by track whose mouths move in the given spans; ten pictures a second."""
    frames = np.zeros(seconds * 10, FRAME_DTYPE)
    frames["time_us"] = np.arange(len(frames)) * 100_000
    rows = np.zeros(len(frames) * len(movement), FACE_DTYPE)
    for place, (track, spans) in enumerate(movement.items()):
        mine = rows[place * len(frames) : (place + 1) * len(frames)]
        mine["frame"], mine["track"] = np.arange(len(frames)), track
        for start, stop in spans:
            mine["mouth_movement"][int(start * 10) : int(stop * 10)] = 0.05
    tracks = tuple(
        FaceTrack(id=track, start_us=0, stop_us=seconds * 1_000_000, frames=len(frames), still=track in still)
        for track in movement
    )
    head = Sight(
        rate_hz=10,
        width=320,
        height=200,
        start_us=0,
        stop_us=seconds * 1_000_000,
        frames=len(frames),
        tracks=tracks,
    )
    return Seen(head, frames, rows[np.argsort(rows["frame"], kind="stable")])


def test_faces_draw_slots_together_and_push_them_apart() -> None:
    slots = scene([[(1, 4, 0), (5, 8, 1)], [(0, 3, 2), (4, 7, 0)]])
    grouped = [(0, 0), (0, 1), (1, 2), (1, 0)]
    seen = faces({7: [(1, 4)], 8: [(5, 8)]}, 11)
    added = votes_of_faces(slots, grouped, View(seen, 0))
    assert (added == added.T).all() and not added.diagonal().any()
    assert added[0, 2] < -0.2 and added[1, 3] < -0.2  # one face
    assert added[0, 1] > 0.2 and added[0, 3] > 0.2 and added[2, 3] > 0.2  # two faces seen together
    # a stretch that begins later on the recording's clock sees the same faces elsewhere
    assert not votes_of_faces(slots, grouped, View(seen, 60_000_000)).any()


def test_faces_that_say_nothing_change_nothing() -> None:
    slots = scene([[(1, 4, 0), (5, 8, 1)]])
    grouped = [(0, 0), (0, 1)]
    always = [(0.0, 10.0)]
    for seen in (
        faces({1: always, 2: always}, 11),  # both move all the time
        faces({1: [(1, 4)], 2: [(5, 8)]}, 11, still=(1, 2)),  # a poster
        faces({}, 11),
    ):
        assert not votes_of_faces(slots, grouped, View(seen, 0)).any()
