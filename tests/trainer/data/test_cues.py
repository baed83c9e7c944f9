"""Cues as targets: a slow loop over the clip's cues, asked where the window was heard; off, nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import CUE_KINDS, Answer, Cue, LabelMade
from corpus.schemas.errors import SettingsError
from corpus.shards.read import Clip
from corpus.trainer.config import LossConfig, RunConfig
from corpus.trainer.data.cues import CUE_SHAPE
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import beginning, concat, lay_out
from corpus.trainer.data.loader import Loader
from corpus.trainer.data.pack import collate
from corpus.trainer.data.sequence import NO_TARGET, SIL, SPK, Batch, Positions
from corpus.trainer.evaluate.cue_scores import CueScores, area
from corpus.trainer.evaluate.evaluate import Limits, evaluate_model
from corpus.trainer.evaluate.held_out import Losses
from corpus.trainer.model.cue_head import CueHead
from corpus.trainer.model.loss_sums import Denominators
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.overrides import settings_of, with_overrides
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.session.session import Answer as Forced
from corpus.trainer.session.session import MicroTurn, Session
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

LABELS = tuple(CUE_KINDS)
WINDOWS = 24
UNMADE = "hesitation"
ON = ("loss.cues=0.5", "data.length=160", "data.rows=2", "data.pictures=false")


@pytest.fixture(scope="module")
def cued(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings of random talk with cues and answers anywhere, one label of which nobody looked for."""
    drafts = []
    for number in range(2):
        draft, _ = rules.talk(f"cued-{number}", WINDOWS, speakers=2, pictures=False)
        draft.flags[:] &= 1  # nothing padded: every control token counts
        rng, who = draft.rng, ("Ann", "Bo", None)
        for _ in range(40):
            start = int(rng.integers(0, (WINDOWS - 1) * WINDOW_US))
            length = int(rng.choice([0, 1, 150_000, 200_000, 900_000]))
            label, speaker = str(rng.choice(LABELS)), who[int(rng.integers(3))]
            made = Cue(
                label=label,
                kind="",
                speaker=speaker,
                start_us=start,
                stop_us=start + length,
                confidence=1.0,
                origin="x/1",
            )
            draft.cues.append(made)
        for place in range(8):
            start = int(rng.integers(0, (WINDOWS - 2) * WINDOW_US))
            action = "answer" if place % 2 else "wait"
            draft.answers.append(
                Answer(
                    speaker=who[place % 3],
                    start_us=start,
                    stop_us=start + 300_000,
                    action=action,
                    why="yield/turn_end",
                    to=f"{place}",
                )
            )
        draft.made = [
            LabelMade(label=label, made=label != UNMADE, reason="" if label != UNMADE else "no words")
            for label in LABELS
            if label != "visual"  # of this one nothing is said at all
        ]
        drafts.append(draft)
    path: Path = rules.store(tmp_path_factory.mktemp("cued"), drafts, windows_per_clip=WINDOWS)
    return path


def run_of(data: Path, *pairs: str) -> RunConfig:
    return with_overrides(preset("tiny"), [f"data.data={data}", *ON, *pairs])


def asked(clip: Clip, speaker: str, window: int) -> np.ndarray:
    """By hand, from the head's cues alone: begins or holds, label, own or others'."""
    target = np.zeros(CUE_SHAPE, np.uint8)
    for row, label in enumerate(LABELS):
        for cue in clip.json.cues:
            if cue.label != label:
                continue
            start, stop = window * WINDOW_US, (window + 1) * WINDOW_US
            side = 0 if cue.speaker == speaker else 1
            begins = start <= cue.start_us < stop
            target[0, row, side] |= begins
            target[1, row, side] |= begins or (cue.start_us < stop and cue.stop_us > start)
    for label in (UNMADE, "visual"):
        target[:, LABELS.index(label)] = 255
    return target.reshape(-1)


def test_targets_are_those_of_a_loop_over_the_cues(cued: Path) -> None:
    documents = Documents(run_of(cued))
    yes = 0
    for document in range(len(documents)):
        view = documents.view(document)
        turns = documents.turns(document, 0, len(view))
        assert turns.cues_NK is not None
        for window in range(len(view)):
            expected = asked(documents.clips[view.place], view.speaker, window)
            np.testing.assert_array_equal(turns.cues_NK[window], expected)
            yes += int((expected == 1).sum())
    assert yes > 50


def test_they_are_asked_where_the_model_decides_to_speak(cued: Path) -> None:
    config = run_of(cued)
    batch, _ = next(iter(Loader(config)))
    target_N = batch.text_target_BL.reshape(-1)
    control = (target_N == SIL) | (target_N == SPK)
    assert batch.cue_at_C.tolist() == control.nonzero()[:, 0].tolist()
    known = batch.cue_CK != 255
    assert int(known.sum()) == len(batch.cue_at_C) * 4 * (len(LABELS) - 2)
    assert float(Denominators.of(batch).cues_weight) == int(known.sum())


