"""Each room's few public names: they are there, light to import, and every one has its example."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOMS = ("schemas", "ingest", "align", "shards", "report", "pipeline", "trainer")
HEAVY = ("torch", "av", "duckdb", "pyarrow", "pyannote", "faster_whisper", "webdataset", "starlette")


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_there(room: str) -> None:
    package = importlib.import_module(f"corpus.{room}")
    assert 3 <= len(package.__all__) <= 8
    assert sorted(package.__all__) == sorted(package._HOMES)
    for name in package.__all__:
        assert getattr(package, name).__doc__
        assert not (Path(package.__file__).parent / f"{name}.py").exists(), "a module would hide it"
    with pytest.raises(AttributeError, match="nonsense"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_light_to_import(room: str) -> None:
    code = f"import sys, corpus.{room}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_page_names_them_all(repository: Path) -> None:
    text = (repository / "docs" / "python.md").read_text(encoding="utf-8")
    for room in ROOMS:
        for name in importlib.import_module(f"corpus.{room}").__all__:
            assert re.search(rf"\b{name}\b", text), f"docs/python.md says nothing of corpus.{room}.{name}"


def test_documents_and_examples_import_public_names_alone(repository: Path) -> None:
    pages = [*repository.glob("*.md"), *(repository / "docs").glob("*.md")]
    pages += (repository / "examples").glob("*.py")
    for page in pages:
        for module in re.findall(r"^(?:from|import) (corpus[\w.]*)", page.read_text("utf-8"), re.MULTILINE):
            assert module.count(".") == 1, f"{page.name} imports {module}, which is not public"
