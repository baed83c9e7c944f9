"""The tflite files of the model `faces` and the runtime that runs them, one thread, float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corpus.align.models import HINT, find, pinned_digest
from corpus.schemas.arrays import Float32Array
from corpus.schemas.errors import MissingDependencyError, MissingModelError

MODEL = "faces"
OFF = "set sight.enabled = false to build without"


class Network:
    """One file: an input in, its outputs out, in the order of their sizes, largest first."""

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingDependencyError(
                "faces are found with ai-edge-litert, which is not installed", todo=f"{HINT}, or {OFF}"
            ) from error
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        self._input = entry["index"]
        self.side = int(entry["shape"][1])
        outputs = self._interpreter.get_output_details()
        self._outputs = [o["index"] for o in sorted(outputs, key=lambda o: -int(np.prod(o["shape"])))]

    def __call__(self, picture: Float32Array) -> list[Float32Array]:
        """`picture`: (side, side, 3) in the range the file was trained for."""
        self._interpreter.set_tensor(self._input, picture[None])
        self._interpreter.invoke()
        return [np.asarray(self._interpreter.get_tensor(index)) for index in self._outputs]


def folder() -> Path:
    """Where the files lie.

    Raises:
        MissingModelError: they are not on this machine; it says both ways out.
    """
    try:
        return find(MODEL)
    except MissingModelError as error:
        raise MissingModelError(
            f"the model {MODEL}, which finds faces in pictures, is not on this machine",
            todo=f"fetch it with `corpus models pull {MODEL}`, or {OFF}",
        ) from error


def key() -> str:
    """What tells this version of the files from another, for stage keys."""
    return f"{MODEL} {pinned_digest(MODEL)}"
