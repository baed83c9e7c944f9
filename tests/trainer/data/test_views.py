"""What a speaker hears, sees, reads, says and writes, against the recording it was cut from."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.schemas.activity import PADDED, SPEECH, UNRELIABLE
from corpus.schemas.clock import WINDOW_US
from corpus.schemas.errors import DatasetError, FormatError
from corpus.shards.mel import mel_bytes
from corpus.shards.read import Clips, open_clips
from corpus.trainer.config import DataConfig, LossConfig, ModelConfig
from corpus.trainer.data.clip_head import check_head, read_head
from corpus.trainer.data.hearing import mixed
from corpus.trainer.data.layout import Turns, lay_out
from corpus.trainer.data.sequence import SIL, SPK
from corpus.trainer.data.text import BYTES
from corpus.trainer.data.views import TextCounts, View, heard, plan_view, read_turns, spread
from corpus.trainer.presets import MODELS

MODEL = dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2)
DATA = DataConfig()
WINDOWS = 50
"""In clips of 17: two whole ones and a shorter."""


@pytest.fixture(scope="module")
def draft(rules: ModuleType) -> object:
    """Three speakers, loud enough that their sum saturates."""
    draft, _ = rules.talk("views", WINDOWS, speakers=3)
    for channel in range(4):
        draft.noise(channel, 10, 20, 9000)
    return draft


@pytest.fixture(scope="module")
def clips(rules: ModuleType, draft: object, tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return open_clips(rules.store(tmp_path_factory.mktemp("views"), [draft], windows_per_clip=17))


def views(clips: Clips, model: ModelConfig = MODEL) -> list[View]:
    return [plan_view(clips, place, c, model, DATA) for place in range(len(clips)) for c in range(3)]


def turns_of(clips: Clips, view: View, model: ModelConfig = MODEL) -> Turns:
    return read_turns(clips, view, heard(clips, view, "mix"), 0, len(view), model)


def first_window(view: View) -> int:
    return int(view.key[-7:])


def test_the_heard_mix_is_that_of_the_whole_recording(clips: Clips, draft: object) -> None:
    """Windows of a clip are windows of the recording: the first frame looks into the clip before."""
    saturated = 0
    for view in views(clips):
        others = np.delete(draft.sound, view.channel, axis=0)
        exact = others.astype(np.int64).sum(0)
        saturated += int((abs(exact) > 32767).sum())
        mix = np.clip(exact, -32768, 32767).astype(np.int16)
        expected = mel_bytes(np.pad(mix, (400, 0))[None], 16_000)[0]
        start = first_window(view)
        assert np.array_equal(heard(clips, view, "mix").sound_NFM, expected[start : start + len(view)])
    assert saturated > 100


def test_across_a_gap_nothing_was_heard(rules: ModuleType, tmp_path: Path) -> None:
    draft, _ = rules.talk("gap", 30, speakers=2, pictures=False)
    path = rules.store(tmp_path, [draft], windows_per_clip=15, segments=((0, 15), (90, 15)))
    clips = open_clips(path)
    view = plan_view(clips, 1, 0, MODEL, DATA)
    mix = mixed(draft.sound[:, 15 * 3200 : 29 * 3200], 0)
    assert np.array_equal(
        heard(clips, view, "mix").sound_NFM, mel_bytes(np.pad(mix, (400, 0))[None], 16_000)[0]
    )


def test_the_maximum_is_over_the_others(clips: Clips) -> None:
    for view in views(clips):
        mel = clips[view.place].mel()
        others = [mel[c] for c in range(4) if c != view.channel]
        expected = np.maximum(np.maximum(others[0], others[1]), others[2])
        assert np.array_equal(heard(clips, view, "max").sound_NFM, expected[: len(view)])


@pytest.mark.parametrize("delay", [0, 1])
def test_own_sound_and_speech_are_those_of_the_delayed_window(
    clips: Clips, draft: object, delay: int
) -> None:
    model = dataclasses.replace(MODEL, response_delay=delay)
    for view in views(clips, model):
        turns, clip = turns_of(clips, view, model), clips[view.place]
        windows = clip.json.windows
        assert len(view) == windows - delay
        for turn in range(len(view)):
            flags = draft.flags[view.channel, first_window(view) + turn + delay]
            assert np.array_equal(turns.sound_NFM[turn], clip.mel()[view.channel, turn + delay])
            assert turns.speak_N[turn] == bool((flags & SPEECH).any())
            assert turns.audible_NF[turn].tolist() == [not flag & (UNRELIABLE | PADDED) for flag in flags]
            assert turns.known_N[turn] == (not all(flag & PADDED for flag in flags))
        before = draft.flags[view.channel, first_window(view)] & SPEECH
        assert view.spoke_before == (bool(before.any()) and delay == 1)
        for turn in range(1, len(view)):  # where a row goes on with the rest of a document
            rest = read_turns(clips, view, heard(clips, view, "max"), turn, len(view), model)
            assert rest.spoke_before == turns.speak_N[turn - 1]


@pytest.mark.parametrize("delay", [0, 1])
def test_what_is_heard_is_learnt_where_it_was_recorded_and_the_others_are_whole(
    clips: Clips, draft: object, delay: int
) -> None:
    """One's own channel has no say, and no window but the one that is heard."""
    model, told = dataclasses.replace(MODEL, response_delay=delay), []
    for view in views(clips, model):
        sound = heard(clips, view, "mix")
        drawn_NF = np.random.default_rng(view.channel).random(sound.drawn_NF.shape) < 0.2
        turns = read_turns(clips, view, sound._replace(drawn_NF=drawn_NF), 2, len(view), model)
        for turn in range(2, len(view)):
            for frame in range(8):
                flags = draft.flags[:, first_window(view) + turn, frame]
                bad = any(f & (UNRELIABLE | PADDED) for c, f in enumerate(flags) if c != view.channel)
                told.append(not (bad or drawn_NF[turn, frame]))
                assert turns.heard_known_NF[turn - 2, frame] == told[-1]
    assert 0.3 < np.mean(told) < 0.7


