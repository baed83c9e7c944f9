"""A session is the full pass over the same sequence; what is undone leaves no trace."""

from __future__ import annotations

import dataclasses
import io
import threading

import numpy as np
import pytest
import torch

from corpus.schemas.errors import CorpusError, FormatError, UsageError
from corpus.shards.mel import mel_bytes
from corpus.trainer.config import LossConfig, ModelConfig
from corpus.trainer.data import noise
from corpus.trainer.data.layout import Turns, beginning, concat, lay_out
from corpus.trainer.data.pack import collate
from corpus.trainer.data.sequence import BYTE_0, EOW, SIL, SPK, Positions
from corpus.trainer.data.text import BYTES
from corpus.trainer.data.views import patches_of
from corpus.trainer.model.attention_mask import Sight
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.presets import MODELS, preset
from corpus.trainer.session.incremental import Reader
from corpus.trainer.session.sampling import Sampling, decide, next_token, text_bits
from corpus.trainer.session.session import Answer, MicroTurn, MicroTurnOut, Session, capacity
from corpus.trainer.session.vocoder import sound_of_window

CONFIG = dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2)
NEAR = dataclasses.replace(CONFIG, attention_window_s=0.6)
SAMPLED = Sampling(control="sampled")
READ = Reader.read
SILENCE = np.zeros((8, 80), np.uint8)


def model_of(config: ModelConfig = CONFIG, dtype: torch.dtype = torch.float64) -> InteractionModel:
    """Weights large enough that attention, routing and choices are decided."""
    model = InteractionModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.normal_(0, 0.1, generator=generator)
    return model.to(dtype).eval()


def turns_of(
    count: int, seed: int = 0, config: ModelConfig = CONFIG
) -> tuple[Turns, list[np.ndarray | None]]:
    """Micro-turns in which all kinds of things happen, and their pictures whole."""
    rng = np.random.default_rng(seed)
    shape = (count, config.frames_per_window, config.mel_bins)
    speak = rng.random(count) < 0.5
    frames = [
        rng.integers(0, 256, (80, 80, 3), np.uint8) if rng.random() < 0.5 else None for _ in range(count)
    ]
    written = [tuple(rng.integers(BYTE_0, 272, rng.integers(0, 5)).tolist()) if s else () for s in speak]
    given = [BYTES.event("abc"[: rng.integers(1, 4)]) if rng.random() < 0.4 else () for _ in range(count)]
    turns = Turns(
        heard_NFM=rng.integers(0, 256, shape, np.uint8),
        pictures=[None if frame is None else patches_of(frame, config) for frame in frames],
        given=given,
        speak_N=speak,
        written=written,
        sound_NFM=rng.integers(0, 256, shape, np.uint8),
        heard_known_NF=np.ones(shape[:2], bool),
        audible_NF=np.ones(shape[:2], bool),
        known_N=np.ones(count, bool),
        spoke_before=False,
    )
    return turns, frames


def given_to(turns: Turns, frames: list[np.ndarray | None], turn: int) -> MicroTurn:
    text = bytes(token - BYTE_0 for token in turns.given[turn][1:]).decode() or None
    return MicroTurn(audio=turns.heard_NFM[turn], frame=frames[turn], text=text)


def forced_to(turns: Turns, turn: int) -> Answer:
    speak = bool(turns.speak_N[turn])
    return Answer(speak=speak, written=turns.written[turn], sound_FM=turns.sound_NFM[turn] if speak else None)


