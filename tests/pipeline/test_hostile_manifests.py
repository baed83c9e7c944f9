"""Lines of a manifest that a stranger wrote: each costs itself, and the sound ones stand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corpus.pipeline.inputs import gather
from corpus.schemas.codec import to_json

DEEP = "[" * 100_000
LINES = [
    "",
    "null",
    "7",
    '"good.wav"',
    "[]",
    "{}",
    DEEP,
    DEEP.replace("[", '{"a":'),
    "9" * 5000,
    '{"uri": ' + "9" * 5000 + "}",
    '{"uri": null}',
    '{"uri": ["good.wav"]}',
    '{"uri": ""}',
    '{"uri": "."}',
    '{"uri": "/"}',
    '{"uri": "\\u0000"}',
    '{"uri": "good.wav\\u0000.mp4"}',
    '{"uri": "\\udcff.wav"}',
    json.dumps({"uri": "a" * 5000 + ".wav"}),
    json.dumps({"uri": "../" * 3000 + "etc/passwd"}),
    '{"uri": "http://["}',
    '{"uri": "http://[::1"}',
    '{"uri": "good.wav", "tracks": {}}',
    '{"uri": "good.wav", "tracks": [null]}',
    '{"uri": "good.wav", "tracks": [{"uri": "good.wav", "offset_us": 1e30}]}',
    '{"uri": "good.wav", "tracks": [{"uri": "good.wav", "offset_us": NaN}]}',
    '{"uri": "good.wav", "tracks": [{"uri": "good.wav", "speaker": {}}]}',
    '{"uri": "good.wav", "speakers": "A"}',
    '{"uri": "good.wav", "channels": []}',
    '{"uri": "good.wav", "channels": "all"}',
    '{"uri": "good.wav", "sidecars": "x.rttm"}',
    '{"uri": "good.wav", "sidecars": [1]}',
    '{"uri": "good.wav", "licence": {}}',
    '{"uri": "good.wav", "unknown": 1}',
    '{"uri": "/dev/zero"}',
    '{"uri": "good.wav"',
    "\x00",
    "\ufeff{}",
]


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_bad_line_costs_itself_alone(number: int, tmp_path: Path) -> None:
    (tmp_path / "good.wav").write_bytes(b"RIFF")
    (tmp_path / "fine.wav").write_bytes(b"RIFF")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"uri": "fine.wav"}\n' + LINES[number] + "\n", encoding="utf-8", newline="\n")
    items, drops = gather([str(manifest)])
    assert [item.uri for item in items][:1] == ["fine.wav"]
    told = [drop for drop in drops if drop.kind == "fault"]
    # Only the empty line, and URLs that nobody has opened yet, may pass.
    assert len(told) == (LINES[number] != "" and "http" not in LINES[number]), (items, drops)
    # A fault is written to the catalog and the report: it names its item, and adds no more than a few lines.
    for drop in told:
        assert len(to_json(drop)) < len(drop.item) + 2000 and "\n" not in drop.item
