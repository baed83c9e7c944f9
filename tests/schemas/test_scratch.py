"""What killed processes leave of their temporary folders goes when the next one makes its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.schemas.errors import StorageError
from corpus.schemas.scratch import new_scratch, scratch

_KILLED = """
import os, signal, sys
from pathlib import Path
from corpus.schemas.scratch import new_scratch
made = new_scratch("work-", Path(sys.argv[1]))
(made.path / "shard.tar").write_bytes(bytes(1000))
print(made.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    left = Path(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    assert (left / "shard.tar").exists()
    (tmp_path / "other-folder").mkdir()
    (tmp_path / "work-that-is-somebody-elses").mkdir()
    with scratch("other-", tmp_path):
        assert left.exists()
    living = new_scratch("work-", tmp_path)
    assert not left.exists()
    with scratch("work-", tmp_path) as mine:
        assert living.path.exists() and mine.exists()
    living.remove()
    assert sorted(os.listdir(tmp_path)) == ["other-folder", "work-that-is-somebody-elses"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / ".held").touch()
    (tmp_path / "work-link").symlink_to(tmp_path / "precious")
    with scratch("work-", tmp_path):
        assert (tmp_path / "precious" / ".held").exists()


def test_no_place_for_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), scratch("work-", tmp_path / "nowhere"):
        raise AssertionError
