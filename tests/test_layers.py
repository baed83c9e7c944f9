"""The shape of the project: who may import whom, what loads what, what the wheel holds."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ALLOWED = {
    "schemas": set[str](),
    "ingest": {"schemas"},
    "align": {"schemas"},
    "shards": {"schemas"},
    "report": {"schemas", "shards.read", "shards.flac"},
    "pipeline": {"schemas", "ingest", "align", "shards", "report"},
    "review": {"schemas", "shards.read", "report.pages", "align.formats"},
    "trainer": {"schemas", "shards.read", "shards.stream", "shards.mel", "report.pages"},
    "cli": {"schemas", "ingest", "align", "shards", "report", "pipeline", "review", "trainer"},
}

TOP = {"config", "presets", "overrides"}
ROOMS = {
    "data": TOP,
    "model": TOP | {"data"},
    "parallel": TOP | {"data", "model"},
    "train": TOP | {"data", "model", "parallel"},
    "session": TOP | {"data", "model"},
    "evaluate": TOP | {"data", "model", "parallel", "train", "session", "plan"},
    "plan": TOP | {"data", "model", "parallel", "train"},
}
"""The trainer's rooms, and what each may import of the trainer beside itself."""


def folders(repository: Path) -> list[str]:
    return [name for name in ALLOWED if (repository / name).is_dir()]


def imports_of(path: Path) -> set[str]:
    """Dotted names a file imports anywhere, at the top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_run_only_as_listed(repository: Path, folder: str) -> None:
    if not (repository / folder).is_dir():
        pytest.skip(f"{folder}/ has no content yet")
    for path in sorted((repository / folder).rglob("*.py")):
        for name in imports_of(path):
            parts = name.split(".")
            assert parts[0] not in ALLOWED, f"{path}: bare import of {name}; use corpus.{parts[0]}"
            if parts[0] != "corpus" or parts[1] == folder:
                continue
            allowed = ALLOWED[folder]
            assert parts[1] in allowed or ".".join(parts[1:3]) in allowed, f"{path} imports {name}"


@pytest.mark.parametrize("room", ROOMS)
def test_the_trainers_rooms_import_one_way(repository: Path, room: str) -> None:
    for path in sorted((repository / "trainer" / room).rglob("*.py")):
        for name in imports_of(path):
            if name.startswith("corpus.trainer."):
                assert name.split(".")[2] in ROOMS[room] | {room}, f"{path} imports {name}"


def test_no_modules_import_each_other(repository: Path) -> None:
    """Neither directly nor around a circle, imports inside functions and for type checkers included."""
    files = {
        ".".join(("corpus", *path.relative_to(repository).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for folder in folders(repository)
        for path in (repository / folder).rglob("*.py")
    }
    # A name of a package is that of a module inside it, or else the package itself is meant.
    graph = {
        module: {name if name in files else name.rpartition(".")[0] for name in imports_of(path)}
        & files.keys()
        for module, path in files.items()
        if path.name != "__init__.py"
    }
    TopologicalSorter(graph).prepare()


def test_no_function_takes_more_than_eight_parameters(repository: Path) -> None:
    """Besides itself; of commands every option is a parameter."""
    rooms = [room for room in folders(repository) if room not in ("cli", "tests")]
    long = [
        f"{path.relative_to(repository)}:{node.lineno}"
        for room in rooms
        for path in (repository / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len(
            {one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)}
            - {"self", "cls"}
        )
        > 8
    ]
    assert not long


@pytest.mark.parametrize("module", ["corpus.schemas.settings", "corpus.shards.read", "corpus.cli.main"])
def test_light_modules_load_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('torch', 'av', 'duckdb')))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_links_for_type_checkers_cover_every_folder(repository: Path) -> None:
    for folder in folders(repository):
        link = repository / "typings" / "corpus" / folder
        assert link.resolve() == repository / folder
        assert (repository / folder / "py.typed").is_file()


def test_no_folder_named_corpus(repository: Path) -> None:
    """A top-level corpus/ would hide the installed package from anything started at the root."""
    assert not (repository / "corpus").exists()


@pytest.mark.slow
def test_wheel_holds_exactly_the_packages_found(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", str(tmp_path), str(repository)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.endswith(".py")}
    expected = {
        f"corpus/{path.relative_to(repository).as_posix()}"
        for folder in folders(repository)
        for path in (repository / folder).rglob("*.py")
    }
    assert held == expected


ABSENT = (
    "av",
    "duckdb",
    "pyannote",
    "faster_whisper",
    "webdataset",
    "fsspec",
    "torchaudio",
    "PIL",
    "pydantic",
)
TRAINER_ALONE = """
import importlib, pkgutil, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import corpus.trainer, corpus.cli.main
for module in pkgutil.walk_packages(corpus.trainer.__path__, "corpus.trainer."):
    importlib.import_module(module.name)
print(len(sys.modules))
"""


def test_the_trainer_imports_where_little_is_installed() -> None:
    """A machine that trains has torch, numpy, pyarrow, safetensors, tqdm and typer."""
    code = TRAINER_ALONE.format(absent=ABSENT)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
