"""The stages of a build: name, version, what the results depend on, share of the work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version

from corpus.schemas.codec import digest, to_plain
from corpus.schemas.drops import StageName
from corpus.schemas.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage."""

    name: StageName
    version: int
    """Increase it when the stage's output changes for the same inputs."""
    libraries: tuple[str, ...]
    """Distributions whose versions are part of the key."""
    keyed_by: tuple[str, ...] = ()
    """What the key holds besides versions; empty for a stage without artifacts."""
    share: float = 0.0
    """Its approximate share of a recording's work: for the progress bar only."""


STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            name="decode",
            version=5,
            libraries=("av", "numpy"),
            keyed_by=("files", "settings"),
            share=0.25,
        ),
        Stage(
            name="sight",
            version=5,
            libraries=("av", "numpy", "ai-edge-litert"),
            keyed_by=("files", "times", "settings", "model"),
        ),
        Stage(
            name="clock",
            version=1,
            libraries=("numpy", "torch", "faster-whisper", "onnxruntime"),
            keyed_by=("decode", "channels", "model"),
            share=0.02,
        ),
        Stage(
            name="diarize",
            version=4,
            libraries=("numpy", "torch", "torchaudio", "pyannote.audio", "faster-whisper"),
            keyed_by=("decode", "channels", "model", "settings", "sight"),
            share=0.3,
        ),
        Stage(
            name="transcribe",
            version=5,
            libraries=("numpy", "faster-whisper", "ctranslate2", "pocketsphinx"),
            keyed_by=("decode", "channel_of", "turns", "model", "settings"),
            share=0.3,
        ),
        Stage(
            name="voices",
            version=3,
            libraries=("numpy",),
            keyed_by=("decode", "channels", "turns", "speakers", "separator"),
            share=0.03,
        ),
        Stage(name="prosody", version=1, libraries=("numpy",), keyed_by=("voices",), share=0.02),
        Stage(
            name="label",
            version=5,
            libraries=("numpy",),
            keyed_by=("conversation", "settings", "sight", "reviews", "prosody"),
            share=0.02,
        ),
        Stage(
            name="quality",
            version=1,
            libraries=("numpy", "onnxruntime"),
            keyed_by=("decode", "voices", "talk", "told", "windows_per_clip", "model"),
            share=0.02,
        ),
        Stage(
            name="cut",
            version=3,
            libraries=("av", "numpy"),
            keyed_by=("inputs", "recording", "split", "settings", "config", "left_out"),
            share=0.06,
        ),
        Stage(name="write", version=1, libraries=("pyarrow",)),
    )
}
"""In the order in which a recording passes through them."""


def stage_key(name: StageName, **parts: object) -> str:
    """The digest under which a stage's result is stored."""
    stage = STAGES[name]
    if tuple(sorted(parts)) != tuple(sorted(stage.keyed_by)):
        raise AssertionError(f"{name} is keyed by {stage.keyed_by}, not by {tuple(parts)}")
    return digest({**_versions(stage), **{part: to_plain(value) for part, value in parts.items()}})


def config_of(settings: Settings) -> str:
    """Digest of the settings and of all versions: the `config` of a clip.

    Filters are excluded: they decide which clips exist, not what is in them, so changing them leaves the
    other clips unchanged.
    """
    plain = to_plain(settings)
    del plain["filters"]
    return digest([plain, all_versions()])


def all_versions() -> dict[str, dict[str, str]]:
    return {name: _versions(stage) for name, stage in STAGES.items()}


def done_before(name: str, share: float) -> float:
    """How much of a recording's work is done when this share of the stage is."""
    done = 0.0
    for stage in STAGES.values():
        if stage.name == name:
            return done + stage.share * share
        done += stage.share
    return 0.0  # a stage without a share, as `probe`


def _versions(stage: Stage) -> dict[str, str]:
    libraries = {name: _library_version(name) for name in stage.libraries}
    return {"stage": stage.name, "stage_version": str(stage.version), **libraries}


@cache
def _library_version(name: str) -> str:
    """The installed version of a distribution, or `absent`."""
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return "absent"
