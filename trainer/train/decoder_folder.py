"""Reads a trunk from a language model's folder in the layout of Hugging Face: config.json, *.safetensors.

    there                                          here, layer n
    model.embed_tokens                             embed.text, its row k at token BYTE_0 + k
    lm_head                                        text_head, likewise, unless it is tied
    model.layers.n.input_layernorm                 blocks.n.attention.norm
    model.layers.n.self_attn.{q,k + v,o}_proj      blocks.n.attention.{query, key_value, out}
    model.layers.n.self_attn.{q,k}_norm            blocks.n.attention.{query,key}_norm       Qwen3 only
    model.layers.n.post_attention_layernorm        blocks.n.feed.norm
    model.layers.n.mlp.{gate + up,down}_proj       blocks.n.feed.gated, or of every expert in it
    model.norm                                     norm

A mixture begins with the same output as the feed-forward it replaces: all of its experts are copies of it,
and the weights of those that a token visits add up to one. They diverge in training. The parts that hear,
see and speak start from random values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from corpus.schemas.errors import FormatError
from corpus.trainer.config import ModelConfig
from corpus.trainer.data.sequence import BYTE_0
from corpus.trainer.train.exported import CONFIG_NAME, read_weights

_KNOWN = ("llama", "qwen3")
_TAKEN = ("model.embed_tokens.", "model.norm.", "lm_head.")
_TEXT = ("embed.text", "text_head")


def is_decoder(folder: Path) -> bool:
    """Whether a folder holds a Hugging Face language model, judged by its config.json."""
    plain = _config(folder)
    return plain is not None and "num_hidden_layers" in plain and "model_type" in plain


def decoder_model(folder: Path, model: ModelConfig) -> ModelConfig:
    """The run's model configuration with the shapes and the rotation of the folder's trunk.

    Raises: FormatError if our trunk cannot represent it.
    """
    plain = _config(folder) or {}
    try:
        _check_kind(folder, plain)
        rope = plain.get("rope_parameters") or {}
        heads = int(plain["num_attention_heads"])
        width, layers, inner = (
            int(plain[name]) for name in ("hidden_size", "num_hidden_layers", "intermediate_size")
        )
        return replace(
            model,
            width=width,
            layers=layers,
            dense_layers=min(model.dense_layers, layers),
            heads=heads,
            kv_heads=int(plain.get("num_key_value_heads") or heads),
            head_dim=int(plain.get("head_dim") or width // heads),
            # In a mixture each expert begins as a copy of the feed-forward.
            dense_width=inner if model.dense_layers else model.dense_width,
            expert_width=inner if model.dense_layers < layers else model.expert_width,
            shared_width=0 if model.dense_layers < layers else model.shared_width,
            route_scale=1.0 if model.dense_layers < layers else model.route_scale,
            tied=bool(plain.get("tie_word_embeddings", False)),
            head_norms=plain["model_type"] == "qwen3",
            rope="whole",
            rope_theta=float(rope.get("rope_theta") or plain.get("rope_theta") or 10_000.0),
            norm_eps=float(plain.get("rms_norm_eps", 1e-6)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        _refuse(folder, f"{CONFIG_NAME} cannot be read: {error!r}")


def decoder_weights(
    folder: Path, model: ModelConfig, wanted: Mapping[str, torch.Size], *, text: bool
) -> dict[str, torch.Tensor]:
    """The wanted weights that the folder holds, by our names; those of text only if its tokenizer is ours.

    Raises: FormatError if one is missing, left over, or of another shape.
    """
    try:
        theirs = read_weights(folder)
    except FormatError as error:
        _refuse(folder, error.what)
    # A weight left over would be silently lost, and the trunk would compute something else.
    layers = tuple(f"model.layers.{layer}." for layer in range(model.layers))
    unknown = [name for name in theirs if not name.startswith((*_TAKEN, *layers)) or name.endswith(".bias")]
    if unknown:
        _refuse(folder, f"weights that have no place here: {', '.join(sorted(unknown)[:3])}")

    def take(name: str, *shape: int) -> torch.Tensor:
        value = theirs.get(f"{name}.weight")
        if value is None or tuple(value.shape) != shape:
            held = "missing" if value is None else list(value.shape)
            _refuse(folder, f"{name}.weight is {held}, not {list(shape)}")
        return value

    weights: dict[str, torch.Tensor] = {}
    for name in wanted:
        if name == "norm.weight":
            weights[name] = take("model.norm", model.width)
        elif name in _TEXT and text:
            weights[name] = _tokens(theirs, name, wanted[name], folder)
        elif name.startswith("blocks."):
            _, layer, *rest = name.split(".")
            value = _of_layer(take, f"model.layers.{layer}", ".".join(rest), model)
            # Experts begin alike; routing and training make them differ.
            if value is not None:
                weights[name] = value.expand(wanted[name])
    return weights


def _of_layer(
    take: Callable[..., torch.Tensor], layer: str, name: str, model: ModelConfig
) -> torch.Tensor | None:
    """One weight of a layer; None for the router's, which the folder does not have."""
    width, head = model.width, model.head_dim
    inner = model.expert_width if name.startswith("feed.experts") else model.dense_width
    attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
    match (
        name.removeprefix("attention.").removeprefix("feed.").removeprefix("gated.").removeprefix("experts.")
    ):
        case "norm.weight" if name.startswith("attention."):
            return take(f"{layer}.input_layernorm", width)
        case "norm.weight":
            return take(f"{layer}.post_attention_layernorm", width)
        case "query":
            return take(f"{attention}.q_proj", model.heads * head, width)
        # We hold keys and values in one matrix, and gates with their values in another.
        case "key_value":
            return torch.cat([take(f"{attention}.{k}_proj", model.kv_heads * head, width) for k in "kv"])
        case "out":
            return take(f"{attention}.o_proj", width, model.heads * head)
        case "query_norm.weight":
            return take(f"{attention}.q_norm", head)
        case "key_norm.weight":
            return take(f"{attention}.k_norm", head)
        case "gate_up":
            return torch.cat([take(f"{mlp}.{k}_proj", inner, width) for k in ("gate", "up")])
        case "down":
            return take(f"{mlp}.down_proj", width, inner)
    return None


