"""What no file may say: hosts of package registries, paths of a developer's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

HOSTS = r"pypi\.org|pythonhosted\.|registry\.npmjs|deb\.debian|download\.pytorch"


def test_no_registry_host_is_named(repository: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repository, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    for name in filter(None, names):
        path = repository / name
        if path.is_file() and path.name != "test_words.py":
            text = path.read_bytes().decode("utf-8", "replace")
            assert not re.search(HOSTS, text), name
