"""A run's checkpoints: their content, choosing one, and reading it.

    RUN/checkpoints/step-00000100/   tensors, as torch's distributed checkpoint writes them, with their
                                     offsets (index.json); meta.json
    RUN/checkpoints/LATEST           the name of the newest one, written last

Every file's sha256 is in meta.json and is compared before use; a damaged checkpoint is skipped and the
previous one loaded. Any number of ranks can read a checkpoint that any other number wrote
(checkpoint_saver.py). Digests show damage, not intent. Nothing in a checkpoint is unpickled
(checkpoint_index.py), so it is safe to load a downloaded one.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load

from corpus.schemas.clip import CLIP_FORM, ClipHead, MelForm
from corpus.schemas.codec import from_json, reads, to_plain
from corpus.schemas.errors import CorpusError, DatasetError, FormatError, NewerSchemaError, SettingsError
from corpus.shards.mel import MEL_FORM
from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.data.loader import LoaderState, settings_digest
from corpus.trainer.train.checkpoint_index import IndexReader

FOLDER = "checkpoints"
LATEST = "LATEST"
META = "meta.json"

Talk = Callable[[str], None]
Tensors = dict[str, Any]

FAILURES = (OSError, CheckpointException, RuntimeError)
"""The errors torch raises when a checkpoint cannot be written or read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileMark:
    name: str
    bytes: int
    sha256: str


def _meta_from_1(plain: Any) -> dict[str, Any]:
    """The older form does not record how long the trained contexts were."""
    # The loader's state is embedded, so its form is raised with the checkpoint's.
    loader = {**plain["loader"], "schema": "corpus.loader/2"}
    return {**plain, "schema": "corpus.checkpoint/2", "trained_windows": None, "loader": loader}


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """meta.json: everything in a checkpoint except tensors."""

    older: ClassVar[dict[str, Any]] = {"corpus.checkpoint/1": _meta_from_1}

    schema: str = "corpus.checkpoint/2"
    step: int
    """Optimiser steps done; the schedule depends on this alone."""
    model: ModelConfig
    optimizer: str
    average: bool
    """Whether the checkpoint holds a moving average of the parameters."""
    trained_windows: int | None
    """The most consecutive windows of a document that the model has seen at once; None if not counted."""
    base: str = ""
    """sha256 of the exported weights that a LoRA run is based on; empty if the checkpoint is complete."""
    clips: str = CLIP_FORM
    mel: MelForm = MEL_FORM
    loader: LoaderState
    skipped: int = 0
    """Steps skipped because of a NaN or Inf gradient."""
    config: str
    """Digest of the whole run's configuration, for people: a run may continue with other settings."""
    torch: str = torch.__version__
    files: tuple[_FileMark, ...] = ()

    def __post_init__(self) -> None:
        counts = {
            "step": self.step,
            "skipped": self.skipped,
            "trained_windows": self.trained_windows or 0,
            **{f"loader.{name}": n for name, n in to_plain(self.loader).items() if isinstance(n, int)},
        }
        for name, count in counts.items():
            if count < 0:
                raise FormatError(f"{name} is {count}", where=META, todo="take another checkpoint")


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def mark_of(file: Path) -> _FileMark:
    """Read a whole file back for its digest, and sync it to disk."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        os.fsync(opened.fileno())
        return _FileMark(name=file.name, bytes=os.fstat(opened.fileno()).st_size, sha256=digest)


def finished(folder: Path) -> list[Path]:
    """A run's finished checkpoints, newest first."""
    names = (path for path in folder.glob("step-*") if path.name[5:].isdecimal() and path.is_dir())
    return sorted(names, reverse=True)


def candidates(run: Path) -> list[Path]:
    """Checkpoints in the order in which they are tried: LATEST's, then older ones."""
    folder = run / FOLDER
    paths = finished(folder)
    try:
        latest = (folder / LATEST).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return paths
    # A folder newer than LATEST was renamed but never announced: use it only if nothing else is left.
    return [path for path in paths if path.name <= latest] or paths


def read_meta(path: Path) -> Meta:
    """Raises: FormatError when the checkpoint is not whole."""
    try:
        meta = from_json(Meta, (path / META).read_bytes(), where=str(path / META))
        marks = {mark.name: mark for mark in meta.files}
        for name, mark in marks.items():
            # The list may come from elsewhere: a name with a slash could read any file of this machine.
            if Path(name).name != name or "\0" in name:
                raise FormatError(f"lists {name!r}, which is not a file name", where=str(path))
            if mark_of(path / name) != mark:
                raise FormatError(f"{name} is not what was written", where=str(path))
    except OSError as error:
        raise FormatError(f"{error.strerror}: {error.filename}", where=str(path)) from error
    return meta


