"""`corpus label` and `corpus score-cues`: run the labelers alone, and score them against human labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpus.cli import show
from corpus.cli.engine import Address, Engine, engine_of, spread_of
from corpus.schemas.errors import UsageError
from corpus.schemas.urls import place_of, public_url

if TYPE_CHECKING:
    from corpus.align.cues.score import Marked

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE|FOLDER|OUT", help="Conversation JSON (plain or .gz), folders of it, or a dataset."
    ),
]


def score_cues(
    reference: Annotated[Path, typer.Argument(metavar="REF", help="Human labels: a file or a folder.")],
    hypothesis: Annotated[
        Path,
        typer.Argument(
            metavar="HYP", help="Labels to score: a file, a folder or a dataset; matched by name."
        ),
    ],
    tolerance_ms: Annotated[
        int,
        typer.Option("--tolerance-ms", min=0, help="Largest distance between a cue and the mark it matches."),
    ] = 200,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with counts and confusions.")
    ] = False,
) -> None:
    """Score cues against human labels. Precision, recall and F1, one to one and by any overlap.

    Labels nobody marked, and stretches the annotators left open, are not scored. If HYP names the speakers
    differently, they are matched one to one by how much their speech coincides.

    Examples:

      corpus score-cues marks/ labelled/

      corpus score-cues marks/talk.json labelled/talk.json --json
    """
    from corpus.align.cues.files import base_name, conversation_files
    from corpus.align.cues.named_alike import named_alike, names_alike
    from corpus.align.cues.score import Scores, score
    from corpus.schemas.errors import UsageError

    theirs = {base_name(path): _marked(path) for path in conversation_files([reference])}
    if (hypothesis / "manifest.json").is_file():
        ours = _of_dataset(hypothesis)
    else:
        ours = {base_name(path): _marked(path) for path in conversation_files([hypothesis])}
    if reference.is_file() and hypothesis.is_file():
        ours = dict(zip(theirs, ours.values(), strict=True))
    if not theirs.keys() & ours.keys():
        raise UsageError("no file in HYP has the name of one in REF", where=str(hypothesis))
    for name in sorted(theirs.keys() ^ ours.keys()):
        side = "HYP" if name in theirs else "REF"
        show.talk(f"{name}: not scored, {side} has no file with this name")
    scores = Scores()
    for name in sorted(theirs.keys() & ours.keys()):
        names = names_alike(ours[name].turns, theirs[name].turns)
        if names:
            pairs = ", ".join(f"{mine} is {other}" for mine, other in sorted(names.items()))
            show.talk(f"{name}: speakers matched by when they talk: {pairs}")
        score(named_alike(ours[name], names), theirs[name], scores, tolerance_us=tolerance_ms * 1000)
    plain = scores.plain()
    if not plain["labels"]:
        show.talk("nothing to score: REF holds no cues and no gold_labels")
    if as_json:
        show.json_line(plain)
    else:
        _print_scores(plain)


def _marked(path: Path) -> Marked:
    from corpus.align.cues.files import read_marks
    from corpus.align.cues.score import Marked

    annotation, _, drops = read_marks(path)
    for drop in drops:
        if drop.kind == "fault":
            show.talk(show.drop_line(drop))
    return Marked(
        cues=annotation.cues,
        events=annotation.events,
        words=annotation.words or (),
        turns=annotation.turns or (),
    )


def _of_dataset(folder: Path) -> dict[str, Marked]:
    from corpus.align.cues.score import Marked
    from corpus.cli.by_recording import by_recording

    return {
        name: Marked(
            cues=tuple(sorted(recording.cues.values(), key=lambda cue: (cue.start_us, cue.id))),
            words=tuple(recording.words.values()),
            turns=tuple(recording.turns.values()),
        )
        for name, recording in by_recording(folder).items()
    }


def _print_scores(plain: dict[str, Any]) -> None:
    rows: list[list[str]] = []
    for label, scores in plain["labels"].items():
        rows.append([label, *_cells(scores), _cell(scores["any_overlap"]["f1"]), _cell(scores["ece"])])
        rows += [
            [f"  {kind}", *_cells(one), _cell(one["any_overlap"]["f1"]), ""]
            for kind, one in scores["kinds"].items()
        ]
        if words := scores.get("reparandum_words"):
            rows.append(
                [
                    "  words of reparanda",
                    "",
                    *(_cell(words[n]) for n in ("precision", "recall", "f1")),
                    "",
                    "",
                ]
            )
    show.table(rows, ["label", "marks", "precision", "recall", "F1", "F1 any overlap", "ECE"])
    for each in plain["confusion"]:
        if each["n"]:
            show.data(f"{each['n']} marks of {each['mark']} were found as {each['found']}")


def _cells(told: dict[str, Any]) -> list[str]:
    return [str(told["n"]), *(_cell(told[name]) for name in ("precision", "recall", "f1"))]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def label(
    files: Files,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for NAME.json with turns, words and new cues.")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="A corpus.toml; its table [cues] holds the thresholds."),
    ] = None,
    engine: Engine = "local",
    address: Address = None,
) -> None:
    """Run only the cue labelers. Conversation JSON is labelled into a folder, a built dataset in place.

    Cues in a conversation file are ignored and made again. In a dataset, cues from files or annotators and
    visual cues are kept, and only shards whose labels change are rewritten; neither media nor cache is
    needed. Without --config a dataset keeps its thresholds.

    Examples:

      corpus label talk.json --out labelled

      corpus label conversations/ --out labelled

      corpus label data --config corpus.toml

      corpus label s3://bucket/dataset --config corpus.toml

      corpus label /shared/dataset --engine ray --address auto
    """
    from corpus.align.cues.files import base_name, conversation_files, read_marks, without_cues
    from corpus.align.label import labelled
    from corpus.pipeline.settings_file import read_settings
    from corpus.schemas.codec import to_json
    from corpus.schemas.errors import FormatError, SidecarError
    from corpus.schemas.files import write_whole

    dataset = _dataset([place_of(file) for file in files])
    if dataset is not None:
        if out is not None:
            raise UsageError(
                "a dataset is labelled in place", where=public_url(str(dataset)), todo="omit --out"
            )
        _label_dataset(dataset, settings, spread_of(engine, address))
        return
    if engine_of(engine, address) != "local":
        raise UsageError("is only for datasets", where="--engine", todo="omit it for conversation files")
    if out is None:
        raise UsageError("no output folder for the labelled conversations", todo="name one with --out")
    paths = conversation_files([Path(file) for file in files])
    if not paths:
        raise UsageError("contains no conversation file", where=", ".join(files))
    targets = {path: out / f"{base_name(path)}.json" for path in paths}
    for path, target in targets.items():
        if target.exists() and target.samefile(path):
            raise UsageError("would be overwritten", where=str(path), todo="name another folder with --out")
    thresholds = read_settings(settings).cues
    out.mkdir(parents=True, exist_ok=True)
    unread = 0
    for path, target in targets.items():
        try:
            annotation, duration_us, drops = read_marks(path)
        except (SidecarError, FormatError, UsageError) as error:
            if len(paths) == 1:
                raise
            unread += 1
            show.talk(f"corpus: {show.one_line(str(error))}")
            continue
        for drop in drops:
            show.talk(show.drop_line(drop))
        conversation = labelled(without_cues(path, annotation, duration_us), thresholds)
        write_whole(target, to_json(conversation).encode())
        absent = [m for m in conversation.labels_made if not m.made]
        show.talk(
            f"{path.name}: {show.counted(len(conversation.cues), 'cue')}, "
            f"{show.counted(len(conversation.answers), 'answer')}"
        )
        for each in absent:
            show.talk(f"{path.name}: {each.label} not made: {each.reason}")
    if unread:
        show.talk(f"{unread} of {len(paths)} files could not be read")
        raise typer.Exit(1)


def _dataset(given: list[Path | str]) -> Path | str | None:
    """The URL or the one folder given, if it holds a dataset or one whose relabelling was interrupted."""
    for url in given:
        if isinstance(url, str):
            if len(given) > 1:
                raise UsageError("a dataset at a URL is labelled alone", where=public_url(url))
            return url
    [folder, *more] = given
    if more or isinstance(folder, str) or not folder.is_dir():
        return None
    return folder if any((folder / name).exists() for name in ("manifest.json", ".rewrite")) else None


def _label_dataset(
    dataset: Path | str, settings: Path | None, spread: Callable[..., Iterator[Any]] | None
) -> None:
    from corpus.pipeline.far_build import relabel_at
    from corpus.pipeline.relabel import relabel_dataset
    from corpus.pipeline.settings_file import read_settings
    from corpus.review.store import bring_up_to_date

    if isinstance(dataset, Path):
        bring_up_to_date(dataset)
    thresholds = read_settings(settings).cues if settings else None
    bars = show.Bars()
    try:
        if isinstance(dataset, Path):
            relabelled = relabel_dataset(dataset, thresholds, bars, spread)
        else:
            relabelled = relabel_at(dataset, thresholds, bars, spread)
    finally:
        bars.close()
    if relabelled.shards:
        show.talk(
            f"{relabelled.recordings} recordings relabelled: {relabelled.clips} clips, "
            f"{relabelled.shards} shards written"
        )
    else:
        show.talk("no label has changed")