class Recorder:
    """Keeps every hidden vector a session makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hidden: list[torch.Tensor] = []

        def recorded(reader: Reader, positions: Positions) -> torch.Tensor:
            self.hidden.append(READ(reader, positions))
            return self.hidden[-1]

        monkeypatch.setattr(Reader, "read", recorded)


def whole(turns: Turns, config: ModelConfig) -> Positions:
    return concat([beginning(config), lay_out(turns, config, LossConfig())])


@torch.no_grad()
def full(model: InteractionModel, positions: Positions) -> torch.Tensor:
    base = preset("tiny")
    data = dataclasses.replace(base.data, length=len(positions))
    run = dataclasses.replace(base, model=model.config, data=data)
    return model.hidden(collate([[positions]], run))[0]


@pytest.mark.parametrize("config", [CONFIG, NEAR], ids=["all", "window"])
def test_stream_equals_full(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hidden vector of a teacher-forced session is that of the full pass, and so are its odds."""
    model = model_of(config)
    turns, frames = turns_of(24, config=config)
    positions = whole(turns, config)
    expected = full(model, positions)
    recorder = Recorder(monkeypatch)
    session = Session(model, max_seconds=24 * 0.2, history_turns=2)
    outs = [session.step(given_to(turns, frames, i), force=forced_to(turns, i)) for i in range(24)]
    hidden = torch.cat(recorder.hidden)
    # What the last window leaves is not read before the next.
    assert len(hidden) == len(positions) - 1
    assert float((hidden - expected[:-1]).abs().max()) <= 1e-12

    at = np.flatnonzero(positions.text_weight_L > 0)
    odds = model.text_logits(expected).double().log_softmax(-1)[at, positions.text_target_L[at]]
    told = np.concatenate([out.logprobs for out in outs])
    assert len(told) == len(at)
    assert np.abs(told - odds.detach().numpy()).max() <= 1e-12
    for out, i in zip(outs, range(24), strict=True):
        assert (out.turn, out.speak, out.tokens) == (i, turns.speak_N[i], turns.written[i])
        assert (out.mel is not None) == out.speak
    assert 2 < sum(out.speak for out in outs) < 22


def run(session: Session, turns: Turns, frames: list[np.ndarray | None], start: int, stop: int) -> list:
    return [plain(session.step(given_to(turns, frames, i))) for i in range(start, stop)]


def plain(out: MicroTurnOut) -> tuple[object, ...]:
    mel = None if out.mel is None else out.mel.tobytes()
    return (out.turn, out.speak, out.p_speak, out.text, out.tokens, mel, out.logprobs)


