"""The loader: the same batches for any number of ranks, resumable at each, every document once an epoch."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from corpus.schemas.errors import CorpusError, DatasetError, SettingsError
from corpus.shards.read import Clip, open_clips
from corpus.trainer.config import RunConfig
from corpus.trainer.data import loader as data
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.loader import Loader, LoaderState
from corpus.trainer.data.pack import Cursor, next_row
from corpus.trainer.data.sequence import BOS, Batch
from corpus.trainer.presets import MODELS, preset


def config_for(path: Path, **data: object) -> RunConfig:
    base = preset("tiny")
    chosen = {"data": str(path), "length": 128, "rows": 4, "hears": "max", **data}
    return dataclasses.replace(
        base,
        model=dataclasses.replace(MODELS["tiny"], picture_rows=2, picture_columns=2),
        data=dataclasses.replace(base.data, **chosen),
    )


@pytest.fixture(scope="module")
def dataset(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some twenty documents of 11 windows, with pictures, notes and everything that may be wrong."""
    folder = tmp_path_factory.mktemp("loader")
    corpus: Path = rules.write(folder, "talk", {"train": 10, "validation": 1}, windows=11).path
    return corpus


@pytest.fixture(scope="module")
def uneven(rules: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shards of 1 to 50 clips: a loud clip nearly fills a shard, and the still ones are small."""
    names = sorted((f"uneven-{k}" for k in range(6)), key=lambda name: rules.Draft(name=name, windows=1).hash)
    drafts = []
    for name, clips in zip(names, (50, 1, 1, 12, 1, 1), strict=True):
        loud = clips == 1
        draft = rules.Draft(name=name, windows=40 if loud else 2 * clips, speakers=("Ann", "Bo"))
        draft.clip_windows = 40 if loud else 2
        for channel in range(3 * loud):
            draft.noise(channel, 0, 40, 8000)
        draft.speak(0, 300_000, 7_000_000, "one two three")
        drafts.append(draft)
    path: Path = rules.store(
        tmp_path_factory.mktemp("uneven"), drafts, windows_per_clip=2, shard_bytes=1024 * 1024
    )
    return path


def assert_same(one: Batch, two: Batch) -> None:
    for name in Batch.__slots__:
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def joined(parts: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """What can be compared whatever the micro-batches: the columns, row after row."""
    parts = list(parts)
    names = [name for name in Batch.__slots__ if name.endswith("_BL")]
    return {name: torch.cat([getattr(part, name) for part in parts]) for name in names}


def sounds_by_row(batch: Batch) -> list[list[bytes]]:
    """The sound and sound targets of each row, in order."""
    rows, length = batch.shape
    made: list[list[bytes]] = [[] for _ in range(rows)]
    for at, values in (
        (batch.audio_at_A, batch.audio_ARM),
        (batch.audio_target_at_T, batch.audio_target_TRM),
        (batch.patch_at_P, batch.patch_PHWC),
    ):
        for place, value in zip(at.tolist(), values, strict=True):
            if place < rows * length:
                made[place // length].append(bytes([place % length]) + value.numpy().tobytes())
    return made


def taken(loader: Loader, count: int) -> list[tuple[Batch, LoaderState]]:
    stream = iter(loader)
    made = [next(stream) for _ in range(count)]
    stream.close()
    return made


@pytest.mark.parametrize(("world", "accumulate"), [(2, 1), (4, 1), (1, 2), (2, 2)])
def test_any_number_of_ranks_and_steps_sees_the_same_global_batches(
    dataset: Path, world: int, accumulate: int
) -> None:
    config = config_for(dataset)
    whole = taken(Loader(config), 5)
    split = dataclasses.replace(config, accumulate=accumulate)
    ranks = [taken(Loader(split, rank, world), 5 * accumulate) for rank in range(world)]
    for number, (batch, state) in enumerate(whole):
        part = slice(number * accumulate, (number + 1) * accumulate)
        own = [joined(micro for micro, _ in made[part]) for made in ranks]
        sound = [[row for micro, _ in made[part] for row in sounds_by_row(micro)] for made in ranks]
        expected = sounds_by_row(batch)
        for row in range(4):
            rank, place = row % world, row // world
            for name, values in own[rank].items():
                assert torch.equal(values[place], getattr(batch, name)[row]), name
            assert sound[rank][place] == expected[row]
        assert all(made[part][-1][1] == dataclasses.replace(state) for made in ranks)


def test_resumed_at_every_batch_it_is_the_unbroken_run(dataset: Path) -> None:
    """Over the epoch's end; the state goes through JSON, and the thread was always further on."""
    config = config_for(dataset)
    unbroken = taken(Loader(config), 40)
    assert unbroken[-1][1].epoch >= 1
    for stop in range(40):
        before = unbroken[stop - 1][1] if stop else Loader(config).state
        resumed = Loader(config)
        resumed.load_state_dict(json.loads(json.dumps(dataclasses.asdict(before))))
        for (batch, state), (found, after) in zip(unbroken[stop:], taken(resumed, 2), strict=False):
            assert_same(batch, found)
            assert state == after


def test_the_state_is_that_of_the_batch_in_hand_not_of_those_read_ahead(dataset: Path) -> None:
    loader = Loader(config_for(dataset))
    for _, state in taken(loader, 3):
        assert state.batches <= 3
    assert loader.state_dict() == dataclasses.asdict(taken(Loader(config_for(dataset)), 3)[-1][1])


def test_a_resume_reads_no_more_than_it_must(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The carried document and those of the next batches, not those of the batches before."""
    config = config_for(dataset)
    state = taken(Loader(config), 12)[-1][1]
    loader = Loader(config, ahead=0)
    loader.load_state_dict(dataclasses.asdict(state))
    asked: list[int] = []
    whole = Documents.view

    def view(self: Documents, document: int) -> object:
        asked.append(document)
        return whole(self, document)

    monkeypatch.setattr(Documents, "view", view)
    next(iter(loader))
    assert min(asked) == state.epoch * loader.documents + state.document


def test_micro_batches_carry_the_state_of_whole_steps(dataset: Path) -> None:
    config = dataclasses.replace(config_for(dataset), accumulate=2)
    states = [state for _, state in taken(Loader(config), 4)]
    assert [state.batches for state in states] == [0, 1, 1, 2]


def test_workers_change_nothing(dataset: Path) -> None:
    one, four = (Loader(config_for(dataset, workers=workers, hears="mix")) for workers in (1, 4))
    for (batch, state), (found, after) in zip(taken(one, 4), taken(four, 4), strict=True):
        assert_same(batch, found)
        assert state == after


def test_uneven_shards_give_each_document_once_an_epoch_and_no_rank_ends_early(uneven: Path) -> None:
    manifest = json.loads((uneven / "manifest.json").read_text())
    clips = [shard["clips"] for shard in manifest["shards"]]
    assert len(clips) == 5 and max(clips) > 40 and min(clips) == 1
    config = config_for(uneven, length=64)
    ranks = [list(Loader(config, rank, 2, epochs=1)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) > 10
    begins = sum(int((batch.token_BL == BOS).sum()) for made in ranks for batch, _ in made)
    documents = Documents(config)
    seen: Counter[str] = Counter()
    cursor, segments = Cursor(), 0
    while True:
        row, cursor = next_row(cursor, 64, documents.sizes, end=len(documents))
        if not row:
            break
        segments += len(row)
        for piece in row:
            view = documents.view(piece.document)
            seen.update(f"{view.id} {turn}" for turn in range(piece.start, piece.stop))
    assert begins == segments
    assert set(seen.values()) == {1} and len(seen) == 2 * (62 * 1 + 4 * 39)
    last = ranks[0][-1][1]
    assert (last.epoch, last.document, last.documents) == (1, 0, 2 * 66)
    assert last == ranks[1][-1][1]


def test_a_loader_of_one_epoch_can_be_gone_through_again(dataset: Path) -> None:
    loader = Loader(config_for(dataset), epochs=1)
    first, second = list(loader), list(loader)
    assert len(first) == len(second) > 5
    for (batch, state), (found, after) in zip(first, second, strict=True):
        assert_same(batch, found)
        assert state == after


def test_speakers_of_a_clip_follow_one_another_and_share_its_pictures(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart, together = (Documents(config_for(dataset, together=on)) for on in (False, True))
    count = len(apart)
    orders = [[together.view(epoch * count + k).id for k in range(count)] for epoch in range(3)]
    assert sorted(orders[0]) == sorted(apart.view(k).id for k in range(count))
    assert len({tuple(order) for order in orders}) == 3
    for order in orders:
        clips = [name.split("/")[0] for name in order]
        assert len(set(clips)) == 1 + sum(a != b for a, b in itertools.pairwise(clips))

    decoded: list[tuple[str, int]] = []
    picture = Clip.picture

    def counted(clip: Clip, window: int, **options: Any) -> Any:
        decoded.append((clip.key, window))
        return picture(clip, window, **options)

    monkeypatch.setattr(Clip, "picture", counted)
    places = {apart.view(k).id: k for k in range(count)}
    for document in range(count):
        view = together.view(document)
        for start, stop in ((0, 4), (4, len(view))):
            ours = together.turns(document, start, stop).pictures
            seen = len(decoded)
            theirs = apart.turns(places[view.id], start, stop).pictures
            del decoded[seen:]
            assert [a is None for a in ours] == [b is None for b in theirs]
            assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None)
    assert len(decoded) == len(set(decoded)) > 20


def test_a_state_names_rare_settings_only_where_they_are_on(dataset: Path) -> None:
    for name in ("whole", "together"):
        off, on = config_for(dataset), config_for(dataset, **{name: True})
        state = Loader(off).state_dict()
        with pytest.raises(SettingsError) as error:
            Loader(on).load_state_dict(state, off)
        assert f"set data.{name}=false as it was" in error.value.todo
        with pytest.raises(SettingsError) as error:
            Loader(off).load_state_dict(Loader(on).state_dict(), on)
        assert f"set data.{name}=True as it was" in error.value.todo


def test_epochs_have_the_same_documents_in_another_order(dataset: Path) -> None:
    documents = Documents(config_for(dataset))
    count = len(documents)
    orders = [[documents.view(epoch * count + k).id for k in range(count)] for epoch in range(3)]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert len({tuple(order) for order in orders}) == 3
    clips = open_clips(dataset, split="train")
    assert sorted(orders[0]) == sorted(f"{c.key}/{n}" for c in clips for n in range(len(c.json.speakers)))


def test_the_state_counts_positions_and_text(dataset: Path) -> None:
    made = list(Loader(config_for(dataset), epochs=1))
    last = made[-1][1]
    filled = sum(int((batch.segment_BL >= 0).sum()) for batch, _ in made)
    assert (last.positions, last.positions + last.padding) == (filled, len(made) * 4 * 128)
    documents = Documents(config_for(dataset))
    views = [documents.view(k) for k in range(len(documents))]
    assert last.text == sum(view.text.written for view in views) > 0
    assert last.text_spilled == sum(view.text.spilled for view in views) > 0
    assert last.text_later == sum(view.text.later for view in views) > 0
    assert last.text_left == sum(view.text.left for view in views)


def test_another_dataset_or_other_settings_are_refused(dataset: Path, uneven: Path) -> None:
    config = config_for(dataset)
    saved = Loader(config).state_dict()
    with pytest.raises(DatasetError, match="not the dataset the run was trained on"):
        Loader(config_for(uneven)).load_state_dict(saved)
    for changed in (config_for(dataset, length=256), config_for(dataset, seed=1)):
        with pytest.raises(SettingsError, match="settings that decide the content of batches"):
            Loader(changed).load_state_dict(saved)
    with pytest.raises(CorpusError, match="loader's state"):
        Loader(config).load_state_dict({**saved, "batches": "many"})
    lighter = dataclasses.replace(config, loss=dataclasses.replace(config.loss, audio=0.5), steps=9)
    Loader(lighter).load_state_dict(saved)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"rows": 6}, SettingsError, "6 rows do not divide among 4 ranks.*multiple of 4"),
        ({"rows": 400}, DatasetError, r"too few clips: the \d+ documents.*of 400 rows.*data.rows"),
        ({"length": 20}, SettingsError, "cannot hold a micro-turn.*at least"),
        ({"split": "test"}, DatasetError, "no clips with a speaker in split 'test'.*data.split"),
        ({"data": "nowhere"}, DatasetError, "manifest.json is missing.*corpus build"),
        ({"workers": 0}, SettingsError, "no thread"),
    ],
)
def test_what_cannot_work_is_said_before_the_first_step(
    dataset: Path, data: dict[str, object], error: type[CorpusError], message: str
) -> None:
    with pytest.raises(error, match=message):
        Loader(config_for(dataset, **data), 0, 4)


def test_another_grid_of_pictures_is_refused_before_the_first_step(dataset: Path) -> None:
    config = config_for(dataset)
    wide = dataclasses.replace(config, model=dataclasses.replace(config.model, picture_columns=8))
    with pytest.raises(DatasetError, match=r"80 x 80, the model sees 320 x 80.*picture_columns=2"):
        Loader(wide)


def test_where_there_is_nothing_to_see_batches_hold_no_room_for_it(uneven: Path, dataset: Path) -> None:
    assert len(taken(Loader(config_for(uneven)), 1)[0][0].patch_at_P) == 0
    assert len(taken(Loader(config_for(dataset)), 1)[0][0].patch_at_P) > 0
    assert len(taken(Loader(config_for(dataset, pictures=False)), 1)[0][0].patch_at_P) == 0


def test_clips_of_another_form_are_refused(dataset: Path, tmp_path: Path) -> None:
    changed = tmp_path / "OUT"
    shutil.copytree(dataset, changed)
    manifest = json.loads((changed / "manifest.json").read_text())
    manifest["clip_schema"] = "corpus.clip/0"
    (changed / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=r"corpus.clip/0.*build the dataset again"):
        Loader(config_for(changed))


def test_a_damaged_shard_is_named_before_anything_is_learned_from_it(dataset: Path, tmp_path: Path) -> None:
    changed = tmp_path / "OUT"
    shutil.copytree(dataset, changed)
    for shard in (changed / "train").glob("*.tar"):
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    with pytest.raises(DatasetError, match="does not match the manifest"):
        taken(Loader(config_for(changed)), 1)
    assert Loader(config_for(changed, check_shards=False))


def test_a_step_finds_all_its_micro_batches_made(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a step is under way those of the next are made, and no more than one beyond them."""
    made, collate = threading.Semaphore(0), data.collate

    def noted(*given: Any) -> Batch:
        made.release()
        return collate(*given)

    monkeypatch.setattr(data, "collate", noted)
    config = dataclasses.replace(config_for(dataset, rows=10), accumulate=5)
    batches = iter(Loader(config))
    for _ in range(5):
        next(batches)
    try:
        assert all(made.acquire(timeout=20) for _ in range(5 + 5))
        assert not (made.acquire(timeout=0.5) and made.acquire(timeout=0.5))
    finally:
        batches.close()


def test_an_error_while_reading_ahead_is_raised_where_the_batch_is_awaited(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = Loader(config_for(dataset))

    def broken(*_: object) -> None:
        raise DatasetError("the disk went away", where="here")

    monkeypatch.setattr(Documents, "turns", broken)
    with pytest.raises(DatasetError, match="the disk went away"):
        next(iter(loader))


def test_no_thread_is_left_behind(dataset: Path) -> None:
    before = threading.active_count()
    stream = iter(Loader(config_for(dataset, workers=3)))
    next(stream)
    assert threading.active_count() > before
    stream.close()
    assert threading.active_count() <= before


def test_a_batch_counts_its_padding(dataset: Path) -> None:
    config = dataclasses.replace(config_for(dataset), steps=7, accumulate=2)
    assert Loader(config).positions_per_batch == 4 * 128


def test_speakers_who_say_nothing_are_counted(dataset: Path, rules: ModuleType, tmp_path: Path) -> None:
    """Of two who sit in four clips one speaks in the first only, the other never."""
    draft = rules.Draft(name="listeners", windows=40, speakers=("Ann", "Bo"))
    draft.speak(0, 300_000, 900_000, "one two")
    path = rules.store(tmp_path, [draft], windows_per_clip=10)
    assert Loader(config_for(path, pictures=False, rows=1)).listeners() == (7, 8)
    loader = Loader(config_for(dataset))
    views = [loader._documents.view(place) for place in range(loader.documents)]
    assert loader.listeners() == (sum(not view.speak_N.any() for view in views), len(views))


def test_what_goes_on_in_another_row_begins_anew(dataset: Path) -> None:
    """A piece of a document is what a shorter document would be: BOS, micro-turns and time from 0."""
    loader = Loader(config_for(dataset), epochs=1)
    frames = loader.config.model.frames_per_window
    later = 0
    before = loader.state
    for batch, state in loader:
        later += sum(":0:" not in name for row in loader.names(before) for name in row)
        before = state
        for row in range(batch.shape[0]):
            for number in range(int(batch.segment_BL[row].max()) + 1):
                inside = batch.segment_BL[row] == number
                turn, time = batch.turn_BL[row, inside], batch.time_BL[row, inside]
                assert turn.unique().tolist() == list(range(-1, int(turn.max()) + 1))
                assert batch.token_BL[row, inside][0] == BOS and int(time[0]) == 0
                assert torch.equal(time[1:] // frames, turn[1:])
    assert later > 3


def test_the_chain_tells_all_that_was_seen(dataset: Path) -> None:
    """It moves with every batch, and who has seen something else before never has the same again."""
    loader = Loader(config_for(dataset))
    states = [state for _, (_, state) in zip(range(4), loader, strict=False)]
    assert len({state.chain for state in states}) == 4
    other = Loader(config_for(dataset))
    other.load_state_dict(dataclasses.asdict(dataclasses.replace(states[0], chain="1" * 16)))
    for (_, state), expected in zip(other, states[1:], strict=False):
        assert state.chain != expected.chain
        assert dataclasses.replace(state, chain=expected.chain) == expected
