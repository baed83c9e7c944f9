"""The tests' generated corpora, for benchmarks that use them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_rules() -> ModuleType:
    """The module tests/trainer/rules.py, which drafts recordings and turns them into a dataset."""
    path = Path(__file__).parents[1] / "tests" / "trainer" / "rules.py"
    spec = importlib.util.spec_from_file_location("rules", path)
    assert spec is not None and spec.loader is not None
    rules = sys.modules["rules"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rules)
    return rules
