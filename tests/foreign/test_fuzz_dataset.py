"""Damaged datasets: whoever reads them ends well or says what is wrong, and nothing is written elsewhere."""

from __future__ import annotations

import copy as copying
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from corpus.pipeline.build import build_dataset
from corpus.pipeline.request import Request
from corpus.schemas.settings import (
    ClipSettings,
    DiarizeSettings,
    Settings,
    SightSettings,
    TranscribeSettings,
)

LONGEST_S = 20.0
"""For a dataset of a second, on a machine that does other things besides."""


def _beside(name: str) -> ModuleType:
    import sys

    spec = spec_from_file_location(f"tests_foreign_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


damage, use = _beside("damage"), _beside("use")

SETTINGS = Settings(
    diarize=DiarizeSettings(backend="none"),
    transcribe=TranscribeSettings(backend="none"),
    sight=SightSettings(enabled=False),
    clips=ClipSettings(windows_per_clip=6, validation_share=0.0, test_share=0.0),
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> tuple[Path, Request]:
    """Two recordings of seconds, one with pictures, and a decision on a cue."""
    from corpus.review.room import Room

    base = tmp_path_factory.mktemp("foreign")
    talks = base / "talks"
    talks.mkdir()
    video = media.Video(width=80, height=40, rate=Fraction(10))
    media.write_media(talks / "meeting.mp4", duration_s=2.1, audio=[media.Audio()], video=video)
    media.write_media(talks / "sound.wav", duration_s=1.3, audio=[media.Audio(codec="pcm_s16le")])
    for name in ("meeting", "sound"):
        (talks / f"{name}.stm").write_text(
            f"{name} 1 Ann 0.1 0.8 <o> hello there\n{name} 1 Bob 0.6 1.2 <o> um hello\n"
        )
    request = Request(inputs=(str(talks),), out=base / "OUT", settings=SETTINGS)
    outcome = build_dataset(request, use.Quiet())
    assert (outcome.exit_code, outcome.recordings) == (0, 2)
    room = Room(base / "OUT")
    (item,) = room.next("ann", "uncertain", "", 1, [])["items"]
    asked = {"id": "0" * 32, "recording": item["recording"], "about": "cue", "item": item["item"],
             "verdict": "accept", "note": damage.SCRIPT}  # fmt: skip
    room.decide("ann", [asked])
    room.close()
    return base / "OUT", request


def _listing(folder: Path, *without: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if not any(path.is_relative_to(each) for each in without)}


@pytest.fixture
def copies(built: tuple[Path, Request], tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Copies of the dataset, deep in a folder where nothing else may come to lie."""
    home = tmp_path / "a" / "b" / "c"
    home.mkdir(parents=True)
    (tmp_path / "outside").mkdir()

    def copy() -> Path:
        shutil.rmtree(home / "OUT", ignore_errors=True)
        return Path(shutil.copytree(built[0], home / "OUT", symlinks=True))

    yield copy
    assert _listing(tmp_path, home / "OUT", tmp_path / "outside") <= {
        str(tmp_path / part) for part in ("a", "a/b", "a/b/c")
    }
    assert not os.path.exists("/tmp/escaped")


SHARDS = ("damage_head", "damage_member", "damage_row", "damage_manifest")


def _all_uses(request: Request) -> dict[str, Callable[[Path, Path], object]]:
    readers = (use.read, use.stream, use.verify, use.inspect, use.annotations, use.review, use.train)
    return {each.__name__: each for each in (*readers, *use.rebuild(request))}


def _run(uses: dict[str, Callable[[Path, Path], object]], out: Path, outside: Path, label: str) -> list[str]:
    found = []
    for name, each in uses.items():
        wrong = use.failure(each, out, outside, LONGEST_S)
        if wrong is not None:
            found.append(f"{label}, {name}: {wrong}")
    return found


def _fuzz_shards(
    built: tuple[Path, Request], copies: Callable[[], Path], tmp_path: Path, seeds: range, every: int
) -> list[str]:
    """Damage whose sums agree; every reader sees each, and every so often a build does."""
    wrong = []
    whole = damage.read_apart(built[0])
    uses = _all_uses(built[1])
    writers = {name: uses.pop(name) for name in ("planned", "build", "label", "review", "train")}
    for seed in seeds:
        chance = random.Random(seed)
        name = SHARDS[seed % len(SHARDS)]
        parts, out = copying.deepcopy(whole), copies()
        if name in ("damage_head", "damage_member"):
            getattr(damage, name)(parts, chance)
            damage.put_together(parts, out)
        else:
            damage.put_together(parts, out, after=lambda p, n=name, c=chance: getattr(damage, n)(p, c))
        wrong += _run(uses, out, tmp_path / "outside", f"seed {seed} {name}")
        if seed % every < len(SHARDS):
            wrong += _run(writers, out, tmp_path / "outside", f"seed {seed} {name}")
    return wrong


STATES = ("published.json", "catalogs.json", "quarantine.json", "invocation.json", "status.json",
          "marks.json", "finished.json", "damaged.json")  # fmt: skip


def _fuzz_beside(
    built: tuple[Path, Request], copies: Callable[[], Path], tmp_path: Path, seeds: range
) -> list[str]:
    """Damage in what stands beside the shards: decisions, catalog, and a build's own records."""
    wrong = []
    uses = {each.__name__: each for each in (use.stats, use.report, use.talk, use.tiers, use.review,
                                             use.take_reviews, *use.rebuild(built[1]))}  # fmt: skip
    for seed in seeds:
        chance = random.Random(seed)
        out = copies()
        what = ("state", "reviews", "catalog", "swap", "artifact")[seed % 5]
        if what == "state":
            path = out / ".cache" / chance.choice(STATES)
            if not path.exists():
                path.write_text('{"paths":["train/train-000000.tar"]}')
            damage.damage_file(path, chance)
            chosen = ("planned", "build", "status")
        elif what == "reviews":
            path = out / "reviews.parquet"
            damage.damage_table(path, chance) if chance.random() < 0.7 else damage.damage_file(path, chance)
            chosen = ("take_reviews", "build", "label")
        elif what == "catalog":
            damage.damage_catalog(out / "catalog.duckdb", chance)
            chosen = ("stats", "report", "talk", "tiers", "review", "label")
        elif what == "swap":
            (out / ".rewrite").mkdir()
            record = {"moves": ["train/train-000000.tar", "manifest.json"], "shards": ["train/x.tar"]}
            path = out / ".rewrite" / "swap.json"
            path.write_text(json.dumps(record))
            damage.damage_file(path, chance)
            chosen = ("build",)
        else:
            path = chance.choice(sorted(p for p in (out / ".cache").glob("*/**/*") if p.is_file()))
            damage.damage_file(path, chance)
            (out / ".cache" / "finished.json").unlink()
            chosen = ("planned", "build")
        some = {name: uses[name] for name in chosen if name in uses}
        wrong += _run(some, out, tmp_path / "outside", f"seed {seed} {what}")
        shutil.rmtree(tmp_path / "outside")
        (tmp_path / "outside").mkdir()
    return wrong


def test_damaged_shards_and_index(
    built: tuple[Path, Request], copies: Callable[[], Path], tmp_path: Path
) -> None:
    found = _fuzz_shards(built, copies, tmp_path, range(24), 24)
    assert not found, "\n".join(found)


def test_damaged_files_beside_the_shards(
    built: tuple[Path, Request], copies: Callable[[], Path], tmp_path: Path
) -> None:
    found = _fuzz_beside(built, copies, tmp_path, range(5))
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_thousands_of_damaged_datasets(
    built: tuple[Path, Request], copies: Callable[[], Path], tmp_path: Path
) -> None:
    first = int(os.environ.get("CORPUS_FUZZ_SEED", "1000"))
    found = _fuzz_shards(built, copies, tmp_path, range(first, first + 2000), 40)
    found += _fuzz_beside(built, copies, tmp_path, range(first, first + 500))
    assert not found, "\n".join(found)
