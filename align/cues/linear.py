"""Linear models over sparse named features, one npz of plain arrays: backchannel, stall, invitation."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from corpus.schemas.errors import FormatError

_WEIGHTS = "units.npz"
_WEIGHTS_SHA256 = "06bced0e882b24144f7b10eedbd71d6211cec7ad1194516bf80ced248d363d18"


@dataclass(frozen=True, slots=True)
class Linear:
    """Class probabilities: the softmax of a bias and the weights of all features that are present."""

    classes: tuple[str, ...]
    bias: npt.NDArray[np.float64]
    rows: Mapping[str, int]
    weights: npt.NDArray[np.float32]
    """`[names, classes]`."""

    def probability(self, names: Iterable[str]) -> dict[str, float]:
        known = [self.rows[name] for name in dict.fromkeys(names) if name in self.rows]
        score = self.bias + self.weights[known].sum(axis=0, dtype=np.float64)
        # Shifted by the largest, so that exp cannot overflow.
        odds = np.exp(score - score.max())
        return dict(zip(self.classes, (odds / odds.sum()).tolist(), strict=True))


def write_models(models: Mapping[str, Linear]) -> bytes:
    """The same bytes for the same models."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, model in models.items():
        arrays[f"{name}.classes"] = _text(model.classes)
        arrays[f"{name}.bias"] = model.bias
        arrays[f"{name}.names"] = _text(model.rows)
        arrays[f"{name}.weights"] = model.weights
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_models(data: bytes) -> dict[str, Linear]:
    """From the bytes of the npz."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    models = {}
    for name in sorted({key.partition(".")[0] for key in arrays}):
        listed = bytes(arrays[f"{name}.names"]).decode().split("\n")
        models[name] = Linear(
            tuple(bytes(arrays[f"{name}.classes"]).decode().split("\n")),
            arrays[f"{name}.bias"].astype(np.float64),
            {key: row for row, key in enumerate(listed)},
            arrays[f"{name}.weights"].astype(np.float32),
        )
    return models


def _text(names: Iterable[str]) -> npt.NDArray[np.uint8]:
    return np.frombuffer("\n".join(names).encode(), np.uint8)


@cache
def released_models() -> dict[str, Linear]:
    """`runs` (none, backchannel, stall) and `questions` (none, invitation), as released.

    Raises:
        FormatError: the file is not the one this version was released with.
    """
    data = files("corpus.align.cues").joinpath(_WEIGHTS).read_bytes()
    if hashlib.sha256(data).hexdigest() != _WEIGHTS_SHA256:
        raise FormatError("is not the file this version was released with", where=_WEIGHTS)
    return read_models(data)
