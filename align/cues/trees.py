"""Boosted decision trees as plain arrays, read and evaluated with numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import Float32Array, Float64Array

_BLOCK_ROWS = 1024
"""So many rows at a time stay in the processor's cache."""
FIRST_TREES = 30
UNLIKELY = -4.0
"""Rows of less log-odds after the first trees are left as they are. Of a held-out series 86 % of words were,
and with all trees none of them would have reached 20 %."""


@dataclass(frozen=True, slots=True)
class Trees:
    """A binary classifier: the log-odds are a base and one leaf of each tree.

    The nodes of all trees are concatenated. A row goes left if its feature is at most the threshold.
    """

    base: float
    roots: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int16]
    """-1 at a leaf."""
    threshold: npt.NDArray[np.float32]
    left: npt.NDArray[np.int32]
    """The node on the left; the one on the right follows it. At a leaf, the leaf itself."""
    value: npt.NDArray[np.float32]

    def probability(self, rows: Float32Array) -> Float64Array:
        """Probability of the positive class for each row of `[rows, features]`.

        Rows that the first trees consider very unlikely are not passed to the others.
        """
        blocks = [self._log_odds(rows[at : at + _BLOCK_ROWS]) for at in range(0, len(rows), _BLOCK_ROWS)]
        return np.asarray(1.0 / (1.0 + np.exp(-np.concatenate([np.empty(0), *blocks]))), np.float64)

    def _log_odds(self, rows: Float32Array) -> Float64Array:
        log_odds = np.full(len(rows), self.base)
        asked = np.arange(len(rows))
        columns = np.ascontiguousarray(rows.T)
        for number, root in enumerate(self.roots.tolist()):
            if number == FIRST_TREES:
                asked = asked[log_odds >= UNLIKELY]
                columns = np.ascontiguousarray(columns[:, asked])
            log_odds[asked] += self.value[self._leaves(root, columns)]
        return log_odds

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

    def _leaves(self, root: int, columns: Float32Array) -> npt.NDArray[np.int32]:
        """The leaf of one tree that each row of `[features, rows]` ends in."""
        size = columns.shape[1]
        values = columns.reshape(-1)
        node = np.full(size, root, np.int32)
        going = np.arange(size)
        while len(going):
            here = node[going]
            feature = self.feature[here]
            inner = feature >= 0
            going, here, feature = going[inner], here[inner], feature[inner]
            value = values[feature.astype(np.int64) * size + going]
            node[going] = self.left[here] + (value > self.threshold[here])
        return node
