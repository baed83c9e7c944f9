from __future__ import annotations

import numpy as np

from corpus.trainer.evaluate.by_window import WindowSums, over_windows


def test_means_are_of_the_documents_that_have_the_window() -> None:
    sums = WindowSums()
    sums.add("control", np.array([0, 1, 2], np.int32), np.array([1.0, 2.0, 3.0]))
    sums.add("control", np.array([0, 1], np.int32), np.array([3.0, 4.0]))
    sums.add("text", np.array([1, 1, 1], np.int32), np.array([1.0, 2.0, 6.0]))
    first, second, third = sums.rows()
    assert (first.window, first.documents, first.control, first.text) == (0, 2, 2.0, None)
    assert (second.control, second.text, second.sound) == (3.0, 3.0, None)
    assert (third.documents, third.control) == (1, 3.0)
    assert over_windows(sums.rows(), "control", 1, 3) == 3.0
    assert over_windows(sums.rows(), "text", 2, 3) is None


def test_without_documents_there_are_no_rows() -> None:
    assert WindowSums().rows() == ()
