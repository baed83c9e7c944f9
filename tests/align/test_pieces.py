"""Which slots' voices are measured, from which frames, and which share one vector."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.align.campplus import FRAME_SAMPLES
from corpus.align.pieces import Speech, measured_for, speech_of
from corpus.align.segmentation import CLASSES, FRAMES, RATE_HZ, WINDOW_SAMPLES, Posteriors
from corpus.align.slots import Slots

A_SECOND = RATE_HZ // FRAME_SAMPLES


def heard(first_s: int, start_s: float, stop_s: float) -> Speech:
    """Speech from one time of the sound to another in a window that begins at `first_s`."""
    mask = np.zeros(998, bool)
    mask[max(0, round((start_s - first_s) * A_SECOND)) : round((stop_s - first_s) * A_SECOND)] = True
    return Speech(first_s * A_SECOND, mask)


def test_the_same_speech_in_ten_windows_is_measured_once() -> None:
    assert measured_for([heard(first, 10, 12) for first in range(3, 11)]) == [0] * 8
    assert measured_for([]) == []


def test_speech_does_not_drift_from_piece_to_piece() -> None:
    """Somebody talks all the time: each window has a second more of it and a second less."""
    places = measured_for([heard(first, first, first + 9.9) for first in range(30)])
    assert places == [first - first % 2 for first in range(30)]


def test_other_speech_of_the_same_window_has_its_own_vector() -> None:
    places = measured_for([heard(0, 1, 3), heard(0, 3, 6), heard(1, 1, 3), heard(1, 3, 6), heard(40, 1, 3)])
    assert places == [0, 1, 0, 1, 4]


@pytest.mark.parametrize(
    ("stop_s", "places"), [(4.0, [0, 0]), (2.9, [0, 0]), (2.7, [0, 1]), (5.6, [1, 1]), (5.8, [0, 1])]
)
def test_pieces_share_a_vector_by_the_frames_they_share(stop_s: float, places: list[int]) -> None:
    one, other = heard(0, 0, 4), heard(0, 0, stop_s)
    assert one.alike(other) == other.alike(one) == pytest.approx(min(4, stop_s) / max(4, stop_s))
    assert measured_for([one, other]) == places


def test_the_longest_piece_is_measured() -> None:
    """Speech that a window cuts off is all in a later window."""
    assert measured_for([heard(first, 8, 12.9) for first in range(5)]) == [0, 1, 3, 3, 3]


def test_speech_is_a_slots_own_unless_that_is_too_little() -> None:
    classes = np.zeros((2, FRAMES, len(CLASSES)), np.float32)
    classes[:, :, 0] = 1
    classes[1, 100:200, [0, 1]] = [[0], [1]]  # slot 0 alone,
    classes[1, 200:300, [0, 4]] = [[0], [1]]  # then with slot 1, which never talks alone
    slots = Slots.of(Posteriors(np.array([0, RATE_HZ]), classes), WINDOW_SAMPLES + RATE_HZ)
    frames = np.arange(11 * A_SECOND - 2)
    first, last = (101 * 998 / FRAMES + A_SECOND, 199 * 998 / FRAMES + A_SECOND)
    own = speech_of((1, 0), RATE_HZ, slots, len(frames)).of(frames)
    assert own[[0, -1]] == pytest.approx([first, last], abs=3) and (np.diff(own) == 1).all()
    overlapped = speech_of((1, 1), RATE_HZ, slots, len(frames)).of(frames)
    assert len(overlapped) == pytest.approx(100 * 998 / FRAMES, abs=2) and overlapped[0] > own[-1]
    # Sound that ends inside a window gives what there is.
    assert len(speech_of((1, 0), RATE_HZ, slots, A_SECOND + 2).mask) == 2
