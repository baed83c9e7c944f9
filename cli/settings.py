"""`corpus init` and `corpus config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corpus.cli import show


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the settings.")] = Path("corpus.toml"),
) -> None:
    """Write a corpus.toml that explains every setting.

    Example: corpus init
    """
    from corpus.pipeline.settings_file import commented_toml
    from corpus.schemas.errors import StorageError, UsageError

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(commented_toml())
    except FileExistsError as error:
        raise UsageError("already exists", where=str(path), todo="name another file") from error
    except OSError as error:
        raise StorageError(f"cannot be written: {error.strerror}", where=str(path)) from error
    show.talk(f"wrote {path}; use it with `corpus build -c {path} ...`")


def config(
    file: Annotated[Path | None, typer.Option("-c", "--config", help="A corpus.toml.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Override one setting; may be repeated."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Print the settings a build would use.

    Examples:

      corpus config -c corpus.toml

      corpus config --set diarize.max_speakers=2
    """
    from corpus.pipeline.settings_file import read_settings, with_overrides
    from corpus.schemas.codec import to_json

    settings = with_overrides(read_settings(file), overrides or [])
    show.data(to_json(settings, indent=None if as_json else 2))