def test_the_loss_is_a_slow_sum_and_obeys_the_labels_weights(cued: Path) -> None:
    config = run_of(cued, "loss.cue_weight.hold=3", "loss.cue_weight.overlap=0")
    batch, _ = next(iter(Loader(config)))
    model = InteractionModel(config.model, seed=3).double().eval()
    assert isinstance(model.cue_head, CueHead)
    with torch.no_grad():
        model.cue_head.bias.normal_()
        hidden_ND = model.hidden(batch).flatten(0, 1)
        p_NK = torch.sigmoid(hidden_ND @ model.cue_head.weight.T + model.cue_head.bias)
        sums = model(batch, config.loss)
    total = 0.0
    for at, target_K in zip(batch.cue_at_C.tolist(), batch.cue_CK.tolist(), strict=True):
        for place, target in enumerate(target_K):
            label = LABELS[np.unravel_index(place, CUE_SHAPE)[1]]
            weight = {"hold": 3.0, "overlap": 0.0}.get(label, 1.0)
            p = float(p_NK[at, place])
            if target != 255:
                total -= weight * float(np.log(p if target else 1 - p))
    assert float(sums.cues_sum) == pytest.approx(total, rel=1e-9)
    assert torch.isfinite(sums.total(Denominators.of(batch)))


def test_a_later_window_changes_no_belief(cued: Path) -> None:
    """Nor does any document before or after it in the row."""
    config = run_of(cued, "data.length=400")
    documents = Documents(config)
    model = InteractionModel(config.model, seed=1).double().eval()
    assert model.cue_head is not None
    begin = beginning(config.model)

    @torch.no_grad()
    def told(*parts: Positions) -> list[torch.Tensor]:
        batch = collate([parts], config)
        assert model.cue_head is not None
        logit = model.cue_head(model.hidden(batch).flatten(0, 1)[batch.cue_at_C])
        return list(logit.split([len(part.cue_at_C) for part in parts]))

    turns = documents.turns(0, 0, 8)
    changed = dataclasses.replace(turns, heard_NFM=turns.heard_NFM.copy())
    changed.heard_NFM[5:] ^= 255
    first, second = (concat([begin, lay_out(each, config.model, config.loss)]) for each in (turns, changed))
    other = concat([begin, lay_out(documents.turns(1, 0, 5), config.model, config.loss)])
    alone = told(first)[0]
    assert torch.equal(told(second)[0][:5], alone[:5])
    assert not torch.equal(told(second)[0][5:], alone[5:])
    assert torch.allclose(told(other, first)[1], alone, atol=1e-12, rtol=0)
    assert torch.equal(told(first, other)[0], alone)


def test_off_it_is_nothing(
    cued: Path, make_document: Callable[..., Positions], pack_rows: Callable[..., Batch]
) -> None:
    """The same batches but for cues, the same values of all other parameters, the same losses."""
    on, off = run_of(cued), run_of(cued, "loss.cues=0")
    assert not off.model.cues and InteractionModel(off.model).cue_head is None
    with_head, without = InteractionModel(on.model, seed=2), InteractionModel(off.model, seed=2)
    own = {name for name, _ in with_head.named_parameters() if name.startswith("cue_head.")}
    assert own == {"cue_head.weight", "cue_head.bias"}
    values = dict(with_head.named_parameters())
    assert set(values) - own == {name for name, _ in without.named_parameters()}
    assert all(torch.equal(value, values[name]) for name, value in without.named_parameters())
    batch_on, batch_off = next(iter(Loader(on)))[0], next(iter(Loader(off)))[0]
    assert len(batch_off.cue_at_C) == 0 and float(Denominators.of(batch_off).cues_weight) == 0
    for name in Batch.__slots__:
        if not name.startswith("cue_"):
            assert torch.equal(getattr(batch_on, name), getattr(batch_off, name)), name
    one, two = with_head(batch_on, on.loss), without(batch_off, off.loss)
    assert torch.equal(one.text_sum, two.text_sum) and torch.equal(one.audio_sum, two.audio_sum)
    assert float(two.cues_sum) == 0 < float(one.cues_sum.detach())
    document = make_document(MODELS["tiny"], 3, 0)
    assert len(pack_rows([[document]], 200).cue_at_C) == 0


def test_an_answer_due_is_the_target(cued: Path) -> None:
    taught = run_of(cued, "loss.answers=2")
    plain = Documents(run_of(cued))
    documents, changed = Documents(taught), {1: 0, 2: 0}
    for document in range(len(documents)):
        view = documents.view(document)
        head = documents.clips[view.place].json
        turns = documents.turns(document, 0, len(view))
        laid = lay_out(turns, taught.model, taught.loss)
        as_was = lay_out(plain.turns(document, 0, len(view)), taught.model, LossConfig())
        at = np.flatnonzero(np.isin(as_was.text_target_L, (SIL, SPK)))
        assert (laid.text_target_L[at] != NO_TARGET).all()
        for turn, place in enumerate(at):
            window = range((turn + 1) * WINDOW_US, (turn + 2) * WINDOW_US)
            due = {
                item.action
                for item in head.answers
                if item.speaker == view.speaker
                and item.start_us < window.stop
                and item.stop_us > window.start
            }
            speaks = bool(view.speak_N[turn])
            wanted = True if "answer" in due else False if due else speaks
            assert laid.text_target_L[place] == (SPK if wanted else SIL)
            before = bool(view.speak_N[turn - 1]) if turn else view.spoke_before
            usual = {True: (0.2 if not before else 1.0), False: 1.0}[not wanted]
            usual = 3.0 if wanted and not before else usual
            assert laid.text_weight_L[place] == pytest.approx(usual * (2.0 if wanted != speaks else 1.0))
            changed[1 if wanted else 2] += wanted != speaks
        # What is read, and all else that is predicted, stays what happened.
        np.testing.assert_array_equal(laid.token_L, as_was.token_L)
        others = np.setdiff1d(np.arange(len(laid)), at)
        np.testing.assert_array_equal(laid.text_target_L[others], as_was.text_target_L[others])
    assert min(changed.values()) >= 3


