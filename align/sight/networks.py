"""The tflite files that find faces, hands and bodies, and their runtime: one thread, float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from corpus.align.models import HINT, find, pinned_digest
from corpus.align.sight.picture import Colour
from corpus.schemas.arrays import Float32Array
from corpus.schemas.errors import MissingDependencyError, MissingModelError
from corpus.schemas.settings import SightSettings
from corpus.schemas.sight import Sort

_OFF = "set sight.enabled = false to build without"


class Network:
    """One network file: takes an input and returns its outputs, largest first."""

    def __init__(self, path: Path) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise MissingDependencyError(
                "sight needs ai-edge-litert, which is not installed", todo=f"{HINT}, or {_OFF}"
            ) from error
        self._interpreter = Interpreter(model_path=str(path), num_threads=1)
        self._interpreter.allocate_tensors()
        (entry,) = self._interpreter.get_input_details()
        self._input = entry["index"]
        self.side = int(entry["shape"][1])
        outputs = self._interpreter.get_output_details()
        self._outputs = [o["index"] for o in sorted(outputs, key=lambda o: -int(np.prod(o["shape"])))]

    def __call__(self, picture: Colour, *, darkest: float = 0.0) -> list[Float32Array]:
        """`picture`: (side, side, 3). `darkest`: the network's value for black, 0 or -1; white is 1."""
        # Straight into the interpreter's own memory; no view of it may be left when it runs.
        view = self._interpreter.tensor(self._input)()[0]
        np.multiply(picture, np.float32((1 - darkest) / 255), out=view)
        if darkest:
            view += np.float32(darkest)
        del view
        self._interpreter.invoke()
        return [np.asarray(self._interpreter.get_tensor(index)) for index in self._outputs]


def folder(model: Sort) -> Path:
    """The folder of a model's files.

    Raises:
        MissingModelError: it is not on this machine; the message names both remedies.
    """
    try:
        return find(model)
    except MissingModelError as error:
        off = _OFF if model == "faces" else f"set sight.{model} = false to build without"
        raise MissingModelError(
            f"the model {model}, which finds {model} in pictures, is not on this machine",
            todo=f"fetch it with `corpus models pull {model}`, or {off}",
        ) from error


def looked_for(settings: SightSettings) -> tuple[Sort, ...]:
    """The things that the settings ask for besides movement and cuts, each with a model of its name."""
    asked: dict[Sort, bool] = {"faces": settings.faces, "hands": settings.hands, "bodies": settings.bodies}
    return tuple(sort for sort, wanted in asked.items() if wanted)


def keys(settings: SightSettings) -> tuple[str, ...]:
    """Identifies the version of the models that the settings ask for, in stage keys."""
    return tuple(f"{model} {pinned_digest(model)}" for model in looked_for(settings))
