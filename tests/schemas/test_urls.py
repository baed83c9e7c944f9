"""Nothing of a URL that opens a door gets out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.pipeline.fetch import fetch
from corpus.pipeline.inputs import gather
from corpus.pipeline.items import Item
from corpus.schemas.errors import MediaError, UsageError
from corpus.schemas.urls import place_of, public_url, told

SECRET = "http://user:hunter2@127.0.0.1:9/a%20b.wav?token=T7731#f"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (SECRET, "http://127.0.0.1:9/a%20b.wav"),
        ("https://h/x.wav?X-Amz-Signature=1", "https://h/x.wav"),
        ("http://u:p@w@[::1]:80/x", "http://[::1]:80/x"),
        ("http://h?x=1/y", "http://h"),
        ("http://[/x.wav", "http://[/x.wav"),
        ("s3://bucket/key.wav", "s3://bucket/key.wav"),
        ("talk.wav?", "talk.wav?"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert public_url(url) == shown


def test_neither_items_nor_drops_nor_errors_hold_secrets(tmp_path: Path) -> None:
    lines = [{"uri": SECRET}, {"uri": SECRET, "channels": "x"}, {"uri": SECRET, "tracks": [{"uri": SECRET}]}]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("\n".join(map(json.dumps, [*lines, {"uri": "x.wav", "licence": [SECRET]}])))
    items, drops = gather([str(manifest), SECRET])
    assert items and drops
    assert {item.files[0].place for item in items} == {SECRET}
    shown = [drop.item + drop.reason for drop in drops]
    shown += [name for item in items if isinstance(item, Item) for name in (item.uri, item.files[0].uri)]
    with pytest.raises(MediaError) as caught:
        fetch(SECRET, tmp_path)
    for text in (*shown, str(caught.value), told(f"404, url={SECRET!r} token=T7731", SECRET)):
        assert "hunter2" not in text and "T7731" not in text


@pytest.mark.parametrize("text", ["s3://", "gs:///", "file://"])
def test_a_url_has_to_name_something(text: str) -> None:
    with pytest.raises(UsageError, match="neither bucket nor folder"):
        place_of(text)
    assert place_of(text + "a") == text + "a"