def test_what_a_model_says_is_what_it_would_be_forced_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Free running and teacher forcing of the same answers make the same sequence."""
    model = model_of()
    turns, frames = turns_of(16)
    recorder = Recorder(monkeypatch)
    session = Session(model, sampling=SAMPLED, seed=3)
    outs = [session.step(given_to(turns, frames, i)) for i in range(16)]
    free = torch.cat(recorder.hidden)
    assert 2 < sum(out.speak for out in outs) < 14
    sound = [np.zeros((8, 80), np.uint8) if out.mel is None else out.mel for out in outs]
    lived = dataclasses.replace(
        turns,
        speak_N=np.array([out.speak for out in outs]),
        written=[out.tokens for out in outs],
        sound_NFM=np.stack(sound),
    )
    assert float((free - full(model, whole(lived, CONFIG))[:-1]).abs().max()) <= 1e-12


def test_same_seed_same_answers() -> None:
    model, (turns, frames) = model_of(), turns_of(10)
    runs = [run(Session(model, sampling=SAMPLED, seed=seed), turns, frames, 0, 10) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("config", [CONFIG, NEAR], ids=["all", "window"])
def test_rollback_and_fork(config: ModelConfig) -> None:
    model = model_of(config)
    (turns, frames), (other, other_frames) = turns_of(40), turns_of(40, 1)
    expected = run(Session(model, sampling=SAMPLED, history_turns=6), turns, frames, 0, 40)
    session = Session(model, sampling=SAMPLED, history_turns=6)
    assert run(session, turns, frames, 0, 30) == expected[:30]
    fork = session.fork()
    assert run(session, other, other_frames, 30, 36) != expected[30:36]
    assert run(fork, turns, frames, 30, 40) == expected[30:]
    session.rollback(30)
    assert session.turn == 30
    assert run(session, turns, frames, 30, 40) == expected[30:]
    with pytest.raises(UsageError, match="cannot go back to micro-turn 33"):
        session.rollback(33)
    with pytest.raises(UsageError, match="cannot go back to micro-turn 41"):
        session.rollback(41)


def test_who_is_undecided_says_something_else_in_every_place_turn_and_session() -> None:
    """Nothing is likelier than anything else to this model, so that what it says is the noise alone."""
    model = model_of(dtype=torch.float32)
    with torch.no_grad():
        model.norm.weight.zero_()
    turns, frames = turns_of(3)
    free = Sampling(speak_above=0.0, stay_above=0.0, text_temperature=1.0, text_top_p=1.0, audio_top_k=0)
    texts, sounds = [], []
    for seed in (1, 2):
        session = Session(model, sampling=free, seed=seed)
        for turn in range(3):
            out = session.step(given_to(turns, frames, turn))
            assert out.speak and out.mel is not None
            texts.append(out.tokens)
            sounds += [place.tobytes() for place in np.split(out.mel, model.config.audio_positions)]
    assert len(set(texts)) == len(texts) and len(set(sounds)) == len(sounds)


def test_going_back_a_little_is_not_going_back_as_far_as_can_be() -> None:
    model, (turns, frames) = model_of(), turns_of(10)
    expected = run(Session(model, sampling=SAMPLED), turns, frames, 0, 10)
    session = Session(model, sampling=SAMPLED)
    run(session, turns, frames, 0, 10)
    for back in (10, 9, 7, 4):
        session.rollback(back)
        assert session.turn == back
        assert run(session, turns, frames, back, 10) == expected[back:]


def test_every_turn_that_is_remembered_can_be_gone_back_to() -> None:
    """With the smallest ring a window allows, after every turn, as far back as promised."""
    model = model_of(NEAR)
    turns, frames = turns_of(40)
    expected = run(Session(model, sampling=SAMPLED, history_turns=4), turns, frames, 0, 40)
    session = Session(model, sampling=SAMPLED, history_turns=4)
    for turn in range(40):
        back = max(0, turn - 4)
        session.rollback(back)
        for ours, theirs in zip(
            run(session, turns, frames, back, turn + 1), expected[back : turn + 1], strict=True
        ):
            # The ring holds more keys after going back; those hidden add exact zeros in another order.
            assert [ours[i] for i in (0, 1, 3, 4, 5)] == [theirs[i] for i in (0, 1, 3, 4, 5)]
            assert ours[2] == pytest.approx(theirs[2], abs=1e-12)


def test_memory_is_bounded_by_the_window() -> None:
    model = model_of(NEAR, torch.float32)
    turns, frames = turns_of(40)
    short, long = Session(model, max_seconds=8), Session(model, max_seconds=3600)
    assert long.cache_bytes <= short.cache_bytes
    run(long, turns, frames, 0, 40)
    for again in range(8):
        session_turn = long.turn
        long.step(given_to(turns, frames, again))
        assert long.turn == session_turn + 1
    assert long.positions > 40 * 6
    endless = capacity(CONFIG, Sight.of(CONFIG), max_seconds=3600, history_turns=0, pictures=False)
    assert endless == 1 + 18_000 * (2 * 4 + 2 * CONFIG.text_slots + 2)


def test_a_session_without_window_says_when_it_is_full() -> None:
    session = Session(model_of(dtype=torch.float32), max_seconds=0.4, sampling=SAMPLED)
    turns, frames = turns_of(30)
    with pytest.raises(CorpusError, match="positions are held"):
        run(session, turns, frames, 0, 30)
    stopped = session.turn
    assert stopped >= 2
    with pytest.raises(CorpusError, match="positions are held"):
        session.step(given_to(turns, frames, stopped))
    assert session.turn == stopped


def test_an_aborted_step_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after each of its forward passes in turn, a step can be taken again."""
    model, (turns, frames) = model_of(), turns_of(12)
    expected = run(Session(model, sampling=SAMPLED), turns, frames, 0, 12)
    session = Session(model, sampling=SAMPLED)
    aborted = 0
    for turn in range(12):
        for limit in range(1, 8 + CONFIG.text_slots):
            left = iter(range(limit))

            def stopped(reader: Reader, positions: Positions) -> torch.Tensor:
                hidden = READ(reader, positions)
                if next(left, None) is None:  # noqa: B023
                    raise KeyboardInterrupt
                return hidden

            monkeypatch.setattr(Reader, "read", stopped)
            try:
                out = session.step(given_to(turns, frames, turn))
                break
            except KeyboardInterrupt:
                aborted += 1
                assert session.turn == turn
        assert plain(out) == expected[turn]
    assert aborted > 10


