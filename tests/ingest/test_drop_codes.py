"""The table of docs/media.md names every Drop that ingest makes, and no other."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_code_is_told_of(repository: Path) -> None:
    made = set()
    for name in ("account", "whole"):
        text = (repository / "ingest" / f"{name}.py").read_text(encoding="utf-8")
        made |= set(re.findall(r'_fault\(item, "(\w+)"', text))
        made |= {(kind, code) for kind, code in re.findall(r'yield "(trim|fault)", "(\w+)"', text)}
        made |= {(kind, code) for kind, code in re.findall(r'kind="(trim|fault)",\s+code="(\w+)"', text)}
    made = {code if isinstance(code, tuple) else ("fault", code) for code in made}
    made |= {("fault", "audio_not_decoded"), ("fault", "video_not_decoded")}  # of f"{kind}_not_decoded"
    page = (repository / "docs" / "media.md").read_text(encoding="utf-8")
    told = {(kind, code) for code, kind in re.findall(r"^\| `(\w+)` \| (trim|fault) \|", page, re.MULTILINE)}
    assert told == made
    assert len(made) > 8
