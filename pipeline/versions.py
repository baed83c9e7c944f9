"""The versions that go into the keys of stages."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

STAGE_VERSIONS = {
    "decode": 3,
    "sight": 2,
    "diarize": 3,
    "transcribe": 4,
    "voices": 2,
    "label": 5,
    "cut": 2,
}
"""Raised by whoever changes what a stage makes from the same inputs."""

STAGE_LIBRARIES = {
    "decode": ("av", "numpy"),
    "sight": ("av", "numpy", "ai-edge-litert"),
    "diarize": ("numpy", "torch", "torchaudio", "pyannote.audio", "faster-whisper"),
    "transcribe": ("numpy", "faster-whisper", "ctranslate2", "pocketsphinx"),
    "voices": ("numpy",),
    "label": ("numpy",),
    "cut": ("av", "numpy"),
}


@cache
def library_version(name: str) -> str:
    """The installed version of a distribution, or `absent`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def stage_versions(stage: str) -> dict[str, str]:
    """What goes into a stage's key beside inputs and settings."""
    libraries = {name: library_version(name) for name in STAGE_LIBRARIES[stage]}
    return {"stage": stage, "stage_version": str(STAGE_VERSIONS[stage]), **libraries}


def all_versions() -> dict[str, dict[str, str]]:
    return {stage: stage_versions(stage) for stage in STAGE_VERSIONS}