def test_bad_frames_carry_no_loss(clips: Clips) -> None:
    seen = 0
    for view in views(clips):
        turns = turns_of(clips, view)
        positions = lay_out(turns, MODEL, LossConfig())
        good = turns.audible_NF[turns.speak_N].reshape(-1, 2).all(1)
        assert np.array_equal(positions.audio_weight_T > 0, good)
        unknown = np.isin(positions.turn_L, np.flatnonzero(~turns.known_N))
        assert not positions.text_weight_L[unknown].any()
        seen += int((~good).sum()) + int(unknown.sum())
    assert seen > 50


@pytest.mark.parametrize("slots", [1, 4, 8])
def test_every_word_is_written_while_its_speaker_speaks_or_counted(
    clips: Clips, draft: object, slots: int
) -> None:
    """Against a queue kept by hand, and against the text of the recording."""
    sums = TextCounts()
    for view in views(clips, dataclasses.replace(MODEL, text_slots=slots)):
        first, speaker = first_window(view), view.speaker
        own = sorted((w for w in draft.words if w.speaker == speaker), key=lambda w: (w.start_us, w.stop_us))
        queue: list[int] = []
        for turn in range(len(view)):
            window = first + turn + 1
            for word in own:
                if word.start_us // WINDOW_US == window:
                    queue += BYTES.word(word.text)
            room = slots if (draft.flags[view.channel, window] & SPEECH).any() else 0
            now, queue = queue[:room], queue[room:]
            assert view.written[turn] == tuple(now)
        assert len(view.written) == len(view)
        in_clip = [w for w in own if first <= w.start_us // WINDOW_US < first + len(view) + 1]
        all_tokens = sum(len(BYTES.word(w.text)) for w in in_clip)
        given = sum(map(len, view.given))
        assert view.text.written == sum(map(len, view.written)) + given
        assert view.text.written + view.text.left + view.text.before == all_tokens + sum(
            len(e) for e in told(draft, view)
        )
        assert view.text.later <= view.text.spilled <= view.text.written
        sums += view.text
    assert sums.spilled > 20 and sums.later > 5 and sums.left > 5


def test_text_decides_nothing_about_speech(clips: Clips) -> None:
    """With room for one token or for many, the same windows are spoken in, and weigh the same."""
    for place in range(len(clips)):
        for channel in range(3):
            made = []
            for slots in (0, 1, 12):
                model = dataclasses.replace(MODEL, text_slots=slots)
                view = plan_view(clips, place, channel, model, DATA)
                laid = lay_out(turns_of(clips, view, model), model, LossConfig())
                control = np.isin(laid.text_target_L, (SIL, SPK))
                made.append((view.speak_N, laid.text_target_L[control], laid.text_weight_L[control]))
                made[-1] += (laid.audio_target_TRM, laid.audio_weight_T)
            for other in made[1:]:
                for one, two in zip(made[0], other, strict=True):
                    assert np.array_equal(one, two)


def told(draft: object, view: View) -> list[str]:
    """One byte a letter and TOOL before: the notes that reach a speaker in a clip."""
    first = first_window(view)
    own = [e for e in draft.events if e.speaker in (None, view.speaker)]
    inside = [e for e in own if first <= e.start_us // WINDOW_US < first + len(view) + 1]
    return ["!" + ("for all" if e.speaker is None else f"for {e.speaker} alone") for e in inside]


def test_notes_are_given_to_whom_they_are_for(clips: Clips, draft: object) -> None:
    found = {speaker: "" for speaker in draft.speakers}
    for view in views(clips):
        found[view.speaker] += BYTES.decode(token for tokens in view.given for token in tokens)
    for speaker, text in found.items():
        assert f"for {speaker} alone" in text or "for all" in text
        assert not any(f"for {other} alone" in text for other in draft.speakers if other != speaker)


@given(
    items=st.lists(st.tuples(st.integers(-2, 12), st.integers(0, 9))),
    flags=st.lists(st.booleans(), max_size=13),
    slots=st.integers(0, 12),
    cut=st.integers(0, 13),
)
def test_text_waits_in_order_for_speech_and_knows_no_later_word(
    items: list[tuple[int, int]], flags: list[bool], slots: int, cut: int
) -> None:
    """Every token is its own: where each goes, and when."""
    numbers = itertools.count()
    ordered = [
        (turn, tuple(next(numbers) for _ in range(size)))
        for turn, size in sorted(items, key=lambda item: item[0])
    ]
    open_N = np.array(flags, bool)
    made, counts = spread(ordered, open_N, slots)
    since = {token: turn for turn, tokens in ordered for token in tokens if turn >= 0}
    at = {token: turn for turn, tokens in enumerate(made) for token in tokens}
    flat = [token for tokens in made for token in tokens]
    assert len(made) == len(flags) and flat == list(since)[: len(flat)]
    assert all(at[token] >= since[token] and flags[at[token]] for token in flat)
    assert all(len(tokens) <= slots for tokens in made)
    assert (counts.written, counts.left) == (len(flat), len(since) - len(flat))
    assert counts.spilled == sum(at[token] > since[token] for token in flat)
    assert counts.later == sum(not all(flags[since[token] : at[token]]) for token in flat)
    # Nothing stands still while there is room: a window is full, or nothing waits.
    for turn, tokens in enumerate(made):
        if flags[turn] and len(tokens) < slots:
            assert all(at[token] <= turn for token in since if since[token] <= turn)
    sooner, _ = spread([item for item in ordered if item[0] < cut], open_N, slots)
    assert sooner[:cut] == made[:cut]


def test_pictures_are_cut_into_patches_row_by_row(clips: Clips, draft: object) -> None:
    for view in views(clips):
        turns, clip = turns_of(clips, view), clips[view.place]
        for turn, patches in enumerate(turns.pictures):
            picture = clip.picture(turn)
            assert (patches is None) == (picture is None)
            if patches is None or picture is None:
                continue
            for k, patch in enumerate(patches):
                row, column = divmod(k, 2)
                cut = picture[row * 40 : row * 40 + 40, column * 40 : column * 40 + 40]
                assert np.array_equal(patch, cut)
            bright = int(np.argmax(patches.reshape(4, -1).mean(1)))
            assert bright == draft.pictures[first_window(view) + turn]


def test_a_model_that_does_not_see_gets_no_pictures(clips: Clips) -> None:
    blind = dataclasses.replace(MODEL, picture_rows=0)
    for model, data in ((blind, DATA), (MODEL, DataConfig(pictures=False))):
        view = plan_view(clips, 0, 0, model, data)
        assert not view.pictures_N.any()


def test_the_quick_reading_of_a_head_is_the_whole_ones(clips: Clips) -> None:
    for clip in clips:
        quick, whole = read_head(clip), clip.json
        assert whole.video is not None
        for name in (
            "key",
            "first_window",
            "windows",
            "sample_rate_hz",
            "frames_per_window",
            "mel",
            "speakers",
        ):
            assert getattr(quick, name) == getattr(whole, name)
        assert quick.picture == (whole.video.width, whole.video.height)
        assert quick.picture_sizes == whole.video.sizes
        words = [(w.speaker, w.start_us, w.stop_us, w.id, BYTES.word(w.text, w.after)) for w in whole.words]
        timed = [word for word in words if word[1] is not None and word[4]]
        assert sorted(quick.words) == sorted(timed)
        assert sorted(event[3] for event in quick.events) == sorted(e.id for e in whole.events)


def test_a_broken_head_is_said_to_be_one(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clips[0]
    for found in (b"{}", b"[]", b"{", clip.json_bytes.replace(b"corpus.clip/3", b"corpus.clip/4")):
        monkeypatch.setattr(type(clip), "json_bytes", property(lambda _, found=found: found))
        with pytest.raises(FormatError, match="the head cannot be read"):
            read_head(clip)


def test_other_forms_are_refused_with_what_to_do(clips: Clips) -> None:
    head = read_head(clips[0])
    wide = dataclasses.replace(MODEL, picture_columns=3)
    with pytest.raises(DatasetError, match=r"80 x 80, the model sees 120 x 80.*picture_columns=2"):
        check_head(head, wide, DATA)
    check_head(head, wide, DataConfig(pictures=False))
    other = dataclasses.replace(head, mel=dataclasses.replace(head.mel, step=0.04))
    with pytest.raises(DatasetError, match=r"steps of 0.04.*build the dataset again"):
        check_head(other, MODEL, DATA)
    frames = dataclasses.replace(head, frames_per_window=16)
    with pytest.raises(DatasetError, match=r"16 frames a window.*frames_per_window=16"):
        check_head(frames, MODEL, DATA)


@pytest.mark.parametrize("hears", ["mix", "max"])
def test_a_later_window_changes_nothing_before_it(rules: ModuleType, tmp_path: Path, hears: str) -> None:
    """Two recordings that are the same up to a window: so are all positions before it."""
    same, delay = 19, MODEL.response_delay
    made = []
    for number in range(2):
        draft, _ = rules.talk("fork", 30, speakers=2)
        other, _ = rules.talk("fork", 30, speakers=2)
        if number:
            other.sound[:, same * 3200 :] = 17
            other.flags[:, same:] ^= SPEECH
            other.words = [w for w in other.words if w.start_us < same * WINDOW_US]
            other.events = [e for e in other.events if e.start_us < same * WINDOW_US]
            other.pictures[same:] = [3] * (30 - same)
        clips = open_clips(rules.store(tmp_path / str(number), [other], windows_per_clip=30))
        positions = []
        for channel in range(len(draft.speakers)):
            view = plan_view(clips, 0, channel, MODEL, DATA)
            sound = heard(clips, view, hears)
            turns = read_turns(clips, view, sound, 0, same - delay, MODEL)
            positions.append(lay_out(turns, MODEL, LossConfig()))
        made.append(positions)
    for first, second in zip(*made, strict=True):
        for name in first.__slots__:
            assert np.array_equal(getattr(first, name), getattr(second, name)), name
