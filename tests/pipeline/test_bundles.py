"""What stands is not looked at, and whatever changes gives the dataset that a build of all would make."""

from __future__ import annotations

import json
import random
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corpus.pipeline import building, bundles, incoming
from corpus.pipeline.bundles import bundles_of
from corpus.pipeline.engine import Done
from corpus.pipeline.inputs import gather
from corpus.pipeline.state import State

Run = Callable[..., Any]
BytesOf = Callable[[Path], dict[str, str]]


def talk(folder: Path, name: str, seed: int, person: str | None = None) -> None:
    """0.6 s of noise; with a person, who is named beside it."""
    with wave.open(str(folder / f"{name}.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(random.Random(seed).randbytes(2 * 9_600))
    (folder / f"{name}.json").unlink(missing_ok=True)
    if person is not None:
        name_person(folder, name, person)


def name_person(folder: Path, name: str, person: str) -> None:
    turn = {"speaker": person, "start_us": 100_000, "stop_us": 400_000}
    plain = {"speakers": [person], "named_speakers": [person], "turns": [turn]}
    (folder / f"{name}.json").write_text(json.dumps(plain))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Bundles of two items, in the mean; the uris that a build has looked at."""
    looked: list[str] = []
    before = incoming.Incoming._as_known

    def noted(self: incoming.Incoming, identity: Any, *others: Any) -> incoming.Known:
        looked.append(identity.item.uri)
        return before(self, identity, *others)

    # In this process: what is tested is what is asked for.
    monkeypatch.setattr(building, "run_jobs", lambda do, jobs, **_: (Done(job, do(job)) for job in jobs))
    monkeypatch.setattr(bundles, "MEAN_ITEMS", 2)
    monkeypatch.setattr(incoming.Incoming, "_as_known", noted)
    return looked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        talk(folder, f"t{number:02d}", number)
    return folder


def test_only_the_bundle_of_a_new_recording_is_looked_at(
    folder: Path, tmp_path: Path, run_build: Run, bytes_of: BytesOf, small: list[str]
) -> None:
    out = tmp_path / "out"
    run_build(folder, out=out)
    assert len(small) == 12 and len(bundles_of(gather([str(folder)])[0])) > 3
    small.clear()
    talk(folder, "t04b", 99)
    before = set(bundles_of_names(folder))
    outcome = run_build(folder, out=out)
    (mine,) = [names for names in before if "t04b.wav" in names]
    assert sorted(small) == sorted(mine)
    assert outcome.recordings == 13
    run_build(folder, out=tmp_path / "fresh")
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")


def bundles_of_names(folder: Path) -> list[tuple[str, ...]]:
    return [tuple(item.uri for item in one.items) for one in bundles_of(gather([str(folder)])[0])]


def test_what_shares_a_person_or_the_content_of_a_new_recording_falls(
    folder: Path, tmp_path: Path, run_build: Run, small: list[str]
) -> None:
    out = tmp_path / "out"
    talk(folder, "t01", 1, "Ann")
    talk(folder, "t08", 8, "Ann")
    run_build(folder, out=out)
    small.clear()
    talk(folder, "t11", 11, "Ann")
    run_build(folder, out=out)
    assert {"t01.wav", "t08.wav", "t11.wav"} <= set(small) and len(small) < 12
    small.clear()
    shutil.copyfile(folder / "t05.wav", folder / "a copy.wav")
    outcome = run_build(folder, out=out)
    assert {"a copy.wav", "t05.wav"} <= set(small) and len(small) < 12
    assert [drop.item for drop in outcome.drops if drop.code == "duplicate"] == ["t05.wav"]


def test_quarantine_and_counts_are_those_of_all(
    folder: Path, tmp_path: Path, run_build: Run, small: list[str]
) -> None:
    out = tmp_path / "out"
    (folder / "t03.wav").write_bytes(b"RIFF no sound")
    first = run_build(folder, out=out)
    small.clear()
    talk(folder, "t11b", 99)
    outcome = run_build(folder, out=out)
    assert "t03.wav" not in small
    assert [fault.item for fault in outcome.faults] == ["t03.wav"] and outcome.exit_code == 3
    assert [item.uri for item in State(out).quarantine().items] == ["t03.wav"]
    assert outcome.trims == first.trims == 0
    # Out of quarantine it is tried again, though its file looks as it did.
    State(out).save_quarantine(type(State(out).quarantine())(items=()))
    small.clear()
    talk(folder, "t11c", 98)
    run_build(folder, out=out)
    assert "t03.wav" in small


class Killed(BaseException):
    """As if the process had been killed: nothing catches it, nothing is cleaned up."""


@pytest.mark.parametrize(
    "last", ["schemas.marks.Marks.save", "pipeline.publish.put_views", "pipeline.memory.Memory.save"]
)
def test_a_build_killed_before_it_has_noted_something_goes_on(
    last: str,
    folder: Path,
    tmp_path: Path,
    run_build: Run,
    bytes_of: BytesOf,
    small: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    out = tmp_path / "out"
    run_build(folder, out=out)
    talk(folder, "t04b", 99)
    (folder / "t02.wav").unlink()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(f"corpus.{last}", killed)
        run_build(folder, out=out, allow_removals=True)
    run_build(folder, out=out, allow_removals=True)
    fresh = tmp_path / "fresh"
    run_build(folder, out=fresh, cache=out / ".cache")
    assert bytes_of(out) == bytes_of(fresh)
    assert rows_of(out) == rows_of(fresh)


@pytest.mark.parametrize("seed", range(3))
def test_any_changes_give_what_a_build_of_all_gives(
    seed: int, folder: Path, tmp_path: Path, run_build: Run, bytes_of: BytesOf, small: list[str]
) -> None:
    """Recordings come, go, change, are renamed or copied, get another speaker; one build after another."""
    draw, out = random.Random(seed), tmp_path / "out"
    run_build(folder, out=out)
    for turn in range(3):
        for number in range(draw.randint(1, 3)):
            path = folder / draw.choice(sorted(one.name for one in folder.glob("*.wav")))
            change = draw.choice(("more", "less", "other", "rename", "copy", "person"))
            if change == "more":
                talk(folder, f"n{draw.random()}", draw.randrange(1000))
            elif change == "less":
                path.unlink()
            elif change == "other":
                talk(folder, path.stem, draw.randrange(1000))
            elif change == "rename":
                path.rename(folder / f"r{draw.random()}.wav")
            elif change == "copy":
                shutil.copyfile(path, folder / f"c{turn}{number}.wav")
            else:
                name_person(folder, path.stem, draw.choice(("Ann", "Bob")))
        run_build(folder, out=out, allow_removals=True)
        fresh = tmp_path / f"fresh{turn}"
        run_build(folder, out=fresh, cache=out / ".cache")
        assert bytes_of(out) == bytes_of(fresh)
        assert rows_of(out) == rows_of(fresh)
        assert (out / "report.html").read_bytes() == (fresh / "report.html").read_bytes()


def rows_of(out: Path) -> dict[str, list[str]]:
    """Every row of every table of the catalog, in no order."""
    import duckdb

    with duckdb.connect(str(out / "catalog.duckdb"), read_only=True) as db:
        names = [name for (name,) in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {name: sorted(map(repr, db.execute(f"FROM {name}").fetchall())) for name in names}