def test_one_step_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (turns, frames) = model_of(), turns_of(2)
    inside, go = threading.Event(), threading.Event()

    def slow(reader: Reader, positions: Positions) -> torch.Tensor:
        inside.set()
        assert go.wait(10)
        return READ(reader, positions)

    monkeypatch.setattr(Reader, "read", slow)
    session = Session(model)
    done: list[MicroTurnOut] = []
    thread = threading.Thread(target=lambda: done.append(session.step(given_to(turns, frames, 0))))
    thread.start()
    assert inside.wait(10)
    with pytest.raises(UsageError, match="in flight"):
        session.step(given_to(turns, frames, 0))
    go.set()
    thread.join()
    assert session.turn == 1 and len(done) == 1
    session.step(given_to(turns, frames, 1))


def test_goes_on_from_its_state() -> None:
    model, (turns, frames) = model_of(), turns_of(12)
    expected = run(Session(model, sampling=SAMPLED, seed=5), turns, frames, 0, 12)
    first = Session(model, sampling=SAMPLED, seed=5)
    run(first, turns, frames, 0, 7)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    run(first, turns, frames, 7, 9)
    file.seek(0)
    second = Session(model, sampling=SAMPLED)
    second.load_state_dict(torch.load(file, weights_only=False))
    assert second.turn == 7
    assert run(second, turns, frames, 7, 12) == expected[7:]
    with pytest.raises(FormatError, match="not a session's state"):
        second.load_state_dict({})


def test_sound_comes_with_each_window_and_is_undone_with_it() -> None:
    # One in which the window before the state is kept is spoken in: sound is owed to the next.
    seed = next(seed for seed in range(20) if turns_of(12, seed)[0].speak_N[5])
    turns, frames = turns_of(12, seed)
    model = model_of()
    session, silent = Session(model, sound=True), Session(model)
    voice, after, kept = None, [], None
    for turn in range(12):
        force = forced_to(turns, turn)
        out = session.step(given_to(turns, frames, turn), force=force)
        assert silent.step(given_to(turns, frames, turn), force=force).audio is None
        if force.sound_FM is None and voice is None:
            assert out.audio is None
        else:
            samples, voice = sound_of_window(force.sound_FM, voice)
            assert out.audio is not None and np.array_equal(out.audio, samples)
        if turn == 5:
            kept, twin = session.state_dict(), session.fork()
        if turn > 5:
            after.append(out.audio)
    assert after[0] is not None
    session.rollback(6)
    fresh = Session(model, sound=True)
    assert kept is not None
    fresh.load_state_dict(kept)
    for again in (session, twin, fresh):
        for turn, audio in enumerate(after, 6):
            made = again.step(given_to(turns, frames, turn), force=forced_to(turns, turn)).audio
            assert (made is None) == (audio is None)
            assert audio is None or np.array_equal(made, audio)
    # A state of the form before knew no voice.
    old = {name: value for name, value in kept.items() if name != "voice"} | {"schema": "corpus.session/2"}
    fresh.load_state_dict(old)
    assert fresh.turn == 6


def test_a_state_is_a_copy() -> None:
    """With a window, what the session does next overwrites what the state must still know."""
    model, (turns, frames) = model_of(NEAR), turns_of(40)
    first = Session(model, sampling=SAMPLED, history_turns=0)
    run(first, turns, frames, 0, 20)
    state = first.state_dict()
    expected = run(first, turns, frames, 20, 40)
    second = Session(model, sampling=SAMPLED, history_turns=0)
    second.load_state_dict(state)
    assert run(second, turns, frames, 20, 40) == expected


