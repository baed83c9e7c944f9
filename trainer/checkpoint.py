"""Checkpoints of a run, written beside training and never seen half done.

    RUN/checkpoints/step-00000100/   tensors (torch's distributed checkpoint) and meta.json
    RUN/checkpoints/LATEST           the name of the newest one, written last

A checkpoint is written under a name beginning with a point, synced, and renamed; then LATEST is. Tensors
are copied first, so that training goes on meanwhile; every file's sha256 stands in meta.json and is
compared before it is trusted. Any number of ranks reads what any number has written.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from corpus.schemas.clip import CLIP_FORM, MelForm
from corpus.schemas.codec import from_json, to_json, to_plain
from corpus.schemas.errors import CorpusError, DatasetError, FormatError, StorageError, UsageError
from corpus.shards.mel import MEL_FORM
from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.control import Weighting
from corpus.trainer.data import LoaderState
from corpus.trainer.files import sync_folder, write_whole
from corpus.trainer.model import InteractionModel
from corpus.trainer.overrides import read_run

FOLDER = "checkpoints"
LATEST = "LATEST"
META = "meta.json"

Talk = Callable[[str], None]
Tensors = dict[str, Any]

_FAILURES = (OSError, CheckpointException, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMark:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """meta.json: everything of a checkpoint that is no tensor."""

    schema: str = "corpus.checkpoint/1"
    step: int
    """Optimiser steps done; the schedule is a function of it."""
    model: ModelConfig
    optimizer: str
    average: bool
    """Whether it holds a moving average of the parameters."""
    clips: str = CLIP_FORM
    mel: MelForm = MEL_FORM
    loader: LoaderState
    skipped: int = 0
    """Steps without an update, for a gradient that was no number."""
    config: str
    """Digest of the whole run's configuration, for people: a run may go on with other settings."""
    torch: str = torch.__version__
    files: tuple[FileMark, ...] = ()


def name_of(step: int) -> str:
    return f"step-{step:08d}"


class Saver:
    """Saves one checkpoint at a time beside training. All ranks call the same methods at the same steps."""

    def __init__(
        self, run: Path, keep: int, *, first: bool, group: dist.ProcessGroup | None, talk: Talk
    ) -> None:
        self.folder = run / FOLDER
        self._keep, self._first, self._group, self._talk = keep, first, group, talk
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._staging: BlockingAsyncStager | None = None
        self.failures = 0
        """Saves in a row that failed."""
        if first:
            _begin(self.folder)

    def save(self, tensors: Tensors, meta: Meta) -> None:
        """Copy the tensors and return; they are written meanwhile. Waits for the save before it first."""
        self.wait()
        temporary = self.folder / f".{name_of(meta.step)}.tmp"
        _expect_one_process()
        try:
            # Synced by _publish, which reads the files again for their digests.
            writer = FileSystemWriter(temporary, sync_files=False)
            alone = self._group is None
            future = async_save(
                tensors,
                storage_writer=writer,
                process_group=self._group,
                async_stager=self._stager(tensors),
                no_dist=alone,
            )
        except _FAILURES as error:
            self._error = error
            return
        assert isinstance(future, Future)
        work = (future, temporary, meta)
        self._thread = threading.Thread(target=self._finish, args=work, name="checkpoint")
        self._thread.start()

    def _stager(self, tensors: Tensors) -> BlockingAsyncStager | None:
        """Of a GPU's tensors the copies lie in pinned memory taken once: new pages would take as long as
        several steps to fill, every time."""
        if self._staging is None and _on_gpu(tensors):
            self._staging = BlockingAsyncStager(cache_staged_state_dict=True)
        return self._staging

    def wait(self) -> bool:
        """Until nothing is being written. False when the last save failed, on all ranks alike."""
        if self._thread is None and self._error is None:
            return True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failed = _any(self._error is not None, self._group)
        self.failures = self.failures + 1 if failed else 0
        if failed and self._first:
            # A full disk comes out of torch as a RuntimeError about positions in a file.
            why = f"{_why(self._error)}; {shutil.disk_usage(self.folder).free / 1e9:.3f} GB free there"
            self._talk(f"the checkpoint could not be saved ({why}); the one before is kept, the run goes on")
            for left in self.folder.glob(".step-*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
        self._error = None
        return not failed

    def _finish(self, future: Future[Any], temporary: Path, meta: Meta) -> None:
        try:
            future.result()
            if self._first:
                _publish(temporary, meta, self._keep)
        except _FAILURES as error:
            self._error = error


def _on_gpu(tensors: Tensors) -> bool:
    return any(tensor.is_cuda for tensor in tensors["model"].values())


def _begin(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".step-*.tmp"):
            shutil.rmtree(left)
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(folder)) from error


def _publish(temporary: Path, meta: Meta, keep: int) -> None:
    marks = tuple(_mark(file) for file in sorted(temporary.iterdir()))
    full = from_json(Meta, to_json({**to_plain(meta), "files": to_plain(marks)}))
    write_whole(temporary / META, to_json(full, indent=1).encode())
    final = temporary.with_name(name_of(meta.step))
    if final.exists():  # left by a run that ended before LATEST named it
        shutil.rmtree(final)
    temporary.rename(final)
    sync_folder(final.parent)
    write_whole(final.parent / LATEST, f"{final.name}\n".encode())
    # One with a higher number is damaged, or the run would have gone on from it: it takes nobody's place.
    upto = [path for path in _finished(final.parent) if path.name <= final.name]
    for old in upto[keep:]:
        shutil.rmtree(old)


def _mark(file: Path) -> FileMark:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        os.fsync(opened.fileno())
        return FileMark(name=file.name, bytes=os.fstat(opened.fileno()).st_size, sha256=digest)


