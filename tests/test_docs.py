"""Every command in the documents runs as it stands, in a folder with the files they name."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

from corpus.align.models import find
from corpus.align.pinned_models import BUNDLES
from corpus.schemas.errors import MissingModelError
from corpus.shards.read import open_clips

DOCUMENTS = (
    "README.md",
    "docs/building.md",
    "docs/annotations.md",
    "docs/format.md",
    "docs/trainer.md",
    "docs/reviewing.md",
    "docs/quality.md",
)
PAGES = (
    *DOCUMENTS,
    "docs/trainer-reference.md",
    "docs/cluster.md",
    "docs/cues.md",
    "docs/media.md",
    "docs/overlaps.md",
    "docs/python.md",
    "docs/own-model.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
)
ELSEWHERE = ("models pull", "doctor", "--num-workers 8", "review serve")
"""Not run here: what fetches, what judges the machine, what starts eight processes, what never ends."""


def commands(text: str) -> list[str]:
    """Lines of fenced blocks that call corpus, without prompt and trailing comment."""
    found = []
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            line = re.sub(r"^\$ (\.venv/bin/)?", "", line)
            if line.startswith("corpus "):
                found.append(line.split("  #")[0].replace("demo/dataset", "dataset").strip())
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> Path:
    """A working folder with talk.mp4, talks/ and list.jsonl, all annotated; skips where models are missing.

    The commands stand for a user's, who has them: a build looks for faces in pictures.
    """
    for name in BUNDLES:
        try:
            find(name)
        except MissingModelError as error:
            pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("docs")
    (folder / "talks").mkdir()
    video = media.Video(width=320, height=200, rate=Fraction(10))
    for number, name in enumerate(("talk", "talks/one", "talks/two", "talks/three")):
        start = 0.4 + 0.1 * number
        sound = media.Audio(track=media.sound(48_000, 8.0, chirps_us=[round(start * 1e6)]))
        media.write_media(folder / f"{name}.mp4", duration_s=8.0, audio=[sound], video=video)
        line = f"{Path(name).name} 1 Ann {start:.1f} 1.9 <o> hello there\n"
        (folder / f"{name}.stm").write_text(line)
    media.write_media(
        folder / "talk.wav", duration_s=2.0, audio=[media.Audio(codec="pcm_s16le", rate_hz=16_000)]
    )
    (folder / "list.jsonl").write_text(json.dumps({"uri": "talk.mp4", "licence": "CC0-1.0"}))
    return folder


def test_the_python_page_runs_as_it_stands(repository: Path, place: Path) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (repository / "docs/python.md").read_text("utf-8"), re.M | re.S
    )
    done = subprocess.run([sys.executable, "-c", "".join(blocks)], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_model_of_ones_own_is_trained_and_talks(repository: Path, place: Path) -> None:
    page = (repository / "docs/own-model.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    build = [sys.executable, "-m", "corpus.cli.main", "build", "talks/", "--out", "dataset"]
    subprocess.run(build, cwd=place, capture_output=True, check=True)
    done = subprocess.run([sys.executable, "-c", "".join(blocks)], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "speaks in windows" in done.stdout


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_run_as_they_stand(document: str, repository: Path, place: Path) -> None:
    told = commands((repository / document).read_text(encoding="utf-8"))
    assert told, f"{document} shows no command"
    build = "corpus build talks/ --out dataset"
    for command in [build, *(c for c in told if not any(part in c for part in ELSEWHERE))]:
        if ":KEY" in command:
            command = command.replace("KEY", open_clips(place / "dataset")[0].json.key)
        arguments = shlex.split(command)[1:]
        if arguments[0] == "init":
            (place / "corpus.toml").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "corpus.cli.main", *arguments],
            cwd=place,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_every_command_is_documented(repository: Path) -> None:
    from corpus.cli.main import app

    text = "".join((repository / name).read_text(encoding="utf-8") for name in DOCUMENTS)
    names = [c.name for c in app.registered_commands] + [g.name for g in app.registered_groups]
    missing = [name for name in names if name and f"corpus {name}" not in text]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_fit_a_screen_and_links_lead_somewhere(page: str, repository: Path) -> None:
    """Tables may be wider: an editor shows a row of them badly at any width."""
    text = (repository / page).read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        name, _, part = target.partition("#")
        file = (repository / page).parent / name
        assert file.is_file(), target
        if not part:
            continue
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert part in [_anchor(heading) for heading in headings], target


def _anchor(heading: str) -> str:
    """As the usual hosts make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, "benchmarks/RESULTS.md"])
def test_files_named_are_there(page: str, repository: Path) -> None:
    text = (repository / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.-])((?:\w+/)*\w+\.py)\b", text))
    here = {path.name for path in repository.glob("*/**/*.py")} | {"get_timing.py"}  # Full-Duplex-Bench's own
    missing = [name for name in named if not ((repository / name).is_file() if "/" in name else name in here)]
    assert missing == []


def test_every_setting_of_the_trainer_is_in_the_reference(repository: Path) -> None:
    from corpus.trainer.overrides import settings_of
    from corpus.trainer.presets import MODELS, preset

    text = (repository / "docs" / "trainer-reference.md").read_text(encoding="utf-8")
    known = settings_of(preset("tiny"))
    told = set(re.findall(r"`((?:model|data|loss|optim)\.\w+)`", text)) | {
        name for name in known if "." not in name and f"`{name}`" in text
    }
    for family in ("loss.cue_weight", "data.cue_weight"):
        if f"`{family}.LABEL`" in text:
            told |= {name for name in known if name.startswith(f"{family}.")}
    assert told == set(known)
    for name in MODELS:
        run = preset(name)
        made = run.model
        numbers = [made.width, made.layers, made.dense_layers, made.heads, made.kv_heads, made.experts]
        numbers += [made.top_k, made.expert_width, made.shared_width, made.dense_width, made.vocab]
        numbers += [run.data.rows, run.data.length, run.steps]
        (row,) = re.findall(rf"^\| `{name}` \|(.*)$", text, re.MULTILINE)
        assert [int(each) for each in re.findall(r"\d+", row)] == numbers


def test_model_and_data_can_be_read_in_a_sitting(repository: Path) -> None:
    text = (repository / "docs" / "trainer.md").read_text()
    listed = text[text.index("To read it in a sitting") : text.index("What these call")]
    names = re.findall(r"`(\w+\.py)`", listed)
    files = [file for name in names for file in (repository / "trainer").glob(f"*/{name}")]
    assert len(files) == len(names) > 10
    assert sum(len(file.read_text().splitlines()) for file in files) <= 2200