def test_a_state_does_not_go_into_a_session_of_another_size() -> None:
    """Also where both take the same memory, rounded up: their rings have positions in other slots."""
    model, sizes = model_of(NEAR), {}
    for history in range(9):
        cache = Session(model, history_turns=history)._reader.cache
        sizes.setdefault(cache.slots, []).append(history)
    history, other = next(found for found in sizes.values() if len(found) > 1)[:2]
    state = Session(model, history_turns=history).state_dict()
    session = Session(model, history_turns=other)
    with pytest.raises(CorpusError, match="positions, this one has"):
        session.load_state_dict(state)
    assert session.turn == 0


def test_sound_heard_in_windows_is_the_mel_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(dtype=torch.float32)
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal(12 * 3200) * np.repeat(rng.integers(1, 9000, 12), 3200)).astype(np.int16)
    heard: list[np.ndarray] = []

    def recorded(reader: Reader, positions: Positions) -> torch.Tensor:
        if len(positions) > 1:
            heard.append(positions.audio_ARM[-4:].reshape(8, 80))
        return READ(reader, positions)

    monkeypatch.setattr(Reader, "read", recorded)
    session = Session(model)
    for turn in range(12):
        session.step(MicroTurn(audio=samples[turn * 3200 : (turn + 1) * 3200]), force=Answer(speak=False))
    assert np.array_equal(np.stack(heard), mel_bytes(np.pad(samples, (400, 0))[None], 16_000)[0])


def test_text_that_does_not_fit_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(dataclasses.replace(CONFIG, text_slots=4), torch.float32)
    read: list[int] = []

    def recorded(reader: Reader, positions: Positions) -> torch.Tensor:
        read.extend(int(t) for t in positions.token_L if t >= 0 and t not in (SIL, 4))
        return READ(reader, positions)

    monkeypatch.setattr(Reader, "read", recorded)
    session = Session(model)
    silence = np.zeros((8, 80), np.uint8)
    counts = []
    for text in ("tool: 42", None, "x", None, None):
        before = len(read)
        session.step(MicroTurn(audio=silence, text=text), force=Answer(speak=False))
        counts.append(len(read) - before)
    assert counts == [4, 4, 3, 0, 0]
    assert tuple(read) == BYTES.event("tool: 42") + BYTES.event("x")


def test_a_letter_of_several_bytes_is_told_when_it_is_whole() -> None:
    session = Session(model_of(dtype=torch.float32))
    letters = [BYTE_0 + byte for byte in "né語".encode()]
    silence = np.zeros((8, 80), np.uint8)
    texts = []
    for start in range(0, len(letters), 2):
        force = Answer(speak=True, written=tuple(letters[start : start + 2]), sound_FM=silence)
        texts.append(session.step(MicroTurn(audio=silence), force=force).text)
    assert texts == ["n", "é", "語"]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (MicroTurn(audio=np.zeros((4, 80), np.uint8)), "sound of uint8"),
        (MicroTurn(audio=np.zeros(3199, np.int16)), "sound of int16"),
        (MicroTurn(audio=np.zeros((8, 80), np.uint8), frame=np.zeros((8, 8, 3), np.uint8)), "a picture of"),
        *(
            (MicroTurn(audio=SILENCE, tokens=(token,)), f"token {token} is not text")
            for token in (-1, SPK, 512)
        ),
    ],
)
def test_what_does_not_fit_is_refused(given: MicroTurn, match: str) -> None:
    session = Session(model_of(dtype=torch.float32))
    with pytest.raises(UsageError, match=match):
        session.step(given)
    assert session.turn == 0
    blind = Session(model_of(dtype=torch.float32), pictures=False)
    with pytest.raises(UsageError, match="does not see"):
        blind.step(MicroTurn(audio=np.zeros((8, 80), np.uint8), frame=np.zeros((80, 80, 3), np.uint8)))


