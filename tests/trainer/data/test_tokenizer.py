"""Any byte-level `tokenizer.json` beside bytes: round trips, slots, sessions, runs and exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas.errors import FormatError, SettingsError
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.micro_turn import MicroTurn
from corpus.trainer.data.sequence import BYTE_0, TOOL
from corpus.trainer.data.text import BYTES, Tokenizer
from corpus.trainer.data.tokenizer_named import tokenizer_named
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import Session
from corpus.trainer.train.export import export
from corpus.trainer.train.exported import load_exported
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

tokenizers = pytest.importorskip("tokenizers", reason="needs the library tokenizers")


def learn(path: Path, *, byte_level: bool = True) -> Path:
    """A small tokenizer trained on a few words."""
    models, pre, trainers = tokenizers.models, tokenizers.pre_tokenizers, tokenizers.trainers
    made = tokenizers.Tokenizer(models.BPE(unk_token=None if byte_level else "[UNK]"))
    words = ["yes yes yes", "no, there is more to say now", "hello hello two three"] * 20
    if byte_level:
        made.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
        made.decoder = tokenizers.decoders.ByteLevel()
        alphabet = pre.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    else:
        made.normalizer = tokenizers.normalizers.Lowercase()
        made.pre_tokenizer = pre.Whitespace()
        trainer = trainers.BpeTrainer(vocab_size=100, special_tokens=["[UNK]"])
    made.train_from_iterator(words, trainer)
    made.save(str(path))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return learn(tmp_path_factory.mktemp("tokenizer") / "words.json")


@pytest.fixture(scope="module")
def tokenizer(file: Path) -> Tokenizer:
    return tokenizer_named(str(file))


@given(text=st.text(max_size=60))
def test_any_text_survives(tokenizer: Tokenizer, text: str) -> None:
    expected = text.encode("utf-8", errors="replace").decode()
    for each in (tokenizer, BYTES):
        tokens = each.encode(text)
        assert each.decode(tokens) == expected
        assert all(BYTE_0 <= token < BYTE_0 + each.size for token in tokens)


@given(text=st.text(max_size=30), cut=st.integers(0, 30))
def test_text_becomes_readable_as_it_comes(tokenizer: Tokenizer, text: str, cut: int) -> None:
    """In two parts, cut between any two tokens: within a letter, too."""
    text = text.encode("utf-8", errors="replace").decode()
    for each in (tokenizer, BYTES):
        tokens = each.encode(text)
        first, unread = each.readable(b"", tokens[:cut])
        second, rest = each.readable(unread, tokens[cut:])
        assert (first + second, rest) == (text, b"")


def test_words_are_fewer_tokens_and_the_same_everywhere(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.word("yes")) == 1
    assert tokenizer.word("yes", ",") == tokenizer.encode(" yes,")
    assert tokenizer.word("  ") == ()
    assert tokenizer.event("4")[0] == TOOL
    assert tokenizer.decode(tokenizer.event(" <|end|> 4")) == " <|end|> 4"
    assert tokenizer.decode([BYTE_0 + tokenizer.size]) == "\ufffd"


def test_what_changes_text_is_refused_with_the_text(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="stand for"):
        tokenizer_named(str(learn(tmp_path / "lower.json", byte_level=False)))
    plain = json.loads(learn(tmp_path / "far.json").read_text())
    plain["model"]["vocab"]["zz"] = 4_000_000_000
    (tmp_path / "far.json").write_text(json.dumps(plain))
    with pytest.raises(SettingsError, match="a token of number 4000000000"):
        tokenizer_named(str(tmp_path / "far.json"))
    plain["model"]["vocab"]["zz"] = 4
    (tmp_path / "far.json").write_text(json.dumps(plain))
    with pytest.raises(SettingsError, match="two of its tokens have the same number"):
        tokenizer_named(str(tmp_path / "far.json"))
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"not a tokenizer\.json"):
        tokenizer_named(str(tmp_path / "none.json"))
    with pytest.raises(SettingsError, match="no tokenizer"):
        tokenizer_named(str(tmp_path / "nowhere.json"))


def test_a_special_token_with_a_number_that_is_taken_takes_no_other_ones_place(tmp_path: Path) -> None:
    """The library gives it a number of its own; what the file says would turn another token into it."""
    plain = json.loads(learn(tmp_path / "taken.json").read_text())
    plain["added_tokens"].append({**plain["added_tokens"][0], "id": 20, "content": "<|taken|>"})
    (tmp_path / "taken.json").write_text(json.dumps(plain))
    tokenizer = tokenizer_named(str(tmp_path / "taken.json"))
    printable = "".join(chr(byte) for byte in range(32, 127)) + "<|taken|>"
    assert tokenizer.decode(tokenizer.encode(printable)) == printable


def test_the_vocabulary_is_what_can_occur(
    small_run: Callable[..., RunConfig], file: Path, tokenizer: Tokenizer
) -> None:
    model = small_run(f"data.tokenizer={file}").model
    assert model.text_tokens == tokenizer.size
    assert BYTE_0 + tokenizer.size <= model.vocab < BYTE_0 + tokenizer.size + 8
    with pytest.raises(SettingsError, match="cannot hold"):
        Documents(small_run(f"data.tokenizer={file}", "model.vocab=280"))


def test_a_run_its_export_and_sessions_keep_the_tokenizer(
    small_run: Callable[..., RunConfig], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    file = learn(tmp_path / "words.json")
    text = (f"data.tokenizer={tmp_path / 'run' / 'tokenizer.json'}",)
    config = small_run("steps=2", f"data.tokenizer={file}", "optim.schedule=constant")
    views = [Documents(config).view(place) for place in range(4)]
    assert any(tokenizer.word("yes") == tokens for view in views for tokens in view.written)
    train_model(config, tmp_path / "run", talk=print)
    file.unlink()
    model, kept = load_model(tmp_path / "run")
    assert model.tokenizer.identity == tokenizer.identity
    assert Documents(kept).view(0).written == views[0].written
    export(tmp_path / "run", tmp_path / "model")
    exported, head = load_exported(tmp_path / "model")
    assert exported.tokenizer.identity == tokenizer.identity and head.tokenizer == tokenizer.identity
    again = small_run("steps=3", f"data.tokenizer={kept.data.tokenizer}", "optim.schedule=constant")
    assert train_model(again, tmp_path / "run", talk=print).step == 3
    # The same words to the library, another file to the run: numbers of tokens may have moved.
    changed = tmp_path / "run" / "tokenizer.json"
    changed.write_bytes(changed.read_bytes() + b"\n")
    for use in (
        lambda: load_model(tmp_path / "run"),
        lambda: export(tmp_path / "run", tmp_path / "other"),
        lambda: train_model(small_run(f"init={tmp_path / 'run'}", *text), tmp_path / "new", talk=print),
    ):
        with pytest.raises(FormatError, match="has changed"):
            use()


def test_a_session_writes_only_what_the_tokenizer_has(
    small_run: Callable[..., RunConfig], file: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    train_model(small_run("steps=1", f"data.tokenizer={file}"), tmp_path, talk=print)
    model = load_model(tmp_path)[0]
    session = Session(model, sampling=Sampling(speak_above=0.0, stay_above=0.0), seed=1, max_seconds=20)
    silence = np.zeros((8, 80), np.uint8)
    outs = [session.step(MicroTurn(audio=silence, text=" yes" if n == 0 else None)) for n in range(20)]
    tokens = [token for out in outs for token in out.tokens]
    assert tokens and all(BYTE_0 <= token < BYTE_0 + tokenizer.size for token in tokens)
    assert any(token >= BYTE_0 + 256 for token in tokens)
    assert "".join(out.text for out in outs) in tokenizer.decode(tokens)
