"""The split is drawn before anything is decoded: from the manifest, annotation files and reviews."""

from __future__ import annotations

import json
from pathlib import Path

from corpus.pipeline.identify import identify
from corpus.pipeline.items import Item, ItemFile
from corpus.pipeline.names import names_before, vouched_for
from corpus.schemas.codec import to_json
from corpus.schemas.review import Judged, Review
from corpus.schemas.settings import Settings


def review(old: str, new: str) -> str:
    """A speaker called otherwise."""
    return to_json(
        Review(
            id="r",
            recording="a" * 64,
            item="s",
            verdict="correct",
            judged=Judged(speaker=old),
            becomes=(Judged(speaker=new),),
            annotator="ann",
            decided_at_us=1,
        )
    )


def test_manifest_tracks_and_conversation_files_name_people(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    talk = {"schema": "corpus.conversation/2", "recording": "a", "duration_us": 1, "speakers": ["Cleo", "S1"]}
    (tmp_path / "a.json").write_text(json.dumps({**talk, "turns": [], "named_speakers": ["Cleo"]}))
    (tmp_path / "a.wav.json").write_text('{"broken')
    file = ItemFile(place=str(tmp_path / "a.wav"), uri="a.wav", speaker="Bob")
    found = identify(Item(uri="a", files=(file,), speakers=("Ann",)), {}, tmp_path)
    assert len(found.sidecars) == 2
    assert names_before(found, vouched_for(found, Settings()), ()) == ("Ann", "Bob", "Cleo")
    assert names_before(found, vouched_for(found, Settings(sidecars=False)), ()) == ("Ann", "Bob")


def test_a_new_name_in_reviews_binds_and_local_names_do_not(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    file = ItemFile(place=str(tmp_path / "a.wav"), uri="a.wav")
    found = identify(Item(uri="a", files=(file,), speakers=("Ann",)), {}, tmp_path)
    texts = (review("Anna", "Anne"), review("Ann", "Anna"), review("S2", "Bob"))
    assert names_before(found, (), texts) == ("Ann", "Anna", "Anne")