def test_an_answer_no_model_gives_is_no_step() -> None:
    session = Session(model_of(dtype=torch.float32))
    with pytest.raises(UsageError, match="sound of none"):
        session.step(MicroTurn(audio=SILENCE), force=Answer(speak=True))
    assert session.turn == 0


def test_a_length_is_a_length() -> None:
    for config, wrong in ((CONFIG, {"max_seconds": np.inf}), (NEAR, {"max_seconds": np.nan})):
        for settings in (wrong, {"max_seconds": -1.0}, {"history_turns": -1}):
            with pytest.raises(UsageError, match="session"):
                Session(model_of(config, torch.float32), **settings)
    endless = Session(model_of(NEAR, torch.float32), max_seconds=np.inf)
    assert endless.cache_bytes == Session(model_of(NEAR, torch.float32), max_seconds=3600).cache_bytes


def test_a_model_that_is_broken_is_not_silent() -> None:
    """No comparison with what is no number holds, so it would be taken for a decision not to speak."""
    model = model_of(dtype=torch.float32)
    session = Session(model)
    with torch.no_grad():
        model.norm.weight.fill_(torch.nan)
    with pytest.raises(CorpusError, match="is NaN"):
        session.step(MicroTurn(audio=SILENCE))
    assert session.turn == 0


def test_hysteresis() -> None:
    sampling = Sampling(speak_above=0.6, stay_above=0.3)
    odds = [0.5, 0.6, 0.4, 0.31, 0.29, 0.5, 0.7]
    speaking, said = False, []
    for turn, p in enumerate(odds):
        speaking = decide(p, speaking=speaking, sampling=sampling, seed=0, turn=turn)
        said.append(speaking)
    assert said == [False, True, True, True, False, False, True]
    with pytest.raises(CorpusError, match="stay_above"):
        Sampling(stay_above=1.5)


def test_sampled_control_is_as_likely_as_its_odds() -> None:
    sampling = Sampling(control="sampled")
    for p in (0.0, 0.2, 0.7, 1.0):
        share = np.mean([decide(p, speaking=False, sampling=sampling, seed=9, turn=t) for t in range(1000)])
        assert abs(share - p) < 0.05


def test_text_sampling() -> None:
    """Frequencies follow the odds; top-p and min-p cut where they say; control tokens are never text."""
    logit = torch.full((512,), -torch.inf)
    letters = [BYTE_0 + 97, BYTE_0 + 98, EOW]
    logit[letters] = torch.tensor([0.6, 0.3, 0.1]).log()
    logit[[SIL, SPK, 300]] = 50.0

    def drawn(**changes: float) -> dict[int, float]:
        sampling = Sampling(**{"text_temperature": 1.0, "text_top_p": 1.0, **changes})
        bits = (torch.tensor(text_bits(1, turn, 0)) for turn in range(1000))
        got = [int(next_token(logit, sampling, noise.uniform(each))) for each in bits]
        return {token: got.count(token) / 1000 for token in set(got)}

    assert drawn() == pytest.approx(dict(zip(letters, (0.6, 0.3, 0.1), strict=True)), abs=0.05)
    assert drawn(text_top_p=0.85) == pytest.approx({letters[0]: 2 / 3, letters[1]: 1 / 3}, abs=0.05)
    assert drawn(text_min_p=0.4) == pytest.approx({letters[0]: 2 / 3, letters[1]: 1 / 3}, abs=0.05)
    assert drawn(text_temperature=0.0) == {letters[0]: 1.0}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_it_says_what_it_says_on_a_cpu() -> None:
    turns, frames = turns_of(16)
    expected = run(Session(model_of(), sampling=SAMPLED), turns, frames, 0, 16)
    ours = run(Session(model_of().cuda(), sampling=SAMPLED), turns, frames, 0, 16)
    for one, other in zip(ours, expected, strict=True):
        assert [one[i] for i in (0, 1, 3, 4, 5)] == [other[i] for i in (0, 1, 3, 4, 5)]
        assert one[2] == pytest.approx(other[2], abs=1e-9)
