"""Trunks out of language models: small random ones, against what `transformers` says of the same text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from corpus.schemas.errors import FormatError, SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.sequence import BYTE_0, Stream
from corpus.trainer.model.attention import HIDDEN
from corpus.trainer.model.initial_values import INIT_STD
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.model.rope import places
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.train.initial_weights import begin_from, origin_of
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

transformers = pytest.importorskip("transformers", reason="needs transformers, a dependency of tests alone")
tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")

WORDS, TOKENS = 256, 40
SHAPE: dict[str, Any] = {
    "vocab_size": WORDS,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "rms_norm_eps": 1e-5,
}
"""More dimensions in its heads than 64 / 4: a head's size is not told by the others."""
SETTINGS = (
    "model.width=64 model.layers=3 model.heads=4 model.kv_heads=2 model.head_dim=24 model.norm_eps=1e-5 "
    "model.rope=whole model.rope_theta=50000 model.attention_window_s=none model.shared_width=0"
).split()
DENSE = ("model.dense_layers=3", "model.dense_width=96")
EXPERTS = ("model.dense_layers=1", "model.dense_width=96", "model.expert_width=96")
KINDS = {
    "qwen3": ("model.tied=true",),
    "llama": ("model.tied=false", "model.head_norms=false"),
}


@pytest.fixture(scope="module", params=list(KINDS))
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    kind = request.param
    made = {"qwen3": transformers.Qwen3Config, "llama": transformers.LlamaConfig}[kind]
    config = made(
        **SHAPE,
        tie_word_embeddings=kind == "qwen3",
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0},
    )
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():  # drawn as ones they would hide a norm left out
        for name, value in model.named_parameters():
            if "norm" in name:
                value.uniform_(0.5, 1.5)
            else:
                value.normal_(0, 0.15)
    folder = tmp_path_factory.mktemp(kind)
    model.save_pretrained(folder)
    byte_level = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=byte_vocab(), merges=[]))
    byte_level.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    byte_level.decoder = tokenizers.decoders.ByteLevel()
    byte_level.save(str(folder / "tokenizer.json"))
    return kind, folder, model


def byte_vocab() -> dict[str, int]:
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    return {letter: number for number, letter in enumerate(letters)}


def run_config(folder: Path, kind: str, more: Sequence[str]) -> RunConfig:
    own = (f"init={folder}", f"data.tokenizer={folder / 'tokenizer.json'}")
    return with_overrides(preset("tiny"), [*SETTINGS, *KINDS[kind], *own, *more])


def begun(config: RunConfig) -> InteractionModel:
    model = InteractionModel(config.model, seed=5)
    begin_from(origin_of(config, print), model, None)
    return model.eval()


@torch.no_grad()
def logits(model: InteractionModel, token_L: torch.Tensor) -> torch.Tensor:
    """Of plain text, one token after another, without the constants that our streams add."""
    length = len(token_L)
    at_L = torch.arange(length)[None]
    stream_BL = torch.full((1, length), int(Stream.OWN_TEXT))
    place_3BL = places(model.config.rope, at_L, at_L * 7 % 5, at_L * 3 % 5, stream_BL)
    bias_BHLS = torch.full((length, length), HIDDEN).triu(1)[None, None]
    x_BLD = model.embed.text[token_L + BYTE_0][None]
    for block in model.blocks:
        x_BLD, _ = block(x_BLD, place_3BL, bias_BHLS, torch.ones(1, length, dtype=torch.bool))
    return model.text_logits(model.norm(x_BLD))[0, :, BYTE_0 : BYTE_0 + WORDS]


@pytest.mark.parametrize("feed", [DENSE, EXPERTS], ids=["dense", "experts"])
def test_logits_are_those_of_transformers(theirs: tuple[str, Path, Any], feed: Sequence[str]) -> None:
    kind, folder, model = theirs
    token_L = torch.randint(WORDS, (TOKENS,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(token_L[None]).logits[0]
    ours = logits(begun(run_config(folder, kind, feed)), token_L)
    assert expected.std() > 0.5  # they say something
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)


def test_with_another_tokenizer_text_is_drawn(theirs: tuple[str, Path, Any]) -> None:
    kind, folder, _ = theirs
    said: list[str] = []
    config = run_config(folder, kind, [*DENSE, "data.tokenizer=bytes"])
    model = InteractionModel(config.model, seed=5)
    begin_from(origin_of(config, said.append), model, None)
    assert model.embed.text.std() < 2 * INIT_STD
    assert model.blocks[0].attention.query.std() > 0.1
    assert any("text starts at random" in line for line in said)


def test_it_trains_saves_and_goes_on(
    theirs: tuple[str, Path, Any], small_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    kind, folder, model = theirs
    data = small_run().data.data
    pairs = (*EXPERTS, f"data.data={data}", "data.rows=2", "data.length=256", "optim.schedule=constant")
    still = run_config(folder, kind, [*pairs, "steps=1", "optim.lr=0", "model.balance_rate=0"])
    train_model(still, tmp_path / "still", talk=print)
    weights = load_model(tmp_path / "still")[0].state_dict()
    own = model.state_dict()
    assert torch.equal(weights["blocks.2.attention.out"], own["model.layers.2.self_attn.o_proj.weight"])
    down = own["model.layers.1.mlp.down_proj.weight"]
    assert all(torch.equal(expert, down) for expert in weights["blocks.1.feed.experts.down"])
    run = tmp_path / "run"
    train_model(run_config(folder, kind, [*pairs, "steps=1"]), run, talk=print)
    result = train_model(run_config(folder, kind, [*pairs, "steps=2"]), run, talk=print)
    assert result.step == 2


def test_what_does_not_fit_is_named(theirs: tuple[str, Path, Any], tmp_path: Path) -> None:
    kind, folder, _ = theirs

    def refused(error: type[Exception], match: str, *pairs: str, folder: Path = folder) -> str:
        with pytest.raises(error, match=match) as found:
            begun(run_config(folder, kind, [*DENSE, *pairs]))
        return str(getattr(found.value, "todo", ""))

    todo = refused(FormatError, "blocks.0.attention.query is ", "model.heads=8", "model.kv_heads=4")
    assert "model.heads=4" in todo
    assert "rope_theta=50000" in refused(SettingsError, "something else", "model.rope_theta=1e6")
    assert "model.rope=whole" in refused(SettingsError, "something else", "model.rope=split")
    other = "false" if kind == "qwen3" else "true"
    assert "model.head_norms=" in refused(SettingsError, "something else", f"model.head_norms={other}")
    refused(SettingsError, "cannot hear", "model.lora_rank=4")
    # Folders that ours cannot be, and such as are broken.
    for change, match in (
        ({"model_type": "mixtral"}, "type 'mixtral'"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "scaled"),
        ({"hidden_size": "wide"}, "cannot be read"),
        ({"rope_parameters": "x"}, "cannot be read"),
        ({"rope_scaling": [1]}, "cannot be read"),
        ({"num_hidden_layers": 2}, "no place here"),
    ):
        changed = tmp_path / "changed"
        shutil.rmtree(changed, ignore_errors=True)
        shutil.copytree(folder, changed)
        plain = json.loads((changed / "config.json").read_bytes())
        (changed / "config.json").write_text(json.dumps(plain | change))
        refused(FormatError, match, folder=changed)
    (changed / "config.json").write_bytes((folder / "config.json").read_bytes())
    index = changed / "model.safetensors.index.json"
    index.write_text('{"weight_map": ["model.safetensors"]}')
    refused(FormatError, "is no file beside it", folder=changed)
    index.unlink()
    weights = changed / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(FormatError, "cannot be read", folder=changed)