def _finished(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted((path for path in folder.glob("step-*") if path.is_dir()), reverse=True)


def candidates(run: Path) -> list[Path]:
    """Checkpoints in the order they are tried: LATEST's, then older ones."""
    folder = run / FOLDER
    found = _finished(folder)
    try:
        latest = (folder / LATEST).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return found
    return [path for path in found if path.name <= latest] or found


def read_meta(path: Path) -> Meta:
    """Raises: FormatError when the checkpoint is not whole."""
    try:
        meta = from_json(Meta, (path / META).read_bytes(), where=str(path / META))
        marks = {mark.name: mark for mark in meta.files}
        for name, mark in marks.items():
            if _mark(path / name) != mark:
                raise FormatError(f"{name} is not what was written", where=str(path))
    except OSError as error:
        raise FormatError(f"{error.strerror}: {error.filename}", where=str(path)) from error
    return meta


def choose(run: Path, *, group: dist.ProcessGroup | None = None, talk: Talk) -> tuple[Path, Meta] | None:
    """The newest whole checkpoint, the same on all ranks; None where there is none at all.

    Raises: FormatError when there are some and none is whole.
    """
    chosen: list[Any] = [None]
    if group is None or dist.get_rank(group) == 0:
        chosen = [_choose(candidates(run), talk)]
    if group is not None:
        dist.broadcast_object_list(chosen, group=group)
    if isinstance(chosen[0], CorpusError):
        raise chosen[0]
    found: tuple[Path, Meta] | None = chosen[0]
    return found


def _choose(paths: Sequence[Path], talk: Talk) -> tuple[Path, Meta] | CorpusError | None:
    for path in paths:
        try:
            return path, read_meta(path)
        except FormatError as error:
            talk(f"checkpoint {path.name} cannot be used ({error.what}); trying the one before")
    if not paths:
        return None
    todo = "move the checkpoints away to begin again"
    return FormatError("none of its checkpoints is whole", where=str(paths[0].parent), todo=todo)


def check_model(meta: Meta, model: ModelConfig, where: str) -> None:
    """Raises: DatasetError or FormatError when a checkpoint is of another model, clip form or mel."""
    theirs, ours = to_plain(meta.model), to_plain(model)
    differ = [
        f"model.{name} {theirs[name]} (now {ours[name]})" for name in ours if theirs[name] != ours[name]
    ]
    if differ:
        todo = "give these values as they were, or begin a new run"
        raise FormatError(f"the checkpoint has {', '.join(differ)}", where=where, todo=todo)
    if (meta.clips, meta.mel) != (CLIP_FORM, MEL_FORM):
        what = f"trained on {meta.clips} with {meta.mel}, this version has {CLIP_FORM} with {MEL_FORM}"
        raise DatasetError(what, where=where, todo="use the version the run was trained with")


def load_tensors(path: Path, tensors: Tensors, group: dist.ProcessGroup | None = None) -> None:
    """Fill tensors in place. Raises: FormatError when one is missing or of another shape."""
    _expect_one_process()
    try:
        load(tensors, checkpoint_id=path, process_group=group, no_dist=group is None)
    except (*_FAILURES, KeyError, ValueError) as error:
        raise FormatError(f"cannot be loaded: {_why(error)}", where=str(path)) from error


def load_model(
    run: Path, *, step: int | None = None, ema: bool = False, device: torch.device | str = "cpu"
) -> tuple[InteractionModel, RunConfig]:
    """A run's model, from its newest whole checkpoint or a step's; with `ema` its moving average.

    Raises:
        UsageError: no such run or device.
        FormatError: no such checkpoint, or none that is whole, or of another model.
    """
    config = read_run(run).config
    place = _place(device)
    if step is None:
        found = choose(run, talk=lambda _: None)
    else:
        path = run / FOLDER / name_of(step)
        if not path.is_dir():
            kept = ", ".join(str(int(each.name[5:])) for each in reversed(_finished(run / FOLDER)))
            todo = f"it has {kept or 'none'}"
            raise FormatError(f"no checkpoint of step {step}", where=str(run), todo=todo)
        found = (path, read_meta(path))
    if found is None:
        todo = "train it first: corpus train"
        raise FormatError("holds no checkpoint", where=str(run), todo=todo)
    path, meta = found
    check_model(meta, config.model, str(path))
    if ema and not meta.average:
        todo = "train with optim.ema_decay=0.999, or leave --ema out"
        raise FormatError("the run kept no average of its weights", where=str(path), todo=todo)
    model = InteractionModel.unset(config.model, place)
    state, average = model.state_dict(), dict(model.named_parameters())
    wanted: Tensors = {"model": state}
    if ema:
        wanted = {"model": {n: v for n, v in state.items() if n not in average}, "average": average}
    load_tensors(path, wanted)
    model.weighting = Weighting.of(config.loss)
    return model.eval(), config


def _place(device: torch.device | str) -> torch.device:
    """Raises: UsageError where there is no such device."""
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"no device {device!r}", where="device", todo="cpu or cuda") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU here", where=f"device={device}", todo="use cpu, or check the driver")
    return place


def _any(value: bool, group: dist.ProcessGroup | None) -> bool:
    if group is None:
        return value
    flag = torch.tensor([int(value)])
    dist.all_reduce(flag, group=group)
    return bool(flag.item())


def _why(error: BaseException | None) -> str:
    """One line of what torch's checkpoint raises for many ranks at once."""
    if isinstance(error, CheckpointException):
        failures: Mapping[int, Any] = error.failures
        first = next(iter(failures.values()))
        error = first[0] if isinstance(first, tuple) else first
    if error is None:
        return "on another rank"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"


def _expect_one_process() -> None:
    warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
