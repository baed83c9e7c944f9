"""Checking the installation: what is installed, what is missing and how to fix it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DISTRIBUTION = "duplex-corpus"
LEAST_FREE_BYTES = 5_000_000_000
LEAST_MEMORY_BYTES = 4_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorFact:
    """One check."""

    name: str
    ok: bool
    detail: str
    todo: str = ""
    """What to do if it is not ok; "" if a build does not need it."""


def examine(cache: Path, models: Path | None = None) -> list[DoctorFact]:
    """Facts about this machine. Loads torch to look for a GPU; changes and downloads nothing."""
    checks: tuple[Callable[[], Iterator[DoctorFact]], ...] = (
        _python,
        _packages,
        _media,
        lambda: _models(models),
        lambda: _disk(cache),
        _machine,
        _gpu,
    )
    return [fact for check in checks for fact in check()]


def _python() -> Iterator[DoctorFact]:
    ok = sys.version_info >= (3, 11)
    yield DoctorFact(
        name="python",
        ok=ok,
        detail=f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        todo="" if ok else "install Python 3.11 or newer",
    )


def _packages() -> Iterator[DoctorFact]:
    """Every required package, compared with its required version."""
    try:
        wanted = importlib.metadata.requires(DISTRIBUTION) or []
        version = importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        todo = "pip install -e ."
        yield DoctorFact(name=DISTRIBUTION, ok=False, detail="runs from a folder, not installed", todo=todo)
        return
    yield DoctorFact(name=DISTRIBUTION, ok=True, detail=version)
    if importlib.util.find_spec("packaging") is None:
        detail = "not compared with what is asked for: packaging is not installed"
        yield DoctorFact(name="versions", ok=False, detail=detail, todo="pip install packaging")
        return
    for line in wanted:
        fact = _package(line)
        if fact is not None:
            yield fact


def _package(line: str) -> DoctorFact | None:
    """A requirement such as `av<19,>=18; extra == "models"`; None for those only developers need."""
    from packaging.requirements import Requirement

    wanted = Requirement(line)
    model = wanted.marker is not None and wanted.marker.evaluate({"extra": "models"})
    if wanted.marker is not None and not model:
        return None
    extra = wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})
    install = f'pip install "{DISTRIBUTION}[models]"' if extra else f"pip install --upgrade {DISTRIBUTION}"
    asked = str(wanted.specifier) or "any version"
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return DoctorFact(
            name=wanted.name, ok=False, detail=f"not installed, asked for {asked}", todo=install
        )
    ok = wanted.specifier.contains(version, prereleases=True)
    return DoctorFact(
        name=wanted.name, ok=ok, detail=f"{version}, asked for {asked}", todo="" if ok else install
    )


def _media() -> Iterator[DoctorFact]:
    try:
        import av
    except ImportError as error:
        todo = f"pip install --force-reinstall av; {DISTRIBUTION} needs it to read media"
        yield DoctorFact(name="ffmpeg", ok=False, detail=f"PyAV cannot be loaded: {error}", todo=todo)
        return
    libraries = ", ".join(f"{n} {'.'.join(map(str, v))}" for n, v in sorted(av.library_versions.items()))
    yield DoctorFact(name="ffmpeg", ok=True, detail=libraries)
    needed = (("flac", "w"), ("mjpeg", "w"), ("h264", "r"), ("aac", "r"), ("opus", "r"))
    missing = [name for name, mode in needed if not _has_codec(name, mode)]
    yield DoctorFact(
        name="codecs",
        ok=not missing,
        detail=f"missing: {', '.join(missing)}" if missing else f"{len(av.codecs_available)} available",
        todo="install PyAV from its binary wheel" if missing else "",
    )


def _has_codec(name: str, mode: str) -> bool:
    import av

    try:
        av.Codec(name, "w" if mode == "w" else "r")
    except ValueError:
        return False
    return True


def _models(models: Path | None) -> Iterator[DoctorFact]:
    """The models that a default build needs must be present; the others are optional."""
    from corpus.align.models import catalogue

    for entry in catalogue(models):
        ok = entry.present or not entry.needed
        state = "here" if entry.present else "not here" if entry.needed else "not here, optional"
        todo = "" if ok else f"corpus models pull {entry.name}"
        yield DoctorFact(name=f"model {entry.name}", ok=ok, detail=f"{entry.purpose}: {state}", todo=todo)


def _disk(cache: Path) -> Iterator[DoctorFact]:
    # The cache need not exist yet: ask its nearest existing parent.
    place = cache.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        yield DoctorFact(
            name="disk", ok=False, detail=f"{place}: {error.strerror}", todo="choose another --cache"
        )
        return
    writable = os.access(place, os.W_OK)
    ok = writable and free >= LEAST_FREE_BYTES
    detail = f"{free / 1e9:.1f} GB free at {place}" + ("" if writable else ", which cannot be written")
    yield DoctorFact(
        name="disk", ok=ok, detail=detail, todo="" if ok else "make room, or choose another --cache"
    )


def _machine() -> Iterator[DoctorFact]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield DoctorFact(name="processors", ok=True, detail=f"{usable} usable of {os.cpu_count()}")
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    ok = memory >= LEAST_MEMORY_BYTES
    todo = "" if ok else "use one worker; each takes up to 2 GB with the default models"
    yield DoctorFact(name="memory", ok=ok, detail=f"{memory / 1e9:.1f} GB", todo=todo)


def _gpu() -> Iterator[DoctorFact]:
    try:
        import torch
    except (ImportError, OSError) as error:
        todo = f"pip install --upgrade {DISTRIBUTION}"
        yield DoctorFact(name="gpu", ok=False, detail=f"torch cannot be loaded: {error}", todo=todo)
        return
    if not torch.cuda.is_available():
        yield DoctorFact(name="gpu", ok=True, detail="none; builds need none")
    for place in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(place)
        yield DoctorFact(name="gpu", ok=True, detail=f"{facts.name}, {facts.total_memory / 1e9:.0f} GB")
