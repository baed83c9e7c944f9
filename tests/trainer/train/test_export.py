from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from corpus.schemas.clip import MelForm
from corpus.schemas.errors import DatasetError, FormatError, UsageError
from corpus.trainer.config import LossConfig, RunConfig
from corpus.trainer.data.control import Weighting
from corpus.trainer.data.loader import Loader
from corpus.trainer.train import exported as exported_module
from corpus.trainer.train.decoder_folder import is_decoder
from corpus.trainer.train.export import export
from corpus.trainer.train.exported import is_exported, load_exported, weights_digest
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

OUTSIDE: tuple[Any, ...] = ("../other.safetensors", "/etc/passwd", ".", "", 3, {}, None)

FRESH = """
import sys, torch
from pathlib import Path
from corpus.trainer.train.exported import load_exported
from corpus.trainer.train.run_file import read_run
from corpus.trainer.data.loader import Loader
torch.set_num_threads(1)
model, head = load_exported(Path(sys.argv[1]))
batch, _ = next(iter(Loader(read_run(Path(sys.argv[2])).config, ahead=0)))
with torch.no_grad():
    torch.save(model.text_logits(model.hidden(batch)), sys.argv[3])
"""


HEADS = """
import sys, torch
from pathlib import Path
from corpus.trainer.train.exported import load_exported
torch.set_num_threads(1)
model, head = load_exported(Path(sys.argv[1]))
hidden = torch.load(sys.argv[2])
frames = model.audio_head.sample(hidden, seed=3, temperature=0.7, top_k=4)
torch.save((head.model.audio_head, model.text_logits(hidden), frames), sys.argv[3])
"""


@pytest.mark.parametrize("head", ["flow", "depth"])
def test_every_head_says_the_same_in_a_fresh_process(
    small_run: Callable[..., RunConfig], start_python: Callable[..., Any], tmp_path: Path, head: str
) -> None:
    """And the file holds plain tensors, the router's biases among them, for whoever has only safetensors."""
    train_model(small_run("steps=2", f"model.audio_head={head}"), tmp_path / "run", talk=print)
    export(tmp_path / "run", tmp_path / "model")
    model, _ = load_model(tmp_path / "run")
    plain, state = load_file(tmp_path / "model" / "model.safetensors"), model.state_dict()
    assert plain.keys() == state.keys()
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert all(torch.equal(plain[name], value) for name, value in state.items())
    biases = [value for name, value in plain.items() if name.endswith("bias_E")]
    assert biases and all(value.any() for value in biases)
    hidden = torch.randn(5, model.config.width, generator=torch.Generator().manual_seed(0))
    torch.save(hidden, tmp_path / "hidden")
    files = [str(tmp_path / name) for name in ("model", "hidden", "said")]
    (done,) = start_python("-c", HEADS, *files)
    assert done.returncode == 0, done.stderr
    name, logits, frames = torch.load(tmp_path / "said")
    with torch.no_grad():
        assert name == head and torch.equal(logits, model.text_logits(hidden))
        again = model.audio_head.sample(hidden, seed=3, temperature=0.7, top_k=4)
    assert torch.equal(frames, again)


@pytest.fixture
def run(small_run: Callable[..., RunConfig], tmp_path: Path) -> Path:
    train_model(small_run("steps=2", "optim.ema_decay=0.5"), tmp_path / "run", talk=print)
    return tmp_path / "run"


def test_a_fresh_process_computes_the_same_logits(
    run: Path, start_python: Callable[..., Any], tmp_path: Path
) -> None:
    files = export(run, tmp_path / "model")
    assert [file.name for file in files] == ["config.json", "model.safetensors"]
    model, config = load_model(run)
    batch, _ = next(iter(Loader(config, ahead=0)))
    with torch.no_grad():
        expected = model.text_logits(model.hidden(batch))
    (done,) = start_python("-c", FRESH, str(tmp_path / "model"), str(run), str(tmp_path / "logits"))
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(tmp_path / "logits"), expected)


