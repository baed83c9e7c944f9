"""Checkpoints of the Asteroid toolkit: `{"model_name", "model_args", "state_dict"}` in a file of torch.

Files are read with `weights_only`, so that they cannot run code. A plain ConvTasNet, like most published
checkpoints, runs in torchaudio's class of the same network; any other network needs Asteroid itself.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from torchaudio.functional import resample
from torchaudio.models import ConvTasNet

from corpus.align.backend import MODEL_RATE_HZ
from corpus.align.separate.separator import Separate, Separator
from corpus.align.wheels import sha256_of
from corpus.schemas.arrays import Float32Array
from corpus.schemas.errors import FormatError, MissingDependencyError, MissingModelError

_VERSION = "asteroid/1"
_PLAIN: dict[str, set[object]] = {
    "fb_name": {"FreeFB", "free"},
    "norm_type": {"gLN"},
    "mask_act": {"sigmoid", "relu"},
    "conv_kernel_size": {3},
    "causal": {False},
    "encoder_activation": {None, "linear"},
}
"""The arguments of a ConvTasNet that torchaudio's class supports."""
_DEFAULTS = {
    **{"fb_name": "free", "norm_type": "gLN", "mask_act": "sigmoid", "conv_kernel_size": 3, "causal": False},
    **{"encoder_activation": None, "kernel_size": 16, "stride": 8, "n_filters": 512, "sample_rate": 8000},
    **{"bn_chan": 128, "skip_chan": 128, "hid_chan": 512, "n_blocks": 8, "n_repeats": 3},
}
"""Asteroid's default values for a ConvTasNet's arguments."""
_SIZES = ("kernel_size", "stride", "n_filters", "bn_chan", "hid_chan", "n_blocks", "n_repeats", "sample_rate")


def asteroid_separator(path: Path, device: str) -> Separator:
    """The separator of a checkpoint file."""
    if not path.is_file():
        raise MissingModelError(
            "no such file",
            where=str(path),
            todo="separate.backend = asteroid:FILE names a checkpoint on this machine",
        )
    stored = _read(path)
    name, sources = str(stored["model_name"]), stored["model_args"].get("n_src")
    if not isinstance(sources, int) or sources < 2:
        raise FormatError(
            f"its {name} gives {sources} voices (n_src), not two or more",
            where=str(path),
            todo="name a checkpoint that was trained to separate speakers",
        )
    plain = _is_plain(name, stored["model_args"])
    if not plain and importlib.util.find_spec("asteroid") is None:
        raise MissingDependencyError(
            f"{path} holds a {name} that only Asteroid can run, which is not installed",
            todo="pip install --no-deps asteroid==0.7.0 asteroid-filterbanks soundfile julius",
        )
    library = f"torchaudio={version('torchaudio')}" if plain else f"asteroid={version('asteroid')}"
    identity = f"{_VERSION} {sha256_of(path)} {library} torch={torch.__version__} {device}"

    def load() -> Separate:
        return _Network(_plain(stored, path) if plain else _asteroids(stored, path), device)

    return Separator(f"{_VERSION} {name} {sha256_of(path)[:12]}", identity, sources, load)


