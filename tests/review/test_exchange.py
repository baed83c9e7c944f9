"""Reviews in other people's forms: out, changed there, and back."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.review.exchange import export_reviews, export_tiers, import_reviews
from corpus.review.store import opened
from corpus.review.tiers import SHOWN_FILE, Mark, Shown, reviews_of, tiers_of
from corpus.schemas.conversation import Cue, Turn, Word
from corpus.schemas.errors import CorpusError, FormatError, UsageError
from corpus.schemas.review import Judged, Review
from corpus.shards.read import open_clips

pytest.importorskip("pympi", reason='pip install "duplex-corpus[review]"')


def hold(start_us: int, stop_us: int, id_: str, kind: str = "pause") -> Cue:
    return Cue(
        label="hold", kind=kind, speaker="A", start_us=start_us, stop_us=stop_us, confidence=0.5,
        origin="hold/1", id=id_,
    )  # fmt: skip


NOD = Cue(
    label="visual",
    kind="nod",
    speaker=None,
    start_us=0,
    stop_us=400_000,
    confidence=0.5,
    origin="nod/1",
    id="c3",
)
TURNS = (
    Turn(speaker="A", start_us=0, stop_us=3_000_000, id="t1"),
    Turn(speaker="B: b", start_us=4_000_000, stop_us=5_000_000, id="t2"),
)
SHOWN = Shown(
    file="talk", recording="r" * 64, uri="talk.wav", duration_us=10_000_000, speakers=("A", "B: b"),
    cues=(hold(1_000_400, 1_500_000, "c1"), hold(1_400_000, 2_000_000, "c2", ""), NOD),
    words=(Word(speaker="A", start_us=0, stop_us=300_000, text="yes", after=",", id="w1"),),
    turns=TURNS,
)  # fmt: skip


def read(tiers: dict[str, list[Mark]], **more: Any) -> list[Review]:
    return reviews_of(SHOWN, tiers, annotator="ann", now_us=1, **more).reviews


def test_what_was_not_touched_says_nothing() -> None:
    tiers = tiers_of(SHOWN)
    assert [name for name in tiers if "hold" in name] == ["A: hold", "A: hold 2", "B: b: hold"]
    assert read(tiers) == []
    rounded = {
        name: [Mark(start_us=m.start_us // 1000 * 1000, stop_us=m.stop_us, text=f" {m.text} ") for m in marks]
        for name, marks in tiers.items()
    }
    assert read(rounded) == []
    assert read({}) == []


@pytest.mark.parametrize("form", ["eaf", "textgrid"])
def test_characters_that_xml_cannot_hold_come_back(form: str, tmp_path: Path) -> None:
    from corpus.review.elan import read_eaf, write_eaf
    from corpus.review.praat import read_textgrid, write_textgrid

    names = ("A\x00\x1b[31m", 'B "b"', "C\ufffe<x>&amp;", "A")
    words = [
        Word(speaker=name, start_us=at, stop_us=at + 300_000, text=text, id=f"w{at}")
        for at, name, text in zip(
            range(0, 4_000_000, 1_000_000), names, ("\x08\x0c", '"', "<b>&", "y\x1f"), strict=True
        )
    ]
    odd = replace(SHOWN, speakers=names, words=tuple(words), turns=(), cues=(), uri="\x01.wav")
    path = tmp_path / "odd"
    if form == "eaf":
        write_eaf(path, tiers_of(odd), odd.uri)
        tiers = read_eaf(path)
    else:
        write_textgrid(path, tiers_of(odd), odd.duration_us)
        tiers = read_textgrid(path)
    assert sum(map(len, tiers.values())) == len(words)
    done = reviews_of(odd, tiers, annotator="ann", now_us=1)
    assert (done.reviews, done.passed_over) == ([], [])


def test_each_change_is_the_review_that_it_means() -> None:
    tiers = tiers_of(SHOWN)
    tiers["A: hold"] = [Mark(start_us=1_000_000, stop_us=1_600_000, text="pause")]  # only its end was moved
    tiers["A: hold 2"] = []
    tiers["nobody: visual"] = [Mark(start_us=0, stop_us=400_000, text="shake")]
    tiers["B: b: backchannel 2"] = [Mark(start_us=4_100_000, stop_us=4_300_000, text="lexical")]
    tiers["A: words"] = [Mark(start_us=0, stop_us=300_000, text="yeah")]
    tiers["A: turns"] = [Mark(start_us=0, stop_us=2_500_000, text="talks")]
    tiers["my notes"] = [Mark(start_us=0, stop_us=1, text="?")]
    found = reviews_of(SHOWN, tiers, annotator="ann", now_us=1)
    assert found.passed_over == ["my notes"]
    said = {(r.verdict, r.item if r.verdict != "add" else "new"): r.becomes for r in found.reviews}
    assert said.keys() == {
        ("correct", "c1"), ("reject", "c2"), ("correct", "c3"), ("add", "new"), ("correct", "w1"),
        ("correct", "t1"),
    }  # fmt: skip
    moved = said["correct", "c1"][0].cue
    assert moved is not None and (moved.start_us, moved.stop_us, moved.kind) == (
        1_000_400,
        1_600_000,
        "pause",
    )
    added = said["add", "new"][0].cue
    assert added is not None and (added.label, added.kind, added.speaker) == (
        "backchannel",
        "lexical",
        "B: b",
    )
    word = said["correct", "w1"][0].word
    assert word is not None and (word.text, word.after) == ("yeah", ",")
    assert all(r.around for r in found.reviews)
    assert [r.id for r in read(tiers)] == [r.id for r in found.reviews]
    undone = {r.id for r in found.reviews}
    assert undone.isdisjoint(r.id for r in read(tiers, undone=undone))


@pytest.mark.parametrize(
    ("tier", "mark", "why"),
    [
        ("Zoe: hold", Mark(start_us=0, stop_us=1, text="pause"), "no speaker is called 'Zoe'"),
        ("A: hold", Mark(start_us=7_000_000, stop_us=8_000_000, text="puase"), "not a kind of hold.*"),
        ("nobody: words", Mark(start_us=0, stop_us=1, text="x"), "need a speaker"),
        ("A: hold", Mark(start_us=9_000_000, stop_us=11_000_000, text="pause"), "after the end"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named_with_its_place(tier: str, mark: Mark, why: str) -> None:
    with pytest.raises(FormatError, match=why) as told:
        read({tier: [mark]})
    assert "talk" in str(told.value) and tier.split(":")[0] in str(told.value)


@pytest.mark.parametrize("form", ["eaf", "textgrid"])
def test_labels_go_to_another_tool_and_come_back(
    form: str, dataset: Path, tmp_path: Path, talks: Path, build_talks: Callable[..., Any]
) -> None:
    folder = tmp_path / "out"
    assert export_tiers(dataset, folder, form).files == 3
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert export_tiers(dataset, tmp_path / "again", form).files == 3
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    with pytest.raises(UsageError, match="already contains"):
        export_tiers(dataset, folder, form)
    assert import_reviews(dataset, folder, "ann").new == 0
    with pytest.raises(UsageError, match="annotator is unknown"):
        import_reviews(dataset, folder)
    file = min(path for path in folder.iterdir() if path.name != SHOWN_FILE)
    changed = change_first_uh(file)
    done = import_reviews(dataset, folder, "ann")
    assert (done.new, done.known) == (1, 0)
    assert import_reviews(dataset, folder, "ann").new == 0
    with opened(dataset) as store:
        ((about, verdict, text),) = store.query("SELECT about, verdict, text FROM reviews_current")[1]
    assert (about, verdict, text) == ("word", "correct", "elephant")
    build_talks(talks, dataset)
    assert "elephant" in {word.text for clip in open_clips(dataset) for word in clip.json.words}
    file.write_bytes(first[file.name])  # changed back: the decision is taken back too
    assert import_reviews(dataset, folder, "ann").new == 1
    with opened(dataset) as store:
        assert store.query("SELECT * FROM reviews_current")[1] == []
    file.write_bytes(changed)
    assert import_reviews(dataset, folder, "ann").new == 1
    with opened(dataset) as store:
        assert store.query("SELECT text FROM reviews_current")[1] == [("elephant",)]


def test_words_without_times_are_counted_as_left_out(dataset: Path, tmp_path: Path) -> None:
    import duckdb

    before = export_tiers(dataset, tmp_path / "all", "eaf").left_out
    with duckdb.connect(str(dataset / "catalog.duckdb")) as catalog:
        catalog.execute("UPDATE words SET start_us = NULL, stop_us = NULL WHERE text = 'uh'")
        ((without,),) = catalog.execute("SELECT count(*) FROM words WHERE start_us IS NULL").fetchall()
    assert without
    assert export_tiers(dataset, tmp_path / "timed", "eaf").left_out == before + without


def change_first_uh(file: Path) -> bytes:
    """By hand, as it stands in the file."""
    text = file.read_text()
    text, count = re.subn(r'(>|")(uh|um|yeah|right|so)(<|")', r"\1elephant\3", text, count=1)
    assert count == 1
    file.write_text(text)
    return file.read_bytes()


@pytest.mark.parametrize("form", ["eaf", "textgrid"])
def test_damaged_files_are_refused_with_their_name(form: str, dataset: Path, tmp_path: Path) -> None:
    export_tiers(dataset, tmp_path / "out", form)
    file = min(path for path in (tmp_path / "out").iterdir() if path.name != SHOWN_FILE)
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 3], b"\x00\xff" * 50, b"<a><b></a>", b"[1, 2"):
        file.write_bytes(damaged)
        with pytest.raises(FormatError) as told:
            import_reviews(dataset, tmp_path / "out", "ann")
        assert file.name in str(told.value)
    (tmp_path / "out" / SHOWN_FILE).unlink()
    with pytest.raises(FormatError, match="changes cannot be found"):
        import_reviews(dataset, tmp_path / "out", "ann")


def decisions(dataset: Path) -> list[Review]:
    clip = open_clips(dataset)[0].json
    given: dict[str, Any] = {"recording": clip.recording, "annotator": "ann", "decided_at_us": 1}
    one, two = (Judged(cue=cue) for cue in clip.cues[:2])
    assert one.cue is not None and two.cue is not None
    moved = Judged(cue=replace(two.cue, start_us=two.cue.start_us + 10_000, id=""))
    with opened(dataset) as store:
        return store.add(
            [
                Review(**given, id="1", item=one.cue.id, verdict="accept", judged=one, note='=1+1 "b"\n=1'),
                Review(**given, id="2", item=two.cue.id, verdict="correct", judged=two, becomes=(moved,)),
                Review(**given, id="3", item=one.cue.id, verdict="undo", judged=None, undoes="1"),
            ]
        )  # fmt: skip


@pytest.mark.parametrize("ending", ["parquet", "csv", "json", "jsonl"])
def test_all_reviews_in_one_file_and_back(
    ending: str, dataset: Path, built_once: Path, tmp_path: Path
) -> None:
    import shutil

    kept = decisions(dataset)
    file = tmp_path / f"reviews.{ending}"
    assert export_reviews(dataset, file).reviews == 3
    if ending == "csv":  # a spreadsheet would calculate it
        (row, *_) = csv.DictReader(file.read_text().splitlines(keepends=True))
        assert row["note"] == '\'=1+1 "b"\n=1'
    assert import_reviews(dataset, file).new == 0
    fresh = shutil.copytree(built_once, tmp_path / "fresh")
    assert import_reviews(fresh, file).new == 3 and import_reviews(fresh, file).new == 0
    with opened(fresh) as store:
        found = store.reviews()
    assert [(r.id, r.verdict, r.item, r.judged, r.becomes, r.undoes, r.note) for r in found] == [
        (r.id, r.verdict, r.item, r.judged, r.becomes, r.undoes, r.note) for r in kept
    ]


def test_a_row_of_ones_own_is_a_decision(dataset: Path, tmp_path: Path) -> None:
    clip = open_clips(dataset)[0].json
    cue, word = clip.cues[0], next(w for w in clip.words if w.start_us is not None)
    rows = [
        {"recording": clip.recording, "item": cue.id, "verdict": "reject", "annotator": "bob"},
        {"recording": clip.recording, "item": cue.id, "verdict": "correct", "stop_us": cue.stop_us + 30_000},
        {"recording": clip.recording, "item": word.id, "verdict": "correct", "about": "word", "text": "ant"},
        {"recording": clip.recording, "item": "a1", "verdict": "add", "label": "hold", "kind": "pause",
         "speaker": cue.speaker, "start_us": 1_000_000, "stop_us": 1_200_000},
    ]  # fmt: skip
    file = tmp_path / "mine.csv"
    with file.open("w", newline="") as opened_file:
        names = [
            "recording",
            "item",
            "verdict",
            "annotator",
            "about",
            "label",
            "kind",
            "speaker",
            "start_us",
            "stop_us",
            "text",
        ]
        writer = csv.DictWriter(opened_file, names)
        writer.writeheader()
        writer.writerows(rows)
    assert import_reviews(dataset, file, "ann").new == 4 and import_reviews(dataset, file, "ann").new == 0
    with opened(dataset) as store:
        found = store.query(
            "SELECT annotator, verdict, label, text, stop_us - start_us FROM reviews ORDER BY sequence"
        )[1]
    length_us = cue.stop_us - cue.start_us
    assert word.start_us is not None and word.stop_us is not None
    assert found == [
        ("bob", "reject", cue.label, None, length_us),
        ("ann", "correct", cue.label, None, length_us + 30_000),
        ("ann", "correct", None, "ant", word.stop_us - word.start_us),
        ("ann", "add", "hold", None, 200_000),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n", "recording,item,verdict\nx,y,accept\n", "recording,item,verdict\nx,y,perhaps\n",
        "recording,item,verdict\nx,y,accept,more\n", "recording,item,verdict,start_us\nx,y,add,soon\n",
        "recording,item,verdict,judged\nx,y,accept,{\n", "\x00", '"',
    ],
)  # fmt: skip
def test_rows_that_cannot_be_meant_are_refused_and_nothing_is_kept(
    text: str, dataset: Path, tmp_path: Path
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(CorpusError) as told:
        import_reviews(dataset, file, "ann")
    assert "bad.csv" in str(told.value)
    with opened(dataset) as store:
        assert store.sequence == 0


def test_other_forms_are_refused(dataset: Path, tmp_path: Path) -> None:
    for name, content in (
        ("x.txt", b""),
        ("x.json", b"{"),
        ("x.jsonl", b"{}\n"),
        ("x.parquet", b"PAR1"),
        ("x.csv", b"\xff\xfe"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorpusError):
            import_reviews(dataset, tmp_path / name, "ann")
    with pytest.raises(UsageError, match="is not a format"):
        export_tiers(dataset, tmp_path / "o", "docx")
    with pytest.raises(UsageError, match="not a format"):
        export_reviews(dataset, tmp_path / "x.docx")
