"""Boosted decision trees as plain arrays, read and evaluated with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Trees:
    """A binary classifier: the log-odds are a base and one leaf of each tree.

    Nodes of all trees lie one after another. A row goes left where its feature is at most the threshold.
    """

    base: float
    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int16]
    """-1 at a leaf."""
    threshold: npt.NDArray[np.float32]
    left: npt.NDArray[np.int32]
    """The node on the left; the one on the right follows it. At a leaf, the leaf itself."""
    value: npt.NDArray[np.float32]

    def probability(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Of the positive class, for each row of `[rows, features]`."""
        log_odds = np.full(len(rows), self.base)
        columns = np.ascontiguousarray(rows.T).reshape(-1)
        for root in self.roots:
            node = np.full(len(rows), root, np.int32)
            # All rows walk down one tree together; those at a leaf drop out.
            going = np.arange(len(rows))
            while len(going):
                here = node[going]
                feature = self.feature[here]
                inner = feature >= 0
                going, here, feature = going[inner], here[inner], feature[inner]
                value = columns[feature.astype(np.int64) * len(rows) + going]
                # The right child is stored behind the left one.
                node[going] = self.left[here] + (value > self.threshold[here])
            log_odds += self.value[node]
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds)), np.float64)

    def arrays(self, name: str) -> dict[str, npt.NDArray[np.generic]]:
        """As they are stored in an npz, under the classifier's name."""
        parts = {part: getattr(self, part) for part in ("roots", "feature", "threshold", "left", "value")}
        return {f"{name}.base": np.array([self.base]), **{f"{name}.{part}": a for part, a in parts.items()}}

    @classmethod
    def of(cls, stored: dict[str, npt.NDArray[np.generic]], name: str) -> Trees:
        """From the arrays of an npz."""
        return cls(
            base=float(stored[f"{name}.base"][0]),
            roots=stored[f"{name}.roots"].astype(np.int32),
            feature=stored[f"{name}.feature"].astype(np.int16),
            threshold=stored[f"{name}.threshold"].astype(np.float32),
            left=stored[f"{name}.left"].astype(np.int32),
            value=stored[f"{name}.value"].astype(np.float32),
        )
