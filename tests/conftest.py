"""Fixtures for all tests."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

hypothesis.settings.register_profile("corpus", deadline=None)  # a busy machine is not a fault
hypothesis.settings.load_profile("corpus")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real conversations that lie beside a developer's checkout; tests skip where they do not."""
    path = Path(os.environ.get("CORPUS_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip("no folder of real conversations here (CORPUS_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def media() -> ModuleType:
    """The generator of media files with sounds and pictures at known times, tests/media.py."""
    return _module("tests_media", REPOSITORY / "tests" / "media.py")


@pytest.fixture(scope="session")
def rules() -> ModuleType:
    """The generator of datasets that follow known rules, tests/trainer/rules.py."""
    return _module("tests_trainer_rules", REPOSITORY / "tests" / "trainer" / "rules.py")


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
