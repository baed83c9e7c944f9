"""Losses of held-out clips are the model's own; timing follows the cues of the shards."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from corpus.schemas.activity import PADDED
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.conversation import Cue
from corpus.schemas.errors import DatasetError
from corpus.trainer.config import AudioHead, DataConfig, LossConfig, RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import beginning, concat, lay_out
from corpus.trainer.data.levels import level_of_byte
from corpus.trainer.data.pack import collate
from corpus.trainer.evaluate.confidence import draws
from corpus.trainer.evaluate.evaluate import Limits, evaluate_model, heard_of, run_free
from corpus.trainer.evaluate.held_out import Losses, LossRow
from corpus.trainer.evaluate.timing_cases import scene_of
from corpus.trainer.evaluate.timing_table import Tally, TimingRow
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.session.sampling import Sampling
from corpus.trainer.session.session import Answer, MicroTurn, MicroTurnOut, Session

MODEL = dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2)
EVEN = LossConfig(silence=1, onset=1, offset=1, end_of_window=1)


def config_of(path: Path, *, length: int = 700, split: str = "validation") -> RunConfig:
    data = DataConfig(data=str(path), split=split, length=length, rows=1)
    return dataclasses.replace(preset("tiny"), model=MODEL, data=data, loss=EVEN)


@pytest.fixture(scope="module")
def model() -> InteractionModel:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return InteractionModel(MODEL).double().eval()


def cue(label: str, kind: str, speaker: str, first: float, stop: float, **evidence: str) -> Cue:
    return Cue(
        label=label,
        kind=kind,
        speaker=speaker,
        start_us=round(first * WINDOW_US),
        stop_us=round(stop * WINDOW_US),
        confidence=1.0,
        origin="x",
        evidence=json.dumps(evidence),
    )


@pytest.fixture(scope="module")
def talks(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of random talk with cues, and one to train on."""
    drafts = []
    for number in range(3):
        draft, _ = rules.talk(f"evaluate-{number}", 30, speakers=2)
        draft.split = "train" if number == 0 else "validation"
        draft.cues += [
            cue("yield", "turn_end", "Ann", 5.4, 7.2, to="Bo"),
            cue("hold", "pause", "Ann", 12.0, 14.5),
            cue("backchannel", "lexical", "Bo", 20.0, 22.0),
            cue("interruption", "butting_in", "Ann", 22.0, 24.0, of="Bo"),
        ]
        drafts.append(draft)
    return rules.store(tmp_path_factory.mktemp("evaluate"), drafts, windows_per_clip=30)


def test_losses_are_the_models(talks: Path, model: InteractionModel) -> None:
    """With all weights 1, the means of all streams put together are what training would sum up."""
    config = config_of(talks)
    documents, losses = Documents(config), Losses(model, config)
    text_sum = text_weight = audio_sum = audio_weight = 0.0
    for document in range(len(documents)):
        losses.add(documents, document)
        turns = documents.turns(document, 0, len(documents.view(document)))
        batch = collate([[concat([beginning(MODEL), lay_out(turns, MODEL, EVEN)])]], config)
        with torch.no_grad():
            sums = model(batch, EVEN)
        text_sum, text_weight = text_sum + float(sums.text_sum), text_weight + float(sums.text_weight)
        audio_sum, audio_weight = audio_sum + float(sums.audio_sum), audio_weight + float(sums.audio_weight)
    rows = {(row.cue, row.stream): row for row in losses.rows()}
    written = [rows["all", stream] for stream in ("control", "text", "end")]
    assert sum(row.count for row in written) == text_weight
    assert sum(row.model * row.count for row in written) == pytest.approx(text_sum, rel=1e-9)
    assert rows["all", "audio"].count == audio_weight
    assert rows["all", "audio"].model == pytest.approx(audio_sum / audio_weight, rel=1e-9)
    # Untrained, it is about as good as knowing nothing at all; the constant guess knows the shares.
    assert rows["all", "control"].model > rows["all", "control"].unigram
    assert rows["all", "audio"].model == pytest.approx(np.log(16), abs=0.3)