def choose(run: Path, *, group: dist.ProcessGroup | None = None, talk: Talk) -> tuple[Path, Meta] | None:
    """The newest intact checkpoint, the same on all ranks; None if the run has none.

    Raises: FormatError if all of them are damaged.
    """
    chosen: list[Any] = [None]
    if group is None or dist.get_rank(group) == 0:
        # One rank decides: ranks that looked at different moments could start from different steps.
        chosen = [_choose(candidates(run), talk)]
    if group is not None:
        dist.broadcast_object_list(chosen, group=group)
    if isinstance(chosen[0], CorpusError):
        raise chosen[0]
    newest: tuple[Path, Meta] | None = chosen[0]
    return newest


def _choose(paths: Sequence[Path], talk: Talk) -> tuple[Path, Meta] | CorpusError | None:
    newest = ""
    for path in paths:
        try:
            return path, read_meta(path)
        except (
            NewerSchemaError
        ) as error:  # intact, only newer than this version: do not fall back to an older one
            return error
        except FormatError as error:
            newest = newest or error.what
            talk(f"checkpoint {path.name} cannot be used ({error.what}); trying the one before")
    if not paths:
        return None
    todo = "move the checkpoints away to begin again"
    what = f"none of its checkpoints is intact; {paths[0].name}: {newest}"
    return FormatError(what, where=str(paths[0].parent), todo=todo)


def check_model(meta: Meta, model: ModelConfig, where: str) -> None:
    """Raises: DatasetError or FormatError when a checkpoint is of another model, clip form or mel."""
    theirs, ours = to_plain(meta.model), to_plain(model)
    # Name every setting that differs, so that one error is enough to correct them all.
    differ = [
        f"model.{name} {theirs[name]} (now {ours[name]})" for name in ours if theirs[name] != ours[name]
    ]
    if differ:
        todo = "give these values as they were, or begin a new run"
        raise FormatError(f"the checkpoint has {', '.join(differ)}", where=where, todo=todo)
    if not reads(ClipHead, meta.clips) or meta.mel != MEL_FORM:
        what = f"trained on {meta.clips} with {meta.mel}, this version has {CLIP_FORM} with {MEL_FORM}"
        raise DatasetError(what, where=where, todo="use the version the run was trained with")


def check_resumes(meta: Meta, config: RunConfig, base: str, where: str) -> None:
    """Require a checkpoint from which a run can continue; `base` is the digest of its LoRA base weights.

    Raises: FormatError or DatasetError if it is of another run, SettingsError if it has more steps.
    """
    check_model(meta, config.model, where)
    if config.model.lora_rank and meta.base != base:
        todo = "set init= as it was, with the same weights"
        raise FormatError("these are not the run's base weights", where=config.init, todo=todo)
    if config.steps < meta.step:
        todo = f"make it at least {meta.step}, or begin a new run"
        raise SettingsError(f"the run is at step {meta.step} already", where="steps", todo=todo)
    for what, theirs, ours in (
        ("optimizer", meta.optimizer, config.optim.optimizer),
        ("ema_decay", meta.average, config.optim.ema_decay is not None),
    ):
        if theirs != ours:
            todo = "give it as it was, or begin a new run"
            raise FormatError(f"the run has another optim.{what}", where=where, todo=todo)


def load_tensors(path: Path, meta: Meta, tensors: Tensors, group: dist.ProcessGroup | None = None) -> None:
    """Fill tensors in place. Raises: FormatError if one is missing or has another shape."""
    expect_one_process()
    try:
        reader = IndexReader(path, (mark.name for mark in meta.files))
        load(tensors, storage_reader=reader, process_group=group, no_dist=group is None)
    except (*FAILURES, KeyError, ValueError) as error:
        raise FormatError(f"cannot be loaded: {reason_of(error)}", where=str(path)) from error


def check_text(meta: Meta, config: RunConfig, run: Path) -> None:
    """Raises: FormatError if the tokenizer kept in a run is not the one it was trained with."""
    if config.data.tokenizer != "bytes" and settings_digest(config) != meta.loader.settings:
        what = (
            f"{config.data.tokenizer}, or what config.json says of its data, has changed since it was trained"
        )
        raise FormatError(what, where=str(run), todo="put back the files that training wrote")


def reason_of(error: BaseException | None) -> str:
    """The first line of an error that torch's checkpoint raises for several ranks at once."""
    if isinstance(error, CheckpointException):
        failures: Mapping[int, Any] = error.failures
        first = next(iter(failures.values()))
        error = first[0] if isinstance(first, tuple) else first
    if error is None:
        return "on another rank"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def expect_one_process() -> None:
    """Silence torch's warning that a run of one process has no process group: that is intended."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