def _read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint file; no code in it is run."""
    try:
        with torch.serialization.safe_globals([torch.torch_version.TorchVersion]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(
            "contains more than weights and was not opened: reading it would run code in it",
            where=str(path),
            todo=(
                "if you trust its maker, keep its weights alone: c = torch.load(FILE, weights_only=False); "
                'torch.save({k: c[k] for k in ("model_name", "model_args", "state_dict")}, NEW)'
            ),
        ) from error
    except Exception as error:  # a broken file makes the reader fail in any way
        raise FormatError(
            f"cannot be read as a torch file: {(str(error) or type(error).__name__).splitlines()[0]}",
            where=str(path),
        ) from error
    wanted = {"model_name": str, "model_args": Mapping, "state_dict": Mapping}
    if not isinstance(stored, dict) or not all(isinstance(stored.get(k), t) for k, t in wanted.items()):
        raise FormatError(
            f"is not an Asteroid checkpoint: it lacks {', '.join(wanted)}",
            where=str(path),
            todo="save it with torch.save(model.serialize(), FILE)",
        )
    return stored


def _is_plain(name: str, arguments: Mapping[str, Any]) -> bool:
    if name != "ConvTasNet":
        return False
    given = {**_DEFAULTS, **arguments}
    return (
        all(given[key] in allowed for key, allowed in _PLAIN.items())
        and given["bn_chan"] == given["skip_chan"]
        and given["kernel_size"] == 2 * given["stride"]
        and given.get("out_chan") in (None, given["n_filters"])
    )


@dataclass(frozen=True, slots=True)
class _Loaded:
    run: Any
    """Sound [1, samples] to sources [1, sources, samples]."""
    rate_hz: int


class _Network:
    def __init__(self, loaded: _Loaded, device: str) -> None:
        self._run = loaded.run.to(device).eval()
        self._rate_hz = loaded.rate_hz
        self._device = device

    @torch.inference_mode()
    def __call__(self, sound: Float32Array, speakers: int) -> Float32Array:
        wave = torch.from_numpy(sound)[None].to(self._device)
        sources = self._run(resample(wave, MODEL_RATE_HZ, self._rate_hz))[0]
        whole = resample(sources, self._rate_hz, MODEL_RATE_HZ)[:, : len(sound)]
        padded: Float32Array = functional.pad(whole, (0, len(sound) - whole.shape[-1])).cpu().numpy()
        return padded


class _Plain(torch.nn.Module):
    """Asteroid's ConvTasNet, made of torchaudio's parts; it differs in padding the ends of the sound."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = ConvTasNet(
            num_sources=arguments["n_src"],
            enc_kernel_size=arguments["kernel_size"],
            enc_num_feats=arguments["n_filters"],
            msk_num_feats=arguments["bn_chan"],
            msk_num_hidden_feats=arguments["hid_chan"],
            msk_num_layers=arguments["n_blocks"],
            msk_num_stacks=arguments["n_repeats"],
            msk_activate=arguments["mask_act"],
        )

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        step, samples = self.network.enc_stride, wave.shape[-1]
        wave = functional.pad(wave, (0, max(0, 2 * step - samples)))
        coded = functional.conv1d(wave[:, None], self.network.encoder.weight, stride=step)
        masked = self.network.mask_generator(coded) * coded[:, None]
        sources = functional.conv_transpose1d(
            masked.flatten(0, 1), self.network.decoder.weight, stride=step
        ).view(len(wave), -1, (coded.shape[-1] + 1) * step)
        return functional.pad(sources, (0, wave.shape[-1] - sources.shape[-1]))[..., :samples]


def _plain(stored: Mapping[str, Any], path: Path) -> _Loaded:
    arguments = {**_DEFAULTS, **stored["model_args"]}
    wrong = [key for key in _SIZES if not isinstance(arguments[key], int) or not 1 <= arguments[key] <= 65536]
    if wrong:
        raise FormatError(f"its model_args have no usable {', '.join(wrong)}", where=str(path))
    network = _Plain(arguments)
    last = arguments["n_blocks"] * arguments["n_repeats"] - 1
    weights = {
        _torchaudios_name(key): value
        for key, value in stored["state_dict"].items()
        # The last block's residual output is not used.
        if not key.startswith(f"masker.TCN.{last}.res_conv.")
    }
    return _Loaded(_with_weights(network.network, weights, path, network), arguments["sample_rate"])


def _torchaudios_name(key: str) -> str:
    """`masker.TCN.0.shared_block.2.gamma` is `mask_generator.conv_layers.0.conv_layers.2.weight`."""
    for before, after in (
        ("encoder.filterbank._filters", "encoder.weight"),
        ("decoder.filterbank._filters", "decoder.weight"),
        ("masker.bottleneck.0.", "mask_generator.input_norm."),
        ("masker.bottleneck.1.", "mask_generator.input_conv."),
        ("masker.mask_net.0.", "mask_generator.output_prelu."),
        ("masker.mask_net.1.", "mask_generator.output_conv."),
        ("masker.TCN.", "mask_generator.conv_layers."),
        (".shared_block.", ".conv_layers."),
        (".res_conv.", ".res_out."),
        (".skip_conv.", ".skip_out."),
        (".gamma", ".weight"),
        (".beta", ".bias"),
    ):
        key = key.replace(before, after)
    return key


def _asteroids(stored: Mapping[str, Any], path: Path) -> _Loaded:
    from asteroid.models import get

    network = get(stored["model_name"])(**stored["model_args"])
    rate_hz = int(stored["model_args"].get("sample_rate") or network.sample_rate)
    return _Loaded(_with_weights(network, dict(stored["state_dict"]), path, network), rate_hz)


def _with_weights(network: Any, weights: dict[str, Any], path: Path, whole: Any) -> Any:
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise FormatError(
            f"its weights do not fit its model_args: {str(error).splitlines()[-1].strip()}", where=str(path)
        ) from error
    return whole