def test_what_is_heard_next_is_the_models_and_of_the_windows_it_is_heard_in(talks: Path) -> None:
    """Sums as training's; of the hold in its own windows, 12 to 14, not in those answered in them."""
    model = InteractionModel(dataclasses.replace(MODEL, user_audio=True)).double().eval()
    config = dataclasses.replace(config_of(talks), loss=dataclasses.replace(EVEN, user_audio=1))
    documents, losses = Documents(config), Losses(model, config)
    total = weight = 0.0
    held: list[float] = []
    for document in range(len(documents)):
        losses.add(documents, document)
        turns = documents.turns(document, 0, len(documents.view(document)))
        positions = concat([beginning(MODEL), lay_out(turns, config.model, EVEN)])
        batch = collate([[positions]], config)
        with torch.no_grad():
            sums = model(batch, config.loss)
            chosen, nats = model.user_audio_losses(model.hidden(batch)[0], batch)
        heard_in = positions.turn_L[positions.audio_at_A[chosen]]
        held += nats[torch.from_numpy((heard_in >= 12) & (heard_in < 15))].tolist()
        total, weight = total + float(sums.user_audio_sum), weight + float(sums.user_audio_weight)
    rows = {(row.cue, row.stream): row for row in losses.rows()}
    row = rows["all", "user_audio"]
    assert row.count == weight and row.model == pytest.approx(total / weight, rel=1e-9)
    assert row.bits_per_s == pytest.approx(row.model * 80 * 40 / np.log(2))
    assert row.unigram is not None and row.level_mae is not None and row.unigram_level_mae is not None
    assert row.level_mae > row.unigram_level_mae > 0
    assert rows["hold", "user_audio"].count == len(held) > 0
    assert rows["hold", "user_audio"].model == pytest.approx(np.mean(held), rel=1e-9)
    assert "user_audio" not in {row.stream for row in Losses(model_without(), config_of(talks)).rows()}


def model_without() -> InteractionModel:
    return InteractionModel(MODEL).eval()


def test_recordings_add_up_and_none_is_lost(rules: ModuleType, tmp_path: Path) -> None:
    """Two recordings of two clips each, one padded all through, one of a single window, one without a
    speaker; another split is none of theirs."""
    drafts = [rules.talk(f"part-{n}", 24, speakers=2)[0] for n in range(2)]
    empty, short, nobody, other = (
        rules.talk(f"part-{n}", w, speakers=1)[0] for n, w in enumerate((9, 1, 9, 9), 2)
    )
    empty.flags[:] = PADDED
    nobody = dataclasses.replace(rules.Draft(name="nobody", windows=9, speakers=()))
    for draft in (*drafts, empty, short, nobody):
        draft.split = "validation"
    data = rules.store(tmp_path, [*drafts, empty, short, nobody, other], windows_per_clip=12)
    made = InteractionModel(MODEL).double().eval()
    report = evaluate_model(made, config_of(data), data, limits=Limits(free=0))
    found = {one.recording: one for one in report.recordings}
    names = [one.recording for one in report.recordings]
    assert names == sorted(draft.hash[:20] for draft in (*drafts, empty, short, nobody))
    assert [found[d.hash[:20]].documents for d in (*drafts, empty, short, nobody)] == [4, 4, 1, 0, 0]
    for draft in (empty, short, nobody):
        assert [(s.count, s.model) for s in found[draft.hash[:20]].streams] == [(0, None)] * 4
    whole = {row.stream: row for row in report.losses if row.cue == "all"}
    for place, stream in enumerate(("control", "text", "end", "audio")):
        parts = [one.streams[place] for one in report.recordings]
        assert {part.stream for part in parts} == {stream}
        assert sum(part.count for part in parts) == whole[stream].count > 0
        total = sum(part.count * part.model for part in parts if part.model is not None)
        assert total / whole[stream].count == pytest.approx(whole[stream].model, rel=1e-9)
    # Each recording by itself, from documents of it alone.
    documents, alone = Documents(config_of(data)), Losses(made, config_of(data))
    for document in range(len(documents)):
        if documents.view(document).key.startswith(drafts[0].hash[:20]):
            alone.add(documents, document)
    rows = {row.stream: row.model for row in alone.rows() if row.cue == "all"}
    assert {s.stream: s.model for s in found[drafts[0].hash[:20]].streams} == pytest.approx(rows, rel=1e-12)
    few = evaluate_model(made, config_of(data), data, limits=Limits(documents=1, free=0))
    assert [one.recording for one in few.recordings] == names
    assert sum(one.documents for one in few.recordings) == few.documents <= 1


def sound_of(path: Path, model: InteractionModel) -> LossRow:
    config = dataclasses.replace(config_of(path), model=model.config)
    documents, losses = Documents(config), Losses(model, config)
    for document in range(len(documents)):
        losses.add(documents, document)
    return next(row for row in losses.rows() if (row.cue, row.stream) == ("all", "audio"))


