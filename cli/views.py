"""What people look at: sample, inspect, stats, catalog, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corpus.cli import show

if TYPE_CHECKING:
    from corpus.pipeline.stats import Lengths, Stats

Built = Annotated[Path, typer.Argument(metavar="OUT", help="A dataset's folder.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable, one object a line.")]


def sample(
    out: Annotated[Path, typer.Argument(metavar="OUT.mp4", help="The file to write.")],
) -> None:
    """Write a sample to try everything with: a real phone call with a drawn picture.

    The call ships with pyannote.audio. Mouths follow the truth about who speaks; a corner counts windows.

    Example: corpus sample call.mp4
    """
    from tqdm import tqdm

    from corpus.pipeline.sample import write_sample

    with tqdm(total=30, desc="drawing", unit="s", disable=None, leave=False) as bar:

        def progress(done_us: int) -> None:
            bar.update(done_us / 1e6 - bar.n)

        write_sample(out, progress=progress)
    show.data(str(out))


def inspect(
    out: Built,
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="A clip's key or how it begins; the first without.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="The page to write; OUT/inspect/KEY.html without.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a clip as one page: pictures, sound, words, turns and cues on one time line.

    Examples:

      corpus inspect dataset

      corpus inspect dataset 7eeff9eb43e7 --to clip.html
    """
    from corpus.pipeline.inspect import choose, write_page
    from corpus.schemas.errors import StorageError
    from corpus.shards.read import open_clips

    clip = choose(open_clips(out), key)
    if as_json:
        show.data(clip.json_bytes.decode())
        return
    path = to or out / "inspect" / f"{clip.key}.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_page(clip, path)
    except OSError as error:
        raise StorageError(f"cannot write: {error.strerror or error}", where=str(path)) from error
    show.data(str(path))


def stats(out: Built, as_json: Json = False) -> None:
    """The numbers of a dataset: hours, speakers, overlap, turn-taking, cues, drops.

    Examples:

      corpus stats dataset

      corpus stats dataset --json | jq .floor.offsets
    """
    from corpus.pipeline.stats import stats as count

    found = count(out)
    if as_json:
        show.json_line(found)
    else:
        _tell(found)


def _tell(found: Stats) -> None:
    splits = ", ".join(f"{s.clips} {s.split}" for s in found.splits if s.clips)
    rows = [
        ("recorded", f"{show.duration(found.recorded_us)} in {found.recordings} recordings"),
        ("written", f"{found.windows} windows in {found.clips} clips ({splits or 'none'})"),
        ("speech", f"{show.duration(found.speech_us)}, {found.speech_share:.1%} of the time"),
        ("overlap", f"{show.duration(found.overlap_us)}, {found.overlap_share:.1%} of the speech"),
        ("speakers", f"{len(found.speakers)}, counted per recording"),
        ("words", f"{found.words}, {found.words_per_minute:.0f} a minute of talk"),
        ("pictures", f"in {found.windows_with_picture} windows"),
        ("monologue", f"{show.duration(found.floor.longest_monologue_us)} the longest"),
    ]
    show.table(rows, ["", ""])
    floor = found.floor
    lengths = (
        ("units", floor.units),
        ("pauses", floor.pauses),
        ("gaps", floor.gaps),
        ("overlaps between", floor.overlaps_between),
        ("overlaps within", floor.overlaps_within),
        ("transfer offsets", floor.offsets),
    )
    show.data("")
    head = ["turn-taking", "count", "quartile", "median", "quartile"]
    show.table([_lengths(name, one) for name, one in lengths], head)
    if found.cues:
        show.data("")
        cues = [[c.label, c.kind, str(c.count), show.duration(c.total_us)] for c in found.cues]
        show.table(cues, ["cue", "kind", "count", "in all"])
    if found.drops:
        show.data("")
        drops = [[d.kind, d.stage, d.code, str(d.items), str(d.count)] for d in found.drops]
        show.table(drops, ["left out", "stage", "code", "items", "pieces"])


def _lengths(name: str, one: Lengths) -> list[str]:
    values = (one.low_us, one.median_us, one.high_us)
    return [name, str(one.count), *(f"{us / 1e6:.2f} s" if one.count else "-" for us in values)]


def catalog(
    out: Built,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One statement; nothing can be changed.")],
    as_json: Json = False,
) -> None:
    """Ask a dataset's catalog with SQL. It is open for reading only.

    Examples:

      corpus catalog dataset "SHOW ALL TABLES"

      corpus catalog dataset "SELECT label, count(*) FROM cues GROUP BY label" --json

      corpus catalog dataset "SELECT uri, speaker, text FROM transcripts JOIN recordings USING (recording_id)"
    """
    from corpus.pipeline.catalog import query

    columns, rows = query(out, sql)
    if as_json:
        for row in rows:
            show.json_line({name: _plain(value) for name, value in zip(columns, row, strict=True)})
        return
    show.data("\t".join(show.one_line(name) for name in columns))
    for row in rows:
        show.data("\t".join("" if value is None else show.one_line(str(value)) for value in row))


def _plain(value: Any) -> Any:
    """What DuckDB gives, as JSON knows it: times and big numbers as text, NaN as null."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def doctor(
    cache: Annotated[
        Path, typer.Option("--cache", envvar="CORPUS_CACHE_DIR", help="Where stage artifacts will lie.")
    ] = Path("."),
    as_json: Json = False,
) -> None:
    """Say what is installed, which models are present, and what to do about what is missing.

    Exit code 5 when something that a build needs is missing.

    Example: corpus doctor
    """
    from corpus.pipeline.doctor import examine

    facts = examine(cache)
    if as_json:
        for fact in facts:
            show.json_line(fact)
    else:
        show.table([[f.name, "ok" if f.ok else "--", f.detail] for f in facts], ["what", "", "found"])
        for fact in facts:
            if fact.todo:
                show.talk(f"{fact.name}: {fact.todo}")
    raise typer.Exit(0 if all(fact.ok for fact in facts) else 5)
