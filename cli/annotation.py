"""`corpus annotations convert|export`: convert annotation files between formats, and export a dataset's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpus.cli import show
from corpus.schemas.errors import UsageError

if TYPE_CHECKING:
    from corpus.schemas.conversation import Conversation

_UNREADABLE = "sidecar_unreadable"

group = typer.Typer(help="Convert annotation files, or export a dataset's.", no_args_is_help=True)
To = Annotated[
    str,
    typer.Option(
        "--to",
        help="conversation, rttm, uem, ctm, stm, srt, vtt, textgrid, eaf, moshi, whisperx, "
        "emilia, label-studio.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Output folder; created if it is missing.")]


@group.command("convert")
def _convert(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE|FOLDER", help="Annotation files; those with the same base name belong together."
        ),
    ],
    to: To,
    out: Out,
) -> None:
    """Convert annotation files to another format. What it cannot hold is reported.

    Examples:

      corpus annotations convert talk.TextGrid --to rttm --out converted

      corpus annotations convert talk.rttm talk.ctm --to vtt --out converted
    """
    from corpus.align.formats.files import conversations_of

    unreadable = 0
    for talk, drops in conversations_of(inputs):
        for drop in drops:
            show.talk(show.drop_line(drop))
        if any(drop.code == _UNREADABLE for drop in drops):
            # An empty file would say that nobody speaks.
            show.talk(f"{talk.recording}: is not written; mend or remove the file that cannot be read")
            unreadable += 1
        else:
            _write(talk, to, out, inputs)
    if unreadable:
        raise typer.Exit(3)


@group.command("export")
def export(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="A built dataset.")], to: To, out: Out
) -> None:
    """Export the turns and words of every recording in a dataset.

    Examples:

      corpus annotations export dataset --to textgrid --out praat

      corpus annotations export dataset --to rttm --out rttm
    """
    for talk in _of_dataset(dataset):
        _write(talk, to, out, [])


def _of_dataset(dataset: Path) -> Iterator[Conversation]:
    """Each recording's turns, words, cues and events; an item in several clips counts once, by its id."""
    from corpus.schemas.conversation import Conversation
    from corpus.shards.read import open_clips

    parts: dict[str, dict[str, dict[str, Any]]] = {}
    ends: dict[str, int] = {}
    speakers: dict[str, dict[str, None]] = {}
    for clip in open_clips(dataset):
        head = clip.json
        ends[head.source.uri] = max(ends.get(head.source.uri, 0), head.stop_us)
        speakers.setdefault(head.source.uri, {}).update(dict.fromkeys(head.speakers))
        lists = parts.setdefault(head.source.uri, {"turns": {}, "words": {}, "cues": {}, "events": {}})
        for kind, items in lists.items():
            items.update({item.id: item for item in getattr(head, kind)})
    stems = Counter(_stem(uri) for uri in parts)
    for uri, lists in sorted(parts.items()):
        items = {kind: tuple(group.values()) for kind, group in lists.items()}
        name = _stem(uri) if stems[_stem(uri)] == 1 else uri.replace("/", "__")
        last = [item.stop_us or 0 for group in items.values() for item in group]
        length_us = max([ends[uri], *last])
        yield Conversation(recording=name, duration_us=length_us, speakers=tuple(speakers[uri]), **items)


def _stem(uri: str) -> str:
    """A file's name without folders and extension."""
    name = PurePosixPath(uri.replace("\0", "_")).name
    return name.rpartition(".")[0] or name or "recording"


def _file_name(recording: str) -> str:
    """A valid file name: no folders, no control characters, no longer than file systems allow."""
    plain = "".join(c if c.isprintable() and c not in "/\\" else "_" for c in recording)
    return plain.encode()[:200].decode(errors="ignore") or "recording"


def _write(talk: Conversation, to: str, out: Path, inputs: list[Path]) -> None:
    """Write one file named after the recording; print its path, and report what was left out."""
    from corpus.align.formats.write import FORMATS
    from corpus.schemas.files import storage_errors, write_whole

    if to not in FORMATS:
        raise UsageError(f"{to!r} is not a format", todo=f"one of {', '.join(FORMATS)}")
    path = out / (_file_name(talk.recording) + FORMATS[to].ending)
    if any(path.resolve() == each.resolve() for each in inputs):
        raise UsageError("would be overwritten by its conversion", where=str(path), todo="name another --out")
    text, drops = FORMATS[to].write(talk)
    for drop in drops:
        show.talk(show.drop_line(drop))
    with storage_errors(path):
        out.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    show.data(str(path))