def test_what_training_did_to_the_odds_goes_along(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model")
    model, head = load_exported(tmp_path / "model")
    assert model.weighting == head.weighting == load_model(run)[0].weighting == Weighting.of(LossConfig())
    assert model.weighting.after_silence == pytest.approx(15)
    plain = json.loads((tmp_path / "model" / "config.json").read_text())
    del plain["weighting"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(plain))
    with pytest.raises(FormatError, match="weighting"):
        load_exported(tmp_path / "model")


def test_large_models_get_several_files_and_an_index(run: Path, tmp_path: Path) -> None:
    files = export(run, tmp_path / "model", file_bytes=300_000)
    names = [file.name for file in files if file.suffix == ".safetensors"]
    assert len(names) > 2 and names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    index = json.loads((tmp_path / "model" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(names)
    model = load_model(run)[0].state_dict()
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in model.values())
    loaded = load_exported(tmp_path / "model")[0].state_dict()
    assert all(torch.equal(model[name], loaded[name]) for name in model)


def test_half_precision_keeps_routers_whole(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model", dtype="bfloat16")
    model, head = load_exported(tmp_path / "model")
    whole = load_model(run)[0].state_dict()
    assert head.torch_dtype == "bfloat16" and head.tokenizer == "bytes"
    for name, value in model.state_dict().items():
        expected = whole[name] if ".router." in name else whole[name].bfloat16()
        assert value.dtype == expected.dtype and torch.equal(value, expected), name


def test_the_average_is_exported(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model", ema=True)
    average = load_model(run, ema=True)[0].state_dict()
    loaded = load_exported(tmp_path / "model")[0].state_dict()
    assert all(torch.equal(average[name], loaded[name]) for name in average)


def test_what_is_refused(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(run, tmp_path / "model")
    with pytest.raises(UsageError, match="not an empty folder"):
        export(run, tmp_path / "model")
    with pytest.raises(UsageError, match="not an empty folder"):
        export(run, tmp_path / "model" / "config.json")
    with pytest.raises(FormatError, match=r"expected 'corpus\.model/3'"):
        load_exported(run)
    with pytest.raises(FormatError, match="not an exported model"):
        load_exported(tmp_path / "nowhere")
    with monkeypatch.context() as patch, pytest.raises(DatasetError, match=r"low=-7\.3"):
        patch.setattr(exported_module, "MEL_FORM", MelForm(bins=80, low=-9.0, step=0.04))
        load_exported(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"12345678")
    with pytest.raises(FormatError, match="weights cannot be read"):
        load_exported(tmp_path / "model")


def test_what_does_not_fit_together_is_refused(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model", file_bytes=300_000)
    config = tmp_path / "model" / "config.json"
    plain = json.loads(config.read_text())
    plain["model"]["width"] *= 2
    config.write_text(json.dumps(plain))
    with pytest.raises(FormatError, match="another shape"):
        load_exported(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors.index.json").write_text("{")
    with pytest.raises(FormatError, match="weights cannot be read"):
        load_exported(tmp_path / "model")


@pytest.mark.parametrize(
    "index", [[], {}, {"weight_map": []}, *({"weight_map": {"norm.weight": name}} for name in OUTSIDE)]
)
def test_an_index_that_names_no_file_beside_it_is_refused(run: Path, tmp_path: Path, index: Any) -> None:
    export(run, tmp_path / "model")
    shutil.copyfile(tmp_path / "model" / "model.safetensors", tmp_path / "other.safetensors")
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    for use in (load_exported, weights_digest):
        with pytest.raises(FormatError, match="is no file beside it"):
            use(tmp_path / "model")


def test_a_folder_as_deep_as_no_json_is_read_is_none(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors.index.json").write_text("[" * 100_000)
    with pytest.raises(FormatError, match="is not JSON"):
        load_exported(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text("[" * 100_000)
    assert not is_exported(tmp_path / "model") and not is_decoder(tmp_path / "model")
    with pytest.raises(FormatError, match="not JSON"):
        load_exported(tmp_path / "model")


@pytest.mark.parametrize("change", ["bool", "int64", "complex64", "nan", "inf"])
def test_weights_that_are_no_finite_fractions_are_refused(run: Path, tmp_path: Path, change: str) -> None:
    """Copied into a model they would become numbers without a word."""
    export(run, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = {name: value.clone() for name, value in load_file(file).items()}
    if change in ("nan", "inf"):
        weights["norm.weight"][3] = float(change)
    else:
        weights["norm.weight"] = weights["norm.weight"].to(getattr(torch, change))
    save_file(weights, file)
    with pytest.raises(FormatError, match=r"weight norm\.weight (is of|holds NaN)"):
        load_exported(tmp_path / "model")
