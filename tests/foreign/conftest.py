"""Shares the makers of datasets with the tests of shards."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def make_segment(repository: Path) -> Callable[..., Any]:
    """make_segment(folder, name) -> (SegmentRef, drops) of a synthetic recording."""
    path = repository / "tests" / "shards" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tests_shards_conftest", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    made: Callable[..., Any] = module.make_and_cut
    return made
