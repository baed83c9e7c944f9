"""`corpus score`: compare a dataset, or a folder of conversation JSON, with human annotations."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpus.cli import show
from corpus.cli.engine import Address, Engine, spread_of
from corpus.schemas.errors import MissingDependencyError, SidecarError, UsageError
from corpus.schemas.urls import place_of

if TYPE_CHECKING:
    from corpus.align.score import Counts, Said
    from corpus.shards.far_heads import HeadsSpread

_FOREVER_US = 10**12
_UNREADABLE = "sidecar_unreadable"
_DRAWS = 1_000
_ENDINGS = (".rttm", ".stm", ".ctm", ".json", ".json.gz")


def score(
    ref: Annotated[Path, typer.Argument(metavar="REF", help="Folder of NAME.rttm, .json, .stm, .ctm.")],
    hyp: Annotated[
        str,
        typer.Argument(metavar="HYP", help="A dataset's folder or URL, or a folder of conversation JSON."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Score turns and words against human annotations. Files are matched by base name.

    Examples:

      corpus score annotations dataset

      corpus score annotations dataset --json

      corpus score annotations s3://bucket/dataset
    """
    for package in ("jiwer", "pyannote.metrics", "scipy"):
        _needs(package)
    from corpus.align.score import Said, compared, figures, pooled

    spread = spread_of(engine, address)
    truth, hypotheses = _references(ref), _hypotheses(place_of(hyp), spread)
    for name in sorted(truth.keys() - hypotheses.keys()):
        show.talk(f"{name}: missing from HYP; scored as if nothing had been found")
    for name in sorted(hypotheses.keys() - truth.keys()):
        show.talk(f"{name}: missing from REF; not scored")
    pairs = [(said, hypotheses.get(name, Said())) for name, said in sorted(truth.items())]
    counts = dict(zip(sorted(truth), (spread or map)(compared, pairs), strict=True))
    recordings = {name: figures(part) for name, part in counts.items()}
    whole: dict[str, Any] = {**figures(pooled(counts.values())), "intervals": _intervals(counts)}
    if as_json:
        show.json_line({"recordings": recordings, "pooled": whole})
        return
    head = ("recording", "der", "jer", "cpwer", "wer", "fillers_heard", "fillers", "word_start_median_ms")
    rows = [(name, *(_cell(each[key]) for key in head[1:])) for name, each in recordings.items()]
    show.table([*rows, ("pooled", *(_cell(whole[key]) for key in head[1:]))], head)
    for name in (key for key in whole if key not in ("intervals", *head)):
        show.data(f"{name}  {_cell(whole[name])}")
    for name, (low, high) in whole["intervals"].items():
        show.data(f"{name}  95 % [{_cell(low)}, {_cell(high)}]")


def _needs(package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        todo = 'pip install "duplex-corpus[score]"'
        raise MissingDependencyError(f"the package {package} is missing", todo=todo) from error


def _cell(value: float | int | None) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _intervals(counts: dict[str, Counts]) -> dict[str, list[float]]:
    """95 % intervals by a seeded bootstrap over recordings."""
    from corpus.align.score import figures, pooled

    chance = random.Random(0)
    parts = list(counts.values())
    draws = [figures(pooled(chance.choices(parts, k=len(parts)))) for _ in range(_DRAWS)]
    interval_of: dict[str, list[float]] = {}
    for name in draws[0]:
        values = sorted(float(value) for draw in draws if (value := draw.get(name)) is not None)
        if len(values) > 1:
            interval_of[name] = [values[len(values) // 40], values[-1 - len(values) // 40]]
    return interval_of


def _base(name: str) -> str:
    name = name.rpartition("/")[2]
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return Path(name).stem


def _references(folder: Path) -> dict[str, Said]:
    """Turns come from the RTTM if there is one; everything else is read as sidecars are."""
    from corpus.align.score import Said
    from corpus.align.sidecars import read_sidecars

    if not folder.is_dir():
        raise UsageError("is not a folder", where=str(folder), todo="name the folder of the annotations")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.lower().endswith(_ENDINGS):
            files.setdefault(_base(path.name), []).append(path)
    if not files:
        raise UsageError(
            "contains no annotation files", where=str(folder), todo="put NAME.rttm and NAME.json there"
        )
    said_in: dict[str, Said] = {}
    for name, paths in files.items():
        rttm = [path for path in paths if path.suffix.lower() == ".rttm"]
        rest = [path for path in paths if path not in rttm]
        annotation, drops = read_sidecars(rest, _FOREVER_US)
        turns = None if all(path.suffix.lower() == ".ctm" for path in rest) else annotation.turns or ()
        if rttm:
            spoken, more = read_sidecars(rttm, _FOREVER_US)
            turns, drops = spoken.turns or (), [*drops, *more]
        for drop in drops:
            if drop.code == _UNREADABLE:  # it would be scored, wrongly, as an empty reference
                raise SidecarError(drop.reason, todo="repair or remove the file")
            if drop.kind == "fault":
                show.talk(show.drop_line(drop))
        said_in[name] = Said(turns, annotation.words, _duration_us(rest))
    return said_in


def _duration_us(paths: list[Path]) -> int:
    """The length given by a conversation file; 0 without one."""
    from corpus.align.conversation_json import load_conversation

    for path in paths:
        if path.name.lower().endswith((".json", ".json.gz")):
            duration_us = (load_conversation(path) or {}).get("duration_us")
            return duration_us if isinstance(duration_us, int) and 0 < duration_us < _FOREVER_US else 0
    return 0


def _hypotheses(place: Path | str, spread: HeadsSpread | None) -> dict[str, Said]:
    if isinstance(place, str) or (place / "manifest.json").is_file():
        return _of_dataset(place, spread)
    from corpus.align.score import Said
    from corpus.align.sidecars import read_sidecars

    if not place.is_dir():
        raise UsageError("is neither a dataset nor a folder", where=str(place))
    said_in: dict[str, Said] = {}
    for path in sorted(place.iterdir()):
        if path.name.lower().endswith((".json", ".json.gz")):
            annotation, drops = read_sidecars([path], _FOREVER_US)
            for drop in drops:
                if drop.kind == "fault":
                    show.talk(show.drop_line(drop))
            if annotation.used:
                said_in[_base(path.name)] = Said(annotation.turns or (), annotation.words or (), 0)
    return said_in


def _of_dataset(place: Path | str, spread: HeadsSpread | None) -> dict[str, Said]:
    from corpus.align.score import Said
    from corpus.cli.by_recording import by_recording

    return {
        name: Said(
            tuple(recording.turns.values()),
            tuple(sorted(recording.words.values(), key=lambda word: word.start_us or 0)),
        )
        for name, recording in by_recording(place, spread).items()
    }
