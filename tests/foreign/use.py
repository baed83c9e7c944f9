"""All that reads a dataset, called on one that may be damaged: each ends well or says what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from corpus.align.formats.write import FORMATS
from corpus.cli.annotation import _of_dataset
from corpus.pipeline.build import build_dataset
from corpus.pipeline.plan import plan
from corpus.pipeline.relabel import relabel_dataset
from corpus.pipeline.request import Request
from corpus.report.catalog import open_catalog
from corpus.report.catalog_read import read_conversation, recordings
from corpus.report.inspect import clip_page
from corpus.report.page import write_report
from corpus.report.stats import dataset_stats
from corpus.report.stats_text import stats_text
from corpus.review.exchange import export_reviews, export_tiers, import_reviews
from corpus.review.room import Room
from corpus.schemas.conversation import CUE_KINDS
from corpus.schemas.errors import CorpusError
from corpus.shards.read import open_clips
from corpus.shards.stream import stream_clips
from corpus.shards.verify import verify_dataset
from corpus.trainer.data.loader import Loader
from corpus.trainer.presets import preset

Use = Callable[[Path, Path], object]
"""From the dataset and a folder for what is written outside of it."""


class Quiet:
    """A build's talk that nobody reads."""

    def phase(self, name: str, total: int) -> None: ...

    def at(self, done: float, detail: str) -> None: ...

    def say(self, line: str) -> None: ...


def read(out: Path, _: Path) -> None:
    clips = open_clips(out)
    for clip in clips:
        for part in (lambda c: c.json, lambda c: c.audio(), lambda c: c.mel(), lambda c: c.activity(),
                     lambda c: c.cues_by_window(), lambda c: c.answers(), lambda c: c.audio_end(800),
                     lambda c: [c.picture(k) for k in range(c.json.windows)]):  # fmt: skip
            with suppress(CorpusError):
                part(clip)
    with suppress(CorpusError):
        clips.find("meeting")


def stream(out: Path, _: Path) -> None:
    for clip in stream_clips(out, on_bad=lambda error: str(error).encode() and None):
        with suppress(CorpusError):
            assert clip.json.key
    for _clip in stream_clips(out, split="train"):
        pass


def verify(out: Path, _: Path) -> None:
    for problem in verify_dataset(out).problems:
        f"{problem.where}{problem.what}".encode()


def inspect(out: Path, _: Path) -> None:
    for clip in open_clips(out):
        with suppress(CorpusError):
            page = clip_page(clip)
            assert "<script>alert" not in page
            assert "<img src=x" not in page
            page.encode()


def stats(out: Path, _: Path) -> None:
    "\n".join(stats_text(dataset_stats(out))).encode()


def report(out: Path, _: Path) -> None:
    write_report(out, dataset_stats(out))
    page = (out / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def talk(out: Path, _: Path) -> None:
    with open_catalog(out) as catalog:
        for one in recordings(catalog):
            read_conversation(catalog, one)


def annotations(out: Path, outside: Path) -> None:
    for conversation in _of_dataset(out):
        for form in FORMATS.values():
            form.write(conversation)[0].encode()


def tiers(out: Path, outside: Path) -> None:
    for number, form in enumerate(("eaf", "textgrid")):
        with suppress(CorpusError):
            export_tiers(out, outside / f"tiers{number}", form)


def review(out: Path, outside: Path) -> None:
    room = Room(out)
    try:
        room.state("ann")
        for mode in ("uncertain", "random", "disagreement", "gold"):
            with suppress(CorpusError):
                room.next("ann", mode, "", 5, [])
        for label in CUE_KINDS:
            room.example(label)
        for one in room.catalog.recordings():
            with suppress(CorpusError):
                room.media.samples(one, 0, 1_000_000)
                room.media.outlines(one, 0, 1_000_000)
        room.disputes()
    finally:
        room.close()
    export_reviews(out, outside / "reviews.csv")


def take_reviews(out: Path, _: Path) -> None:
    import_reviews(out, out / "reviews.parquet")


def train(out: Path, _: Path) -> None:
    base = preset("tiny")
    data = replace(base.data, data=str(out), length=1024, rows=2)
    loader = Loader(replace(base, data=data, device="cpu"), epochs=1, ahead=0)
    for _batch in loader:
        pass


def rebuild(request: Request) -> tuple[Use, Use, Use]:
    """`plan`, `build` with the inputs and settings that made the dataset, and `label`."""

    def build(out: Path, outside: Path) -> None:
        build_dataset(replace(request, out=out), Quiet())

    def planned(out: Path, outside: Path) -> None:
        plan(replace(request, out=out))

    def label(out: Path, outside: Path) -> None:
        relabel_dataset(out, None, Quiet())

    return planned, build, label


def failure(use: Use, out: Path, outside: Path, longest_s: float) -> str | None:
    """What is wrong with how a use ended; None where it ended well or with one of our own errors."""
    begun = time.monotonic()
    try:
        use(out, outside)
    except CorpusError as error:
        if not error.what or "Traceback" in str(error):
            return f"says nothing: {error!r}"
        with suppress(UnicodeEncodeError):
            str(error).encode()
            return _slow(begun, longest_s)
        return f"cannot be printed: {error!r}"
    except Exception as error:
        import traceback

        last = traceback.extract_tb(error.__traceback__)
        ours = [
            f"{Path(f.filename).name}:{f.lineno}"
            for f in last
            if "/corpus/" in f.filename or "faults" in f.filename
        ]
        return f"{type(error).__name__}: {str(error)[:200]!r} at {' '.join(ours[-4:])}"
    return _slow(begun, longest_s)


def _slow(begun: float, longest_s: float) -> str | None:
    spent_s = time.monotonic() - begun
    return f"took {spent_s:.1f} s" if spent_s > longest_s else None
