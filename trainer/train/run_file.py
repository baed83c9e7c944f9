"""The file RUN/config.json, which records how a run was started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from corpus.schemas.codec import from_json, to_json
from corpus.schemas.errors import UsageError
from corpus.schemas.files import write_whole
from corpus.trainer.config import RunConfig

CONFIG_NAME = "config.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A run's resolved settings, with its dataset and torch version."""

    schema: str = "corpus.run-file/1"
    dataset: str
    """sha256 of the dataset's manifest."""
    torch: str
    config: RunConfig


def read_run(run: Path) -> RunFile:
    """The file, with `data.tokenizer` pointing to the copy kept in the run.

    Raises: UsageError if it is missing, FormatError if it cannot be read.
    """
    path = run / CONFIG_NAME
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:  # a name may hold a zero byte
        todo = "name a folder that corpus train has written"
        raise UsageError("is not a run: config.json is missing", where=str(run), todo=todo) from error
    file = from_json(RunFile, text, where=str(path))
    config = file.config
    if config.data.tokenizer == "bytes":
        return file
    from corpus.trainer.data.tokenizer_file import kept_tokenizer

    kept = replace(config.data, tokenizer=kept_tokenizer(config.data.tokenizer, run))
    return replace(file, config=replace(config, data=kept))


def write_run(run: Path, file: RunFile) -> None:
    if file.config.data.tokenizer != "bytes":
        from corpus.trainer.data.tokenizer_file import keep_tokenizer

        keep_tokenizer(file.config.data.tokenizer, run)
    write_whole(run / CONFIG_NAME, (to_json(file, indent=2) + "\n").encode())
