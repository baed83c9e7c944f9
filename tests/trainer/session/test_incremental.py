"""What a reader runs is a fixed program over fixed memory: it can be recorded, and padding is not felt."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from corpus.trainer.config import AudioHead, ModelConfig
from corpus.trainer.data import noise
from corpus.trainer.data.sequence import BYTE_0, SIL, SPK, Positions
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS
from corpus.trainer.session.incremental import Inputs, Reader, StepInput, _sizes, forward, run_lengths
from corpus.trainer.session.kv_cache import KvCache, Layer
from corpus.trainer.session.sampling import Choices, Sampling, odds_of, sound_seed, text_bits
from corpus.trainer.session.session import MicroTurn, Session

CONFIG = dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2)
NEAR = dataclasses.replace(CONFIG, attention_window_s=0.6)
Make = Callable[..., Positions]
Cut = Callable[..., Positions]
KEYS = 512
HEADS: tuple[AudioHead, ...] = ("dmel", "flow", "depth")


def model_of(
    config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float64, head: AudioHead = "dmel"
) -> InteractionModel:
    model = InteractionModel(dataclasses.replace(config, audio_head=head))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.1, generator=generator)
    return model.to(dtype).eval()


def recorded(reader: Reader, inputs: Inputs) -> tuple[GraphModule, list[torch.Tensor]]:
    """One run as a list of operations, and the memory they work on. Raises where an operation asks a tensor
    for its value or has a shape that depends on one.
    """
    cache = reader.cache
    held = [each for layer in cache.layers for each in layer]
    memory = [*inputs.block, cache.position_S, cache.turn_S, *held]

    def run(memory: list[torch.Tensor]) -> torch.Tensor:
        block, (position_S, turn_S), held = StepInput(*memory[:6]), memory[6:8], memory[8:]
        twin: KvCache = copy.copy(cache)
        twin.position_S, twin.turn_S = position_S, turn_S
        twin.layers = [Layer(*held[n : n + 2]) for n in range(0, len(held), 2)]
        return forward(reader.model, twin, block, KEYS)

    with torch.no_grad():
        traced: GraphModule = make_fx(run, tracing_mode="fake", _allow_non_fake_inputs=True)(memory)
    return traced, memory


@pytest.mark.parametrize("config", [CONFIG, NEAR], ids=["all", "window"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=["fp64", "bf16"])
def test_a_run_reads_nothing_but_its_memory(
    config: ModelConfig, dtype: torch.dtype, make_document: Make, cut_positions: Cut
) -> None:
    """Every length is recorded once, from an empty cache; what is recorded then reads a document."""
    model = model_of(config, dtype)
    whole = make_document(config, 8)
    plain, ours = (Reader.of(model, capacity_positions=len(whole)) for _ in range(2))
    runs = {}
    for length in run_lengths(config):
        inputs = Inputs(config, length, ours.cache)
        inputs.fill(None, 0, np.zeros(0, np.int64))
        runs[length] = (inputs, *recorded(ours, inputs))
    random = np.random.default_rng(0)
    while plain.length < len(whole):
        length = int(random.choice(run_lengths(config)))
        start, stop = plain.length, min(plain.length + int(random.integers(1, length + 1)), len(whole))
        part = cut_positions(whole, start, stop)
        if len(part.patch_at_P):
            length = run_lengths(config)[-1]
        inputs, run, memory = runs[length]
        inputs.fill(part, start, ours.cache.extend(part.turn_L))
        with torch.no_grad():
            hidden = run(memory)[: stop - start]
        expected = plain.read(part)
        assert float((hidden.double() - expected.double()).abs().max()) <= (
            1e-12 if dtype == torch.float64 else 0.1
        )


class OneDevice(TorchDispatchMode):
    """Everything computed lies on one device: nothing is made on the host, to be copied."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.operations = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor):
                assert each.device.type == self.device, function
        self.operations += 1
        return out


@pytest.mark.parametrize("head", HEADS)
@torch.no_grad()
def test_nothing_comes_from_the_host(head: AudioHead) -> None:
    """On a device that holds no values, where a copy from the host or a question for a value would show."""
    model = InteractionModel(dataclasses.replace(NEAR, audio_head=head)).to("meta", torch.bfloat16).eval()
    reader = Reader.of(model, capacity_positions=600)
    with OneDevice("meta") as runs:
        for length in run_lengths(NEAR):
            size = sum(_sizes(length, length, NEAR))
            memory = torch.empty(size, dtype=torch.uint8, device="meta")
            forward(model, reader.cache, StepInput.of(memory, length, length, NEAR), KEYS)
    with OneDevice("meta") as choices:
        asked_3 = torch.empty(3, dtype=torch.int64, device="meta")
        odds_of(model.text_logits(reader.last_D), Sampling(), asked_3)
        model.audio_head.sample(reader.last_D, seed=asked_3[2], temperature=0.8, top_k=4)
    assert runs.operations > 400 and choices.operations > 40


