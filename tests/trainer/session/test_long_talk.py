"""A talk ten times longer than a row of training: no window is harder than one inside the row."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from corpus.trainer.data.documents import Documents
from corpus.trainer.evaluate.by_window import over_windows
from corpus.trainer.evaluate.evaluate import Limits, evaluate_model
from corpus.trainer.overrides import with_overrides
from corpus.trainer.presets import preset
from corpus.trainer.session.session import Answer, MicroTurn, Session
from corpus.trainer.train.load_model import load_model
from corpus.trainer.train.loop import train_model

WINDOWS = 300
ROW = ("data.length=256", "data.rows=4", "data.pictures=false", "model.attention_window_s=2")
"""A row holds 26 to 51 of a document's windows."""


@pytest.mark.slow
def test_loss_stays_flat_ten_rows_on(rules: ModuleType, tmp_path: Path) -> None:
    drafts = [rules.beep(f"long-{number}", WINDOWS)[0] for number in range(20)]
    for draft in drafts[12:]:
        draft.split = "validation"
    data = rules.store(tmp_path, drafts, windows_per_clip=WINDOWS)
    pairs = [f"data.data={data}", *ROW, "steps=150", "log_every=50", "save_every=1000"]
    config = with_overrides(preset("tiny"), pairs)
    train_model(config, tmp_path / "run", talk=print)
    model, _ = load_model(tmp_path / "run")
    assert model.sight.window_turns == 10 and model.sight.sink_turns == 0
    report = evaluate_model(model, config, data, limits=Limits(free=0))
    assert report.attention_windows == 10
    for stream in ("control", "text"):
        inside = over_windows(report.by_window, stream, 10, 40)
        parts = [over_windows(report.by_window, stream, start, start + 62) for start in range(50, 298, 62)]
        print(stream, inside, parts)
        assert inside is not None
        for part in parts:
            assert part is not None and part <= 1.1 * inside

    # What was scored at once is what a session of so many windows lives through.
    documents = Documents(with_overrides(config, ["data.split=validation"]))
    view, turns = documents.view(0), documents.turns(0, 0, WINDOWS - 1)
    session = Session(model, max_seconds=float("inf"), pictures=False)
    nats = []
    for turn in range(len(view)):
        speak = bool(turns.speak_N[turn])
        force = Answer(speak=speak, written=turns.written[turn], sound_FM=turns.sound_NFM[turn])
        out = session.step(MicroTurn(audio=turns.heard_NFM[turn]), force=force)
        nats.append(-out.logprobs[0])
    inside, beyond = sum(nats[10:50]) / 40, sum(nats[50:]) / len(nats[50:])
    print(f"session: {inside:.4f} inside the row, {beyond:.4f} beyond it")
    assert beyond <= 1.25 * inside