def _tokens(theirs: Mapping[str, torch.Tensor], name: str, shape: torch.Size, folder: Path) -> torch.Tensor:
    """Rows of a table by our token numbers; control tokens and unused numbers get the mean of all rows."""
    source = "lm_head.weight" if name == "text_head" else "model.embed_tokens.weight"
    table = theirs.get(source)
    if table is None or table.ndim != 2 or not len(table) or table.shape[1] != shape[1]:
        _refuse(folder, f"{source} is {'missing' if table is None else list(table.shape)}")
    # The mean behaves like an ordinary token: until it is learnt it is neither likely nor unlikely.
    filled = table.float().mean(0).expand(shape).clone()
    rows = min(len(table), len(filled) - BYTE_0)
    filled[BYTE_0 : BYTE_0 + rows] = table[:rows].float()
    return filled


def _check_kind(folder: Path, plain: Mapping[str, Any]) -> None:
    kind = plain["model_type"]
    if kind not in _KNOWN:
        _refuse(folder, f"a model of type {kind!r}; known are {', '.join(_KNOWN)}")
    scaling = plain.get("rope_scaling") or plain.get("rope_parameters") or {}
    # Older folders use `type`, newer ones `rope_type`; both say `default` if nothing is scaled.
    scaled = scaling.get("rope_type", scaling.get("type", "default")) != "default"
    for wrong, what in (
        (plain.get("hidden_act", "silu") != "silu", f"an activation {plain.get('hidden_act')!r}, not silu"),
        (plain.get("attention_bias") or plain.get("mlp_bias"), "biases"),
        (scaled, "scaled rotary positions"),
        (plain.get("use_sliding_window"), "sliding attention in some layers"),
    ):
        if wrong:
            _refuse(folder, f"a trunk with {what}")


def _refuse(folder: Path, what: str) -> NoReturn:
    todo = "take a folder of a Llama or Qwen3 without biases, scaled positions or experts of its own"
    raise FormatError(what, where=str(folder), todo=todo)


def _config(folder: Path) -> dict[str, Any] | None:
    try:
        plain = json.loads((folder / CONFIG_NAME).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None
