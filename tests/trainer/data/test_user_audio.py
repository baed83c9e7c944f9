"""What is heard next: its targets are a slow loop's, it is learnt, and off it is nothing."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.schemas.errors import FormatError, UsageError
from corpus.trainer.config import LossConfig, ModelConfig, RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import Turns, beginning, concat, lay_out
from corpus.trainer.data.levels import level_of_byte
from corpus.trainer.data.pack import collate
from corpus.trainer.data.sequence import Batch, Positions, Stream
from corpus.trainer.evaluate.held_out import Losses
from corpus.trainer.model.loss_sums import Denominators, heard_targets
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.overrides import settings_of, with_overrides
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import MicroTurn, Session
from corpus.trainer.train.export import export
from corpus.trainer.train.exported import load_exported
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model
from corpus.trainer.train.run_file import read_run

LENGTH = 256
ON = LossConfig(user_audio=0.5)
SmallRun = Callable[..., RunConfig]


def run_of(**model: Any) -> RunConfig:
    base = preset("tiny")
    changed = dataclasses.replace(MODELS["tiny"], picture_rows=1, picture_columns=2, patch_pixels=40, **model)
    data = dataclasses.replace(base.data, length=LENGTH)
    return dataclasses.replace(base, model=changed, data=data, loss=ON)


def turns_of(model: ModelConfig, count: int, seed: int) -> Turns:
    rng = np.random.default_rng(seed)
    shape = (count, model.frames_per_window, model.mel_bins)
    speak = rng.random(count) < 0.5

    def tokens() -> tuple[int, ...]:
        return tuple(rng.integers(16, 272, int(rng.integers(0, 3))).tolist())

    return Turns(
        heard_NFM=rng.integers(0, 256, shape, np.uint8),
        heard_known_NF=rng.random(shape[:2]) < 0.8,
        pictures=[
            rng.integers(0, 256, (model.patches, 40, 40, 3), np.uint8) if rng.random() < 0.5 else None
            for _ in speak
        ],
        given=[tokens() for _ in speak],
        speak_N=speak,
        written=[tokens() if speaks else () for speaks in speak],
        sound_NFM=rng.integers(0, 256, shape, np.uint8),
        audible_NF=np.ones(shape[:2], bool),
        known_N=np.ones(count, bool),
        spoke_before=False,
    )


def by_hand(rows: list[list[Turns]], model: ModelConfig) -> dict[int, tuple[int, np.ndarray]]:
    """Window by window: where each target stands, where it is told from, and its levels."""
    found, table, r = {}, level_of_byte(model), model.frames_per_position
    for row, documents in enumerate(rows):
        at = row * LENGTH
        for turns in documents:
            at += 1  # BOS
            for n in range(len(turns)):
                picture = turns.pictures[n]
                at += 0 if picture is None else len(picture)
                for first in range(0, model.frames_per_window, r):
                    frames = range(first, first + r)
                    if all(turns.heard_known_NF[n, frame] for frame in frames):
                        levels = [[table[byte] for byte in turns.heard_NFM[n, frame]] for frame in frames]
                        found[at] = (at - 1, np.array(levels, int))
                    at += 1
                at += len(turns.given[n]) + 1
                if turns.speak_N[n]:
                    words = len(turns.written[n])
                    at += words + (words > 0) + model.frames_per_window // r
    return found


def batch_of(rows: list[list[Turns]], config: RunConfig) -> Batch:
    begin = beginning(config.model)
    laid = [[concat([begin, lay_out(turns, config.model, config.loss)]) for turns in row] for row in rows]
    return collate(laid, config)


@given(
    r=st.sampled_from([1, 2, 4, 8]),
    counts=st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=2), min_size=1, max_size=3),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_targets_and_losses_are_those_of_a_loop_over_windows(
    r: int, counts: list[list[int]], seed: int
) -> None:
    config = run_of(frames_per_position=r)
    rows = [
        [turns_of(config.model, count, seed + 7 * b + k) for k, count in enumerate(row)]
        for b, row in enumerate(counts)
    ]
    batch, expected = batch_of(rows, config), by_hand(rows, config.model)
    model = InteractionModel(config.model, seed=seed).double().eval()
    assert model.user_audio_head is not None
    with torch.no_grad():
        hidden_ND = model.hidden(batch).flatten(0, 1)
        chosen, nats = model.user_audio_losses(hidden_ND, batch)
        sums = model(batch, config.loss)
    assert batch.audio_at_A[chosen].tolist() == sorted(expected)
    log_p_ND = hidden_ND @ model.user_audio_head.weight.detach().T
    slow = []
    for at in sorted(expected):
        before, levels = expected[at]
        log_p = log_p_ND[before].view(*levels.shape, -1).log_softmax(-1).numpy()
        picked = [log_p[f, m, level] for (f, m), level in np.ndenumerate(levels)]
        slow.append(-float(np.mean(picked)))
    assert nats.tolist() == pytest.approx(slow, rel=1e-9)
    assert float(sums.user_audio_sum) == pytest.approx(sum(slow), rel=1e-9, abs=1e-12)
    assert float(sums.user_audio_weight) == len(slow) == float(Denominators.of(batch).user_audio_weight)


def test_nothing_is_told_across_documents(
    make_document: Callable[..., Positions],
    pack_rows: Callable[..., Batch],
    cut_positions: Callable[..., Positions],
) -> None:
    """Also of documents that begin with sound, as none of a loader does: their first is told by nobody."""
    listening = dataclasses.replace(MODELS["tiny"], user_audio=True, picture_rows=0)
    whole = make_document(listening, 3, 0)
    headless = cut_positions(whole, 1, len(whole))
    batch = pack_rows([[headless, headless], [whole, headless]], 2 * len(whole) - 1)
    segment_N = batch.segment_BL.reshape(-1)
    at = batch.audio_at_A[heard_targets(batch)].long()
    assert (segment_N[at] == segment_N[at - 1]).all() and (at % batch.shape[1] != 0).all()
    one = int(whole.heard_known_A.sum())
    assert int(batch.heard_known_A.sum()) == 4 * one and len(at) == 4 * one - 3


@torch.no_grad()
def test_what_is_told_does_not_know_what_it_tells(
    make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    """Other sound from a position on: not a bit of what is told of it, or of what stands before, changes."""
    listening = dataclasses.replace(MODELS["tiny"], user_audio=True)
    model = InteractionModel(listening).double().eval()
    head = model.user_audio_head
    assert head is not None
    batch = pack_rows([[make_document(listening, 4, 0), make_document(listening, 4, 1)]], 128)
    hidden_ND = model.hidden(batch).flatten(0, 1)
    chosen, nats = model.user_audio_losses(hidden_ND, batch)
    at_T = batch.audio_at_A[chosen]
    told_T, felt = head.logits(hidden_ND[at_T.long() - 1]), 0
    for place in range(0, len(chosen), 3):
        later_A = torch.arange(len(batch.audio_at_A)) >= chosen[place]
        other_ARM = torch.where(later_A[:, None, None], batch.audio_ARM ^ 0xC0, batch.audio_ARM)
        changed = dataclasses.replace(batch, audio_ARM=other_ARM)
        other_ND = model.hidden(changed).flatten(0, 1)
        now_T = head.logits(other_ND[at_T.long() - 1])
        assert torch.equal(now_T[: place + 1], told_T[: place + 1])
        assert torch.equal(model.user_audio_losses(other_ND, changed)[1][:place], nats[:place])
        felt += int((now_T[place + 1 :] != told_T[place + 1 :]).any())
    assert felt > 5


def test_off_it_is_nothing(small_run: SmallRun, tmp_path: Path) -> None:
    off, on = small_run("steps=2"), small_run("steps=2", "loss.user_audio=0.1")
    plain, listens = InteractionModel(off.model).state_dict(), InteractionModel(on.model).state_dict()
    assert listens.keys() - plain.keys() == {"user_audio_head.weight"}
    assert all(torch.equal(value, listens[name]) for name, value in plain.items())
    silent = dataclasses.replace(run_of(), loss=LossConfig())
    assert not batch_of([[turns_of(silent.model, 3, 0)]], silent).heard_known_A.any()
    result = train_model(off, tmp_path / "off", talk=print)
    assert result.last is not None and result.last.user_audio is None
    result = train_model(on, tmp_path / "on", talk=print)
    last = result.last
    assert last is not None and last.user_audio is not None and last.loss is not None
    assert 1.5 < last.user_audio < 4
    parts = [last.text, last.audio, 0.1 * last.user_audio, 1e-4 * last.balance, 1e-5 * last.router_z]  # type: ignore[operator]
    assert last.loss == pytest.approx(sum(parts), rel=1e-9)  # type: ignore[arg-type]


def test_it_goes_through_files_and_is_settled_when_a_run_begins(small_run: SmallRun, tmp_path: Path) -> None:
    config = small_run("steps=2", "loss.user_audio=0.1", "model.audio_head=flow")
    train_model(config, tmp_path / "run", talk=print)
    kept = read_run(tmp_path / "run").config
    assert kept == config and kept.model.user_audio
    export(tmp_path / "run", tmp_path / "model")
    model, head = load_exported(tmp_path / "model")
    trained = load_model(tmp_path / "run")[0]
    assert head.model == config.model and model.user_audio_head is not None
    assert trained.user_audio_head is not None
    assert torch.equal(model.user_audio_head.weight, trained.user_audio_head.weight)
    first = InteractionModel(config.model, seed=config.data.seed).user_audio_head
    assert first is not None and not torch.equal(first.weight, trained.user_audio_head.weight)
    train_model(with_overrides(config, ["steps=3", "loss.user_audio=0.3"]), tmp_path / "run", talk=print)
    with pytest.raises(FormatError, match=r"model\.user_audio True"):
        train_model(with_overrides(config, ["steps=4", "loss.user_audio=0"]), tmp_path / "run", talk=print)
    with pytest.raises(UsageError, match=r"loss\.user_audio"):
        with_overrides(config, ["model.user_audio=true"])
    assert "model.user_audio" not in settings_of(config)


@torch.no_grad()
def test_sessions_know_nothing_of_it() -> None:
    rng = np.random.default_rng(0)
    models = [InteractionModel(dataclasses.replace(MODELS["tiny"], user_audio=on)).eval() for on in (0, 1)]
    sessions = [Session(model, sampling=Sampling(control="sampled"), max_seconds=4) for model in models]
    for _ in range(8):
        sound = rng.integers(0, 256, (8, 80), np.uint8)
        plain, listens = (session.step(MicroTurn(audio=sound)) for session in sessions)
        assert dataclasses.replace(plain, ms=0.0, mel=None) == dataclasses.replace(listens, ms=0.0, mel=None)
        assert (plain.mel is None) == (listens.mel is None)
        assert plain.mel is None or np.array_equal(plain.mel, listens.mel)


def notes(rules: ModuleType, name: str, windows: int) -> Any:
    """The room plays four notes, a window each, over and over, from any of them on; nobody speaks."""
    draft = rules.Draft(name=name, windows=windows)
    begin = int(draft.rng.integers(4))
    for window in range(windows):
        draft.tone(1, window, 1, (300, 700, 1500, 3100)[(begin + window) % 4], 4000)
    return draft


@torch.no_grad()
def first_of_windows(model: InteractionModel, turns: Turns, config: RunConfig) -> tuple[float, float]:
    """Share of bins right in the first position of all windows but the first: told, and if it stayed as it
    was in the position before."""
    positions = concat([beginning(model.config), lay_out(turns, model.config, config.loss)])
    longer = dataclasses.replace(config, data=dataclasses.replace(config.data, length=len(positions)))
    hidden_LD = model.hidden(collate([[positions]], longer))[0]
    at = np.flatnonzero((positions.stream_L == Stream.HEARD) & (positions.column_L == 0))[1:]
    head, table = model.user_audio_head, level_of_byte(model.config)
    assert head is not None
    told = head.sample(hidden_LD[torch.from_numpy(at) - 1], seed=0, temperature=0.0).numpy()
    place = np.searchsorted(positions.audio_at_A, at)
    truth, before = positions.audio_ARM[place], positions.audio_ARM[place - 1]
    return float((table[told] == table[truth]).mean()), float((table[before] == table[truth]).mean())


def test_a_rule_of_what_is_heard_is_learnt(rules: ModuleType, tmp_path: Path) -> None:
    """Held out: each note from those before, also the next window's first, which no neighbour tells."""
    drafts = []
    for number in range(12):
        draft = notes(rules, f"notes-{number}", 24)
        draft.split = "train" if number < 8 else "validation"
        drafts.append(draft)
    data = rules.store(tmp_path / "data", drafts, windows_per_clip=24)
    pairs = [f"data.data={data}", "data.pictures=false", "data.length=128", "data.rows=4", "steps=150"]
    pairs += ["loss.user_audio=1", "optim.lr=1e-2", "log_every=20"]
    config = with_overrides(preset("tiny"), pairs)
    began = time.process_time()
    train_model(config, tmp_path / "run", talk=print)
    model, _ = load_model(tmp_path / "run")
    held_out = with_overrides(config, ["data.split=validation"])
    documents, losses = Documents(held_out), Losses(model, held_out)
    told, copied = [], []
    for document in range(len(documents)):
        losses.add(documents, document)
        right, same = first_of_windows(model, documents.turns(document, 0, 20), held_out)
        told.append(right)
        copied.append(same)
    row = next(row for row in losses.rows() if (row.cue, row.stream) == ("all", "user_audio"))
    print(
        f"{row.model:.4f} of {row.unigram:.4f} nats/bin, {row.level_mae:.3f} of {row.unigram_level_mae:.3f}"
    )
    print(f"first of a window right {np.mean(told):.3f}, as before {np.mean(copied):.3f}")
    print(f"{time.process_time() - began:.1f} s, {row.count} positions")
    assert row.bits_per_s == pytest.approx(row.model * 80 * 40 / np.log(2))
    assert row.model < 0.1 * row.unigram and row.level_mae < 0.1 * row.unigram_level_mae
    assert np.mean(told) > 0.9 > 0.5 > np.mean(copied)
    assert time.process_time() - began < 120  # of two threads: a minute where both cores are free