def test_trained_evaluated_and_told_in_a_session(cued: Path, tmp_path: Path) -> None:
    config = run_of(cued, "steps=3", "log_every=1", "save_every=10", "loss.answers=1")
    result = train_model(config, tmp_path / "run", talk=lambda _: None)
    assert result.last is not None and result.last.cues is not None and 0.2 < result.last.cues < 1.5
    model, loaded = load_model(tmp_path / "run")
    assert loaded == config and model.cue_head is not None
    report = evaluate_model(model, config, cued, split="train", limits=Limits(free=0))
    assert {row.label for row in report.cues} == set(LABELS) - {UNMADE, "visual"}
    assert all(row.windows == report.documents * (WINDOWS - 1) for row in report.cues)

    # A session that lives through a document believes what the whole pass does.
    documents = Documents(config)
    turns = documents.turns(0, 0, 12)
    positions = concat([beginning(config.model), lay_out(turns, config.model, config.loss)])
    with torch.no_grad():
        batch = collate([[positions]], with_overrides(config, [f"data.length={len(positions)}"]))
        p_CK = model.cue_head(model.hidden(batch)[0][batch.cue_at_C]).sigmoid().numpy()
    session = Session(model, pictures=False)
    for turn in range(12):
        force = Forced(
            speak=bool(turns.speak_N[turn]), written=turns.written[turn], sound_FM=turns.sound_NFM[turn]
        )
        given = MicroTurn(audio=turns.heard_NFM[turn], tokens=turns.given[turn])
        out = session.step(given, force=force)
        p = p_CK[turn].reshape(CUE_SHAPE)
        for cue in out.cues:
            row, who = LABELS.index(cue.label), 0 if cue.own else 1
            assert cue.p_begins == pytest.approx(float(p[0, row, who]), abs=1e-5)
            assert cue.p_holds == pytest.approx(float(p[1, row, who]), abs=1e-5)
        assert len(out.cues) == 2 * len(LABELS)
    state = session.state_dict()
    again = Session(model, pictures=False)
    again.load_state_dict(state)
    quiet = MicroTurn(audio=np.zeros((8, 80), np.uint8))
    assert again.step(quiet).cues == session.step(quiet).cues
    assert not any(name.startswith("cue_") for name in state["pending"])


def test_every_label_has_a_weight_and_no_other() -> None:
    names = settings_of(preset("tiny"))
    assert [name for name in names if name.startswith("loss.cue_weight.")] == [
        f"loss.cue_weight.{label}" for label in LABELS
    ]
    assert "model.cues" not in names
    with pytest.raises(SettingsError, match=r"loss\.cue_weight\.yield"):
        with_overrides(preset("tiny"), ["loss.cue_weight.yield=-1"])
    with pytest.raises(SettingsError, match="nod"):
        LossConfig(cue_weight={"nod": 1.0})


def test_scores_are_those_of_all_pairs() -> None:
    rng = np.random.default_rng(0)
    target = rng.random(60) < 0.3
    p = rng.integers(1, 9, 60) / 10
    pairs = [(a > b) + 0.5 * (a == b) for a in p[target] for b in p[~target]]
    assert area(target, p) == pytest.approx(float(np.mean(pairs)))
    assert area(np.ones(3, bool), np.ones(3)) is None
    scores = CueScores()
    sheet = np.full((60, 40), 255, np.uint8)
    sheet[:, 5] = target
    scores.add(sheet, np.repeat(p[:, None], 40, 1))
    (row,) = scores.rows()
    what, label, who = np.unravel_index(5, CUE_SHAPE)
    assert (row.what, row.label, row.own) == (("begins", "holds")[what], LABELS[label], who == 0)
    assert (row.windows, row.cases) == (60, int(target.sum()))
    assert row.nats == pytest.approx(float(-np.log(np.where(target, p, 1 - p)).mean()))
    share = target.mean()
    assert row.constant == pytest.approx(-share * np.log(share) - (1 - share) * np.log(1 - share))


def test_a_document_without_a_made_label_is_scored_without_cues(beeps: Path) -> None:
    config = run_of(beeps)
    documents = Documents(config)
    losses = Losses(InteractionModel(config.model).eval(), config)
    losses.add(documents, 0)
    assert losses.cues() == ()
