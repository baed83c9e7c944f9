"""DNSMOS P.835: a network's prediction of how listeners would rate speech, background and both, from 1 to 5.

C. K. A. Reddy, V. Gopal, R. Cutler, "DNSMOS P.835: A non-intrusive perceptual objective speech quality
metric to evaluate noise suppressors", ICASSP 2022. The network hears 9.01 s at 16 kHz; the three
polynomials, which bring its figures to the listeners' scale, are those that were published with it.

A stretch costs half a second of one core, many times the rest of a clip's facts, so a bounded number of
them is heard: those with most talk, apart, earliest first among equals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corpus.align.models import find, pinned_digest
from corpus.schemas.arrays import BoolArray, Float32Array, Int16Array
from corpus.schemas.clock import FRAME_US, US
from corpus.schemas.errors import MissingDependencyError, MissingModelError

NAME = "dnsmos"
FILE = "sig_bak_ovr.onnx"
_RATE_HZ = 16_000
_HEARD_SAMPLES = 144_160
"""9.01 s: the network's input."""
_SIGNAL = (-0.08397278, 1.22083953, 0.0052439)
_BACKGROUND = (-0.13166888, 1.60915514, -0.39604546)
_OVERALL = (-0.06766283, 1.11546468, 0.04602535)
_OFF = "set quality.dnsmos_stretches = 0 to build without it"


@dataclass(frozen=True, slots=True)
class Opinion:
    """Mean opinion scores, 1 to 5."""

    signal: float
    background: float
    overall: float


class Dnsmos:
    """Hears up to so many stretches of a clip."""

    def __init__(self, stretches: int, models: Path | None = None) -> None:
        """Raises: MissingModelError, MissingDependencyError where it is not here; both say the ways out."""
        self.key = f"{pinned_digest(NAME)} {stretches}"
        self._stretches = stretches
        self._network = _network(models)

    def __call__(self, mix: Int16Array, talk: BoolArray, rate_hz: int) -> Opinion | None:
        """The mean over the stretches; `talk` are the mix's frames of 25 ms. None where nobody talks."""
        starts = stretches(talk, self._stretches)
        if not starts:
            return None
        frame = rate_hz * FRAME_US // US
        heard = [_opinion(self._network, _nine_seconds(mix[start * frame :], rate_hz)) for start in starts]
        means = np.mean([[one.signal, one.background, one.overall] for one in heard], axis=0)
        return Opinion(*(float(value) for value in means))


def stretches(talk: BoolArray, most: int) -> list[int]:
    """First frames of up to `most` stretches of 9.01 s that hold most talk and do not overlap."""
    length = -(-_HEARD_SAMPLES * US // (_RATE_HZ * FRAME_US))
    if not talk.any():
        return []
    if len(talk) <= length:
        return [0]
    so_far = np.concatenate([[0], np.cumsum(talk)])
    amounts = so_far[length:] - so_far[:-length]
    chosen: list[int] = []
    while len(chosen) < most and amounts.max() > 0:
        start = int(amounts.argmax())
        chosen.append(start)
        amounts[max(0, start - length + 1) : start + length] = 0
    return sorted(chosen)


def _nine_seconds(samples: Int16Array, rate_hz: int) -> Float32Array:
    """The network's input; shorter sound is repeated."""
    need = -(-_HEARD_SAMPLES * rate_hz // _RATE_HZ)
    whole = np.resize(samples, need) if len(samples) < need else samples[:need]
    sound = whole.astype(np.float32) / np.float32(32768)
    if rate_hz != _RATE_HZ:
        import torch
        from torchaudio.functional import resample

        sound = resample(torch.from_numpy(sound), rate_hz, _RATE_HZ).numpy()
    return sound[:_HEARD_SAMPLES]


def _opinion(network: Callable[[Float32Array], Any], sound: Float32Array) -> Opinion:
    signal, background, overall = (float(value) for value in network(sound))
    return Opinion(
        *(
            float(np.polyval(polynomial, raw))
            for polynomial, raw in ((_SIGNAL, signal), (_BACKGROUND, background), (_OVERALL, overall))
        )
    )


def _network(models: Path | None) -> Callable[[Float32Array], Any]:
    try:
        folder = find(NAME, models)
    except MissingModelError as error:
        raise MissingModelError(error.what, todo=f"{error.todo}, or {_OFF}") from error
    try:
        import onnxruntime
    except ImportError as error:
        todo = f'pip install "duplex-corpus[models]", or {_OFF}'
        raise MissingDependencyError("onnxruntime is not installed", todo=todo) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(folder / FILE), sess_options=options, providers=["CPUExecutionProvider"]
    )
    (name,) = (one.name for one in session.get_inputs())
    return lambda sound: session.run(None, {name: sound[None]})[0][0]