@pytest.mark.parametrize("head", ["dmel", "depth", "flow"])
def test_sound_in_levels_and_bits(talks: Path, head: AudioHead) -> None:
    """Against frames sampled one by one, and levels counted by hand."""
    config = dataclasses.replace(MODEL, audio_head=head)
    model = InteractionModel(config).double().eval()
    row = sound_of(talks, model)
    documents = Documents(config_of(talks))
    table = level_of_byte(MODEL).astype(int)
    off, said = [], []
    for document in range(len(documents)):
        turns = documents.turns(document, 0, len(documents.view(document)))
        positions = concat([beginning(MODEL), lay_out(turns, MODEL, EVEN)])
        hidden_LD = model.hidden(collate([[positions]], config_of(talks)))[0]
        known = positions.audio_weight_T > 0
        for at, frames in zip(
            positions.audio_target_at_T[known], positions.audio_target_TRM[known], strict=True
        ):
            likeliest = model.audio_head.sample(hidden_LD[at].detach(), seed=5, temperature=0.0).numpy()
            off.append(np.abs(table[likeliest] - table[frames]).mean())
            said.append(table[frames].reshape(-1))
    assert row.count == len(off) and row.level_mae == pytest.approx(np.mean(off), abs=1e-9)
    levels = np.array(said)
    median = np.sort(levels, 0)[(len(levels) - 1) // 2]
    assert row.unigram_level_mae == pytest.approx(np.abs(levels - median).mean(), abs=1e-9)
    assert row.model is not None
    if head == "flow":
        assert row.bits_per_s is None and row.unigram is None
    else:
        assert row.bits_per_s == pytest.approx(row.model * 80 * 40 / np.log(2))


def test_a_flow_is_asked_the_same_each_time(talks: Path) -> None:
    model = InteractionModel(dataclasses.replace(MODEL, audio_head="flow")).eval()
    assert sound_of(talks, model) == sound_of(talks, model)


def test_losses_of_a_cue_are_of_its_windows(talks: Path, model: InteractionModel) -> None:
    """Answers in windows 12 to 14 are those of the hold; one control token each, 2 views of 2 clips."""
    losses = Losses(model, config_of(talks))
    documents = Documents(config_of(talks))
    known = 0
    for document in range(len(documents)):
        losses.add(documents, document)
        turns = documents.turns(document, 0, 29)
        known += int(turns.known_N[11:14].sum())
    rows = {(row.cue, row.stream): row for row in losses.rows()}
    assert rows["hold", "control"].count == known > 8
    assert {cue for cue, _ in rows} == {"all", "hold", "yield", "backchannel", "interruption"}


def test_documents_longer_than_a_row_are_scored_whole(talks: Path, model: InteractionModel) -> None:
    config = config_of(talks, length=300)
    losses = Losses(model, config)
    p_N = losses.add(Documents(config), 0)
    whole = Losses(model, config_of(talks))
    assert np.array_equal(p_N, whole.add(Documents(config_of(talks)), 0)) and len(p_N) == 29
    assert losses.by_window() == whole.by_window()
    assert [row.window for row in losses.by_window()] == list(range(29))


def test_teacher_forced_odds_are_a_sessions(talks: Path, model: InteractionModel) -> None:
    config = config_of(talks)
    documents = Documents(config)
    for document in range(2):
        p_N = Losses(model, config).add(documents, document)
        view = documents.view(document)
        turns = documents.turns(document, 0, len(view))
        clip = documents.clips[view.place]
        session = Session(model, max_seconds=6)
        for turn in range(len(view)):
            speak = bool(turns.speak_N[turn])
            out = session.step(
                MicroTurn(
                    audio=turns.heard_NFM[turn],
                    frame=clip.picture(turn) if view.pictures_N[turn] else None,
                    tokens=turns.given[turn],
                ),
                force=Answer(speak=speak, written=turns.written[turn], sound_FM=turns.sound_NFM[turn]),
            )
            assert out.p_speak == pytest.approx(p_N[turn], abs=1e-12)


def test_scene(talks: Path) -> None:
    """Cues of the other call for something; one's own do not, but for backchannels."""
    documents = Documents(config_of(talks))
    for document in range(len(documents)):
        view, scene = documents.view(document), scene_of(documents, document)
        assert np.array_equal(scene.human_W[1:], view.speak_N)
        if view.speaker == "Bo":
            assert [(end.first, end.stop) for end in scene.ends] == [(5, 8)]
            assert [(pause.first, pause.stop) for pause in scene.pauses] == [(12, 15)]
            assert scene.interrupted == (22,)
            assert scene.backchannels == ((20, 22),)
        else:
            assert scene.ends == scene.pauses == scene.interrupted == scene.backchannels == ()


def test_evaluate_fills_the_table(talks: Path, model: InteractionModel) -> None:
    seen: list[tuple[str, int, int]] = []
    report = evaluate_model(
        model,
        config_of(talks),
        talks,
        limits=Limits(free=2),
        progress=lambda *progress: seen.append(progress),
    )
    assert (report.documents, report.free_documents) == (4, 2)
    assert seen == [("losses", n + 1, 4) for n in range(4)] + [("freely", n + 1, 58) for n in range(58)]
    told = {row.name: row for row in report.timing if row.told}
    free = {row.name: row for row in report.timing if not row.told}
    assert (
        set(told)
        == set(free)
        == {
            *("model", "silent", "timer", "copy"),
            *("unigram", "shifted", "human"),
        }
    )
    for rows in (told, free):
        assert rows["human"].right.value == 1.0 and rows["human"].off_by_windows.value == 0.0
        assert rows["silent"].speaks.value == 0.0 and rows["silent"].turn_taken.value == 0.0
        assert rows["silent"].right.value < 1.0 and rows["silent"].off_by_windows.value is None
    # The same windows; only the person's words are known, and a short run with many is no backchannel.
    counted = ("false_starts_per_minute", "backchannels_per_minute", "backchannel_distance")
    words = {name: getattr(told["shifted"], name) for name in counted}
    assert told["shifted"] == dataclasses.replace(told["copy"], name="shifted", **words)
    assert free["shifted"].off_by_windows.value == 1.0
    assert told["copy"].right.value < 1.0 and free["copy"] == dataclasses.replace(free["silent"], name="copy")
    assert told["human"].turn_taken.cases == 2 and told["human"].pause_taken.cases == 2
    assert told["silent"].backchannel_distance.value == 1.0
    again = evaluate_model(model, config_of(talks), talks, limits=Limits(free=2))
    assert again == report


def test_free_running_is_a_function_of_the_seed(talks: Path, model: InteractionModel) -> None:
    documents = Documents(config_of(talks))
    sampling = Sampling(control="sampled")

    def said(seed: int) -> list[object]:
        outs = run_free(model, documents, 0, sampling=sampling, seed=seed)
        return [(out.speak, out.text, out.tokens) for out in outs]

    assert said(1) == said(1) != said(2)


def measured(tally: Tally) -> tuple[float | None, float | None]:
    row: TimingRow = tally.row(draws(tally.documents))
    return row.right.value, row.off_by_windows.value


def test_rule_corpus_gives_right_action_to_who_follows_the_rule(rules: ModuleType, tmp_path: Path) -> None:
    corpus = rules.write(tmp_path, "beep", {"validation": 4}, windows=60)
    documents = Documents(config_of(corpus.path))
    follows, late, silent = Tally("x", False), Tally("x", False), Tally("x", False)
    nothing = np.zeros(60, np.int64)
    for document in range(len(documents)):
        scene = scene_of(documents, document)
        truth = np.array(corpus.truths[documents.view(document).key].speaks)
        assert np.array_equal(scene.human_W, truth)
        follows.add(scene, truth, nothing)
        late.add(scene, np.roll(truth, 3), nothing)
        silent.add(scene, np.zeros(60, bool), nothing)
    assert measured(follows) == (1.0, 0.0)
    right, error = measured(late)
    assert right < 0.2 and error == 3
    right, error = measured(silent)
    assert 0.4 < right < 0.6 and error is None


def test_what_is_decided_in_a_window_is_heard_in_the_next() -> None:
    said = ((False, ""), (True, "one t"), (True, "wo"), (False, ""), (True, " x"))
    outs = [
        MicroTurnOut(turn=turn, speak=speak, p_speak=0.5, text=text, tokens=(), mel=None, logprobs=(), ms=0.0)
        for turn, (speak, text) in enumerate(said)
    ]
    speaks_W, words_W = heard_of(outs, 5)
    assert speaks_W.tolist() == [False, False, True, True, False]
    assert words_W.tolist() == [0, 0, 2, 0, 0]
    assert heard_of(outs, 6)[1].tolist() == [0, 0, 2, 0, 0, 1]


def test_no_such_split(talks: Path, model: InteractionModel) -> None:
    with pytest.raises(DatasetError, match=r"'test'.*it has train, validation\)"):
        evaluate_model(model, config_of(talks), talks, split="test")
