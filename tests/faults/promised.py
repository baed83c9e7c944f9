"""The bytes that a build promises."""

from __future__ import annotations

import hashlib
from pathlib import Path


def promised_bytes(out: Path) -> dict[str, str]:
    """sha256 of every tar, of clips.parquet, manifest.json and README.md."""
    names = [*out.glob("*/*.tar"), *(out / n for n in ("clips.parquet", "manifest.json", "README.md"))]
    files = [path for path in sorted(names) if path.exists()]
    return {p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