@pytest.mark.parametrize(
    ("head", "dtype"),
    [*((head, torch.float32) for head in HEADS), ("dmel", torch.bfloat16)],
)
@torch.no_grad()
def test_choices_read_nothing_but_their_memory(head: AudioHead, dtype: torch.dtype) -> None:
    config = dataclasses.replace(CONFIG, depth_groups=2)
    model, sampling = model_of(config, dtype, head), Sampling()

    def sound(hidden_D: torch.Tensor, seed: torch.Tensor) -> torch.Tensor:
        return model.audio_head.sample(hidden_D, seed=seed, temperature=0.8, top_k=4)

    def text(hidden_D: torch.Tensor, asked_3: torch.Tensor) -> torch.Tensor:
        return odds_of(model.text_logits(hidden_D), sampling, asked_3)

    blank = torch.zeros(64, dtype=dtype)
    traced = {
        kind: make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(blank, asked)
        for kind, function, asked in (
            ("sound", sound, torch.tensor(0)),
            ("text", text, torch.zeros(3, dtype=torch.int64)),
        )
    }
    random = torch.Generator().manual_seed(1)
    seen = set()
    for turn in range(20):
        hidden_D = torch.randn(64, generator=random).to(dtype)
        seed = sound_seed(7, turn, 0)
        drawn = traced["sound"](hidden_D, torch.tensor(seed))
        assert torch.equal(drawn, model.audio_head.sample(hidden_D, seed=seed, temperature=0.8, top_k=4))
        asked_3 = torch.tensor((SPK, text_bits(7, turn, 0), 0))
        odds_6 = traced["text"](hidden_D, asked_3)
        assert torch.equal(odds_6, text(hidden_D, asked_3))
        logprob_V = model.text_logits(hidden_D).double().log_softmax(0)
        token = int(odds_6[4])
        assert odds_6[[1, 2, 3, 5]].tolist() == logprob_V[[SIL, SPK, SPK, token]].tolist()
        share = float(odds_6[2].exp() / (odds_6[1].exp() + odds_6[2].exp()))
        assert float(odds_6[0]) == pytest.approx(share)
        seen.add(token)
    assert len(seen) > 5


@pytest.mark.parametrize("config", [CONFIG, NEAR], ids=["all", "window"])
def test_padding_is_not_felt(config: ModelConfig, make_document: Make, cut_positions: Cut) -> None:
    """The same positions alone and in the longest run agree to rounding; and to the bit, whatever the memory
    of padding holds."""
    model = model_of(config)
    whole = make_document(config, 8)
    padded, dirty = (Reader.of(model, capacity_positions=len(whole)) for _ in range(2))
    fitting = Reader.of(model, capacity_positions=len(whole))
    longest = run_lengths(config)[-1]
    padded._lengths = dirty._lengths = (longest,)
    random = np.random.default_rng(0)
    while fitting.length < len(whole):
        start = fitting.length
        part = cut_positions(whole, start, min(start + int(random.integers(1, 6)), len(whole)))
        inputs = dirty._inputs_of(longest)
        for memory in (inputs._sound, inputs._patch):
            memory[:] = random.integers(0, 256, memory.shape)
        trash = dirty.cache.slots - 1
        for layer in dirty.cache.layers:
            layer.key_GSC[:, trash] = layer.value_GSC[:, trash] = float(random.normal())
        expected = padded.read(part)
        assert torch.equal(dirty.read(part), expected)
        assert float((fitting.read(part) - expected).abs().max()) <= 1e-12
    assert len(fitting.shapes) > 1 and len(padded.shapes) == 1


def test_a_conversation_has_few_shapes() -> None:
    model = model_of(dtype=torch.float32)
    session = Session(model, sampling=Sampling(control="sampled"), max_seconds=60)
    random = np.random.default_rng(0)
    for turn in range(60):
        frame = random.integers(0, 256, (80, 80, 3), np.uint8) if turn % 3 == 0 else None
        sound = random.integers(0, 256, (8, 80), np.uint8)
        text = "tool: 42" if turn % 7 == 0 else None
        session.step(MicroTurn(audio=sound, frame=frame, text=text))
    assert session.positions > 512
    assert run_lengths(CONFIG) == (1, 5, 13, 17)
    assert {length for length, _ in session._reader.shapes} == set(run_lengths(CONFIG))
    assert {keys for _, keys in session._reader.shapes} == {512, 1024}


def test_what_is_drawn_does_not_depend_on_where() -> None:
    """Bits made on the host and bits made where the model is are the same."""
    assert int(noise.mix(text_bits(3, 5, 1))) == int(noise.mix(torch.tensor(text_bits(3, 5, 1))))
    model = model_of(dtype=torch.float32)
    reader = Reader.of(model, capacity_positions=8)
    reader.last_D.normal_(generator=torch.Generator().manual_seed(2))
    choices = Choices(reader, Sampling())
    tokens = {choices.odds(bits=text_bits(1, turn, 0)).token for turn in range(40)}
    assert len(tokens) > 5 and all(token == 3 or token >= BYTE_0 for token in tokens)
    frames = [choices.frames(sound_seed(1, turn, 0)) for turn in (1, 1, 2)]
    assert np.array_equal(frames[0], frames[1]) and not np.array_equal(frames[0], frames[2])
