from __future__ import annotations

import fcntl
import io
import json
import shutil
import socket
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request as Call
from urllib.request import urlopen

import numpy as np
import pytest

from corpus.review.guard import RATE, Door, Guard
from corpus.review.meanings import MEANINGS
from corpus.review.media import Media
from corpus.review.original import Film
from corpus.review.server import ASSETS, PAGE
from corpus.schemas.conversation import CUE_KINDS
from corpus.schemas.errors import UsageError
from corpus.schemas.marks import Marks
from corpus.schemas.reviews_file import last_sequence
from corpus.shards.read import open_clips

Started = Callable[..., Any]
Plain = dict[str, Any]


def verdict(item: Plain, what: str = "accept", number: int = 0, **more: object) -> Plain:
    made = {"id": f"{item['item']}-{what}-{number}", "recording": item["recording"], "item": item["item"]}
    return {**made, "verdict": what, "draw": item["draw"], **more}


def moved(item: Plain, by_us: int) -> list[Plain]:
    cue = item["cue"]
    return [{"cue": {**cue, "start_us": cue["start_us"] + by_us, "stop_us": cue["stop_us"] + by_us}}]


def test_a_decision_is_kept_counted_and_in_the_parquet_soon(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    (item,) = server.next()
    status, told = server.decide(verdict(item))
    assert status == 200 and told["kept"][0]["sequence"] == 1 and told["progress"]["done"] == 1
    deadline = time.monotonic() + 5
    while last_sequence(dataset) < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert last_sequence(dataset) == 1
    assert server.next()[0]["item"] != item["item"]
    log = server.stop()
    assert "annotator='ann' verdict=accept" in log and item["item"] in log


def test_an_item_has_all_that_is_needed_to_judge_it(standing: Any) -> None:
    for item in standing.next(40):
        cue = item["cue"]
        assert item["from_us"] <= cue["start_us"] <= cue["stop_us"] <= item["to_us"]
        assert cue["speaker"] in (None, *item["speakers"]) and item["channels"][-1] == "room"
        assert item["turns"] or cue["speaker"] is None
    where = f"{item['recording']}/{item['from_us']}-{item['to_us']}"
    assert len(standing.ask(f"/outlines/{where}")[1]["channels"]) == len(item["channels"])


def test_two_annotators_get_different_items_until_overlap_is_asked_for(
    dataset: Path, serve: Started, tmp_path: Path
) -> None:
    server = serve(dataset)
    mine = {i["item"] for i in server.next(10, "ann")}
    assert mine.isdisjoint(i["item"] for i in server.next(10, "bob"))
    second = shutil.copytree(dataset, tmp_path / "second")
    (second / "labels.duckdb").unlink()
    server = serve(second, "--overlap", "2")
    mine = {i["item"] for i in server.next(10, "ann")}
    assert mine == {i["item"] for i in server.next(10, "bob")}


def test_every_cue_comes_once_and_then_none(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    seen: list[tuple[str, str]] = []
    while items := server.next(20):
        seen += [(i["recording"], i["item"]) for i in items]
        assert server.decide(*(verdict(i) for i in items))[0] == 200
    whole = server.ask("/api/state")[1]["progress"]
    assert len(seen) == len(set(seen)) == whole["whole"] == whole["done"] > 40


def test_a_log_that_nobody_reads_stops_no_decision(dataset: Path) -> None:
    """A pipe takes 64 KiB, and 4 where a machine has many; this test's log is longer."""
    command = [sys.executable, "-m", "corpus.cli.main", "review", "serve", str(dataset), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        fcntl.fcntl(process.stderr.fileno(), fcntl.F_SETPIPE_SZ, 4096)
        url = process.stdout.readline().strip()
        headers = {"content-type": "application/json", "x-annotator": "ann"}
        recording = open_clips(dataset)[0].json.recording
        cue = open_clips(dataset)[0].json.cues[0].id
        kept = 0
        for batch in range(3):
            plain = [
                {"id": f"{batch}-{n}", "recording": recording, "item": cue, "verdict": "accept"}
                for n in range(50)
            ]
            call = Call(f"{url}api/reviews", json.dumps({"reviews": plain}).encode(), headers)
            with urlopen(call, timeout=20) as answer:
                kept += len(json.load(answer)["kept"])
        process.kill()
    assert kept == 150


def test_an_undo_brings_the_item_back(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    (item,) = server.next()
    review = verdict(item)
    server.decide(review)
    last = server.ask("/api/last")[1]
    assert last["id"] == review["id"] and last["item"]["item"] == item["item"]
    status, told = server.decide({"id": "undo1", "verdict": "undo", "undoes": review["id"]})
    assert status == 200 and told["progress"]["done"] == 0
    assert server.next()[0]["item"] == item["item"]
    assert server.decide({"id": "undo2", "verdict": "undo", "undoes": review["id"]}, who="bob")[0] == 422


def test_a_second_server_on_a_dataset_is_told_so(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    command = [sys.executable, "-m", "corpus.cli.main", "review", "serve", str(dataset), "--port", "0"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode != 0 and "another process has the labels open" in second.stderr
    assert server.next()


def test_what_a_page_holds_for_another_dataset_waits_for_it(standing: Any) -> None:
    (item,) = standing.next()
    body = {"reviews": [verdict(item)], "store": "another"}
    assert standing.ask("/api/reviews", body)[0] == 409
    assert standing.ask("/api/state")[1]["sequence"] == 0


def test_a_decision_survives_that_its_item_and_the_server_are_gone(dataset: Path, serve: Started) -> None:
    """The page sends what it judged along."""
    server = serve(dataset)
    (item,) = server.next()
    gone = {**item["cue"], "id": "cgone", "start_us": item["cue"]["start_us"] + 7}
    asked = {**verdict(item), "item": "cgone"}
    assert server.decide(asked)[0] == 422
    assert server.decide({**asked, "judged": {"cue": {**gone, "id": "other"}}})[0] == 422
    assert server.decide({**asked, "judged": {"cue": gone}})[0] == 200


def test_words_in_dispute_are_ruled_on(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    item = next(i for i in server.next(40) if i["words"])
    word = item["words"][0]
    base = {"recording": item["recording"], "item": word["id"], "about": "word"}
    for who, text in (("ann", "one"), ("bob", "two")):
        becomes = [{"word": {**word, "text": text, "id": ""}}]
        status, told = server.decide({**base, "id": who, "verdict": "correct", "becomes": becomes}, who=who)
        assert status == 200, told
    (dispute,) = server.ask("/api/disputes")[1]
    assert dispute["judged"]["word"]["text"] == word["text"]
    said = {s["annotator"]: s["becomes"][0]["word"]["text"] for s in dispute["said"]}
    assert said == {"ann": "one", "bob": "two"}
    ruling = {**base, "id": "r", "verdict": "correct", "becomes": dispute["said"][1]["becomes"]}
    assert server.decide({**ruling, "role": "adjudication"}, who="judge")[0] == 200
    assert server.ask("/api/disputes")[1] == []


def test_cues_that_were_added_differently_are_ruled_on_too(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    (item,) = server.next()
    cue = {
        **item["cue"],
        "label": "hesitation",
        "start_us": 1_000_000,
        "stop_us": 1_500_000,
        "id": "",
        "spans": [],
    }
    cue["speaker"] = item["speakers"][0]
    for who, kind in (("ann", "filled_pause"), ("bob", "silent_pause")):
        asked = {"id": who, "recording": item["recording"], "item": f"a{who}", "verdict": "add"}
        status, told = server.decide({**asked, "becomes": [{"cue": {**cue, "kind": kind}}]}, who=who)
        assert status == 200, told
    (disputed,) = server.next(5, "judge", mode="disagreement")
    assert disputed["cue"]["label"] == "hesitation" and disputed["cue"]["start_us"] == 1_000_000
    assert {said["annotator"] for said in disputed["said"]} == {"ann", "bob"}
    assert server.decide(verdict(disputed, role="adjudication"), who="judge")[0] == 200
    assert server.next(5, "judge", mode="disagreement") == []


def test_a_decision_sent_again_after_a_kill_is_one(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    (item,) = server.next()
    server.decide(verdict(item))
    server.kill()
    server.start()
    status, told = server.decide(verdict(item))
    assert status == 200 and told["kept"][0]["sequence"] == 1
    assert server.ask("/api/state")[1]["sequence"] == 1


def test_disagreements_go_to_the_adjudicator_and_a_ruling_ends_them(dataset: Path, serve: Started) -> None:
    server = serve(dataset, "--overlap", "2")
    (item,) = server.next(who="ann")
    server.decide(verdict(item, "accept"), who="ann")
    server.decide(verdict(item, "reject"), who="bob")
    (disputed,) = server.next(5, "judge", mode="disagreement")
    assert disputed["item"] == item["item"]
    assert {(s["annotator"], s["verdict"]) for s in disputed["said"]} == {
        ("ann", "accept"),
        ("bob", "reject"),
    }
    report = server.ask("/api/agreement")[1]
    assert (report["doubly"], report["disputed"]) == (1, 1)
    server.decide(verdict(item, "reject", 1, role="adjudication"), who="judge")
    assert server.next(5, "judge", mode="disagreement") == []
    assert server.ask("/api/agreement")[1]["disputed"] == 0


def test_gold_is_what_was_ruled_on_and_comes_every_so_often(dataset: Path, serve: Started) -> None:
    server = serve(dataset, "--gold-every", "2")
    (item,) = server.next(who="judge")
    server.decide(verdict(item, "accept", role="adjudication"), who="judge")
    drawn = server.next(4, "ann")
    assert [i["draw"] for i in drawn] == ["uncertain", "gold", "uncertain", "uncertain"]
    assert drawn[1]["item"] == item["item"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"item": "nobody"}, 422),
        ({"recording": "0" * 64}, 422),
        ({"verdict": "perhaps"}, 422),
        ({"verdict": "correct", "becomes": []}, 422),
        ({"verdict": "correct", "becomes": [{"cue": {"label": "nonsense"}}]}, 422),
        ({"note": "x" * 3000}, 422),
        ({"id": ""}, 422),
        ({"id": "x" * 65}, 422),
        ({"spent_ms": "long"}, 422),
        ({"becomes": "text"}, 422),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_reason(standing: Any, change: Plain, status: int) -> None:
    (item,) = standing.next()
    found, told = standing.decide({**verdict(item), **change})
    assert (found, bool(told["error"])) == (status, True)
    assert standing.ask("/api/state")[1]["sequence"] == 0


def test_spans_outside_or_inverted_are_refused(standing: Any) -> None:
    (item,) = standing.next()
    for by_us in (-(10**9), 10**9):
        assert standing.decide(verdict(item, "correct", becomes=moved(item, by_us)))[0] == 422
    cue = item["cue"]
    inverted = {"cue": {**cue, "start_us": cue["stop_us"], "stop_us": cue["start_us"]}}
    assert standing.decide(verdict(item, "correct", becomes=[inverted]))[0] == 422
    stranger = {"cue": {**cue, "speaker": "Nobody"}}
    assert standing.decide(verdict(item, "correct", becomes=[stranger]))[0] == 422


def test_one_bad_review_keeps_out_its_whole_batch(standing: Any) -> None:
    one, two = standing.next(2)
    assert standing.decide(verdict(one), {**verdict(two), "verdict": "?"})[0] == 422
    assert standing.ask("/api/state")[1]["sequence"] == 0


def test_two_tabs_that_decide_one_item_are_both_kept_and_the_last_counts(
    dataset: Path, serve: Started
) -> None:
    server = serve(dataset)
    (item,) = server.next()
    server.decide(verdict(item, "accept"))
    server.decide(verdict(item, "reject"))
    rows = server.ask("/api/sql", {"sql": "SELECT verdict FROM reviews_current"})[1]["rows"]
    assert rows == [["reject"]] and server.ask("/api/state")[1]["sequence"] == 2


def test_a_clients_wrong_clock_decides_nothing(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    (item,) = server.next()
    server.decide(verdict(item, "accept", client_at_us=2**52))
    server.decide(verdict(item, "reject", client_at_us=0))
    rows = server.ask("/api/sql", {"sql": "SELECT verdict FROM reviews_current"})[1]["rows"]
    assert rows == [["reject"]]


def test_a_dataset_built_anew_is_noticed_and_decisions_go_on(
    dataset: Path, serve: Started, talks: Path, build_talks: Callable[..., Any]
) -> None:
    server = serve(dataset)
    (item,) = server.next()
    build_talks(talks, dataset, shift_silence_us=100_000)
    deadline = time.monotonic() + 20
    while server.ask("/api/state")[1]["generation"] < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert server.ask("/api/state")[1]["generation"] == 2
    assert server.decide(verdict(item))[0] == 200


def test_sound_is_the_channels_samples_and_answers_ranges(standing: Any) -> None:
    clips = open_clips(standing.out)
    clip = clips[0].json
    start_us, stop_us = clip.start_us + 400_000, clip.stop_us + 600_000
    path = f"/sound/{clip.recording}/{start_us}-{stop_us}"
    heard = {}
    for channel in ("mix", "0", "1"):
        status, content, headers = standing.ask(f"{path}/{channel}.wav")
        assert status == 200 and headers["accept-ranges"] == "bytes"
        with wave.open(io.BytesIO(content)) as file:
            assert (file.getframerate(), file.getnchannels()) == (16_000, 1)
            heard[channel] = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    whole = np.concatenate([clips[0].audio(), clips[1].audio()], 1)[:, 6400 : 6400 + len(heard["0"])]
    assert np.array_equal(heard["0"], whole[0]) and np.array_equal(heard["1"], whole[1])
    assert np.array_equal(heard["mix"], whole.sum(0, dtype=np.int32).clip(-32768, 32767))
    whole_file = standing.ask(f"{path}/0.wav")[1]
    for asked, part in (
        ("bytes=10-19", slice(10, 20)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-5", slice(-5, None)),
    ):
        status, content, headers = standing.ask(f"{path}/0.wav", headers={"range": asked})
        assert status == 206 and content == whole_file[part]
    assert standing.ask(f"{path}/0.wav", headers={"range": "bytes=99999999-"})[0] == 416


def test_pictures_come_with_their_own_times(standing: Any, media: Any) -> None:
    film = next(clip.json for clip in open_clips(standing.out) if clip.json.video is not None)
    _, content, _ = standing.ask(f"/pictures/{film.recording}/2000000-4000000")
    head, _, rest = content.partition(b"\n")
    told = json.loads(head)
    assert len(told) == 61  # all of the original film, from what stands on the screen at first
    assert [t["pts_us"] for t in told] == sorted(t["pts_us"] for t in told)
    for one in told:
        number = media.read_number(media.jpeg_luma(rest[: one["size"]]))
        rest = rest[one["size"] :]
        assert abs(number / 30 - one["pts_us"] / 1e6) < 0.002
    assert rest == b""


def test_without_the_original_each_window_has_its_picture(built_once: Path, tmp_path: Path) -> None:
    film = next(clip.json for clip in open_clips(built_once) if clip.json.video is not None)
    films = {film.recording: Film(stream=0, offset_us=0)}
    counts = []
    for number, change in enumerate((lambda mark: mark, lambda mark: replace(mark, bytes=1), None)):
        out = shutil.copytree(built_once, tmp_path / str(number))
        if change is None:
            (out / ".cache" / "marks.arrow").write_bytes(b"no rows")
        else:
            marks = Marks(out / ".cache")
            marks.save(frozenset(), {"x": map(change, marks.but(frozenset()).values())})
        content = Media(out, films).pictures(film.recording, 2_000_000, 4_000_000)
        counts.append(len(json.loads(content.partition(b"\n")[0])))
    assert counts[0] == 61 and all(10 <= count <= 16 for count in counts[1:])


# -- who is let in ----------------------------------------------------------------------------


def test_another_name_or_origin_is_refused(standing: Any) -> None:
    assert standing.ask("/api/state", headers={"host": "evil.example"})[0] == 421
    assert standing.ask("/api/state", headers={"host": f"evil.example:{standing.port}"})[0] == 421
    assert standing.ask("/api/next", {}, headers={"origin": "http://evil.example"})[0] == 403
    assert standing.ask("/api/next", {}, headers={"origin": "null"})[0] == 403
    assert standing.ask("/api/state", headers={"sec-fetch-site": "cross-site"})[0] == 403
    assert standing.ask("/api/state", headers={"origin": standing.url.rstrip("/")})[0] == 200
    assert standing.ask("/api/next", {}, headers={"content-type": "text/plain"})[0] == 415


def test_no_path_reaches_the_file_system(standing: Any) -> None:
    for path in (
        "/page/../store.py", "/page/%2e%2e/store.py", "/page/..%2fstore.py", "/page//etc/passwd",
        "/page/review.html%00", "/../../etc/passwd", "/sound/../../etc/passwd/0-1/mix.wav",
        "/sound/x/0-1/..%2f..%2fetc%2fpasswd.wav", "/labels.duckdb", "/manifest.json",
    ):  # fmt: skip
        status, content, _ = standing.ask(path)
        assert status in (400, 404, 422) and b"root:" not in (content if isinstance(content, bytes) else b"")


def test_sql_reads_the_reviews_and_nothing_else(standing: Any) -> None:
    for statement in (
        "DROP TABLE reviews", "SELECT * FROM read_csv('/etc/passwd')", "COPY reviews TO '/tmp/x.csv'",
        "ATTACH '/tmp/y.duckdb'", "INSTALL httpfs", "SET enable_external_access = true",
        "SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM '/etc/passwd'", "SELECT 1; DROP TABLE reviews", "PRAGMA database_list",
    ):  # fmt: skip
        status, told, _ = standing.ask("/api/sql", {"sql": statement})
        assert status == 422, (statement, told)
    assert standing.ask("/api/sql", {"sql": "SELECT count(*) FROM reviews"})[1]["rows"] == [[0]]


def test_an_annotators_name_is_text_and_nothing_more(dataset: Path, serve: Started) -> None:
    server = serve(dataset)
    (item,) = server.next(who="x'); DROP TABLE reviews; --")
    assert server.decide(verdict(item), who="x'); DROP TABLE reviews; --")[0] == 200
    assert server.ask("/api/state")[1]["sequence"] == 1
    for name in ("", " ann", "a\nb", "x" * 65):
        assert server.decide(verdict(item), who=name)[0] == 422


def test_the_policy_names_no_other_origin_and_the_page_keeps_to_it(standing: Any) -> None:
    status, content, headers = standing.ask("/")
    policy = headers["content-security-policy"]
    assert (
        status == 200 and "http" not in policy and "unsafe" not in policy and "default-src 'none'" in policy
    )
    for name in ASSETS:
        text = (PAGE / name).read_text()
        assert "http://" not in text and "https://" not in text and " style=" not in text, name
    assert b"<script>" not in content
    assert standing.ask("/page/page.css")[0] == standing.ask("/page/clip.css")[0] == 200


def test_too_much_at_once_is_refused(standing: Any) -> None:
    assert standing.ask("/api/reviews", {"reviews": [], "padding": "x" * 300_000})[0] == 413
    assert standing.ask("/api/reviews", {"reviews": []})[0] == 422
    with socket.create_connection(("127.0.0.1", standing.port)) as raw:
        host = f"Host: 127.0.0.1:{standing.port}\r\nContent-Type: application/json\r\n"
        raw.sendall(f"POST /api/reviews HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\n\r\n".encode())
        try:
            for _ in range(40):
                raw.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            raw.sendall(b"0\r\n\r\n")
            answer = raw.recv(100)
        except OSError:
            answer = b"closed"
    assert b" 413 " in answer or answer == b"closed"
    assert standing.ask("/api/state")[0] == 200


def test_requests_without_end_are_slowed_down() -> None:
    guard = Guard(None, Door())  # type: ignore[arg-type]
    passed = sum(guard._in_time("10.0.0.1") for _ in range(3000))
    assert 5 * RATE - 1 <= passed < 3000 and guard._in_time("10.0.0.2")


def test_a_token_is_asked_of_everybody_and_becomes_a_cookie(dataset: Path, serve: Started) -> None:
    token = "a-long-enough-token"
    server = serve(dataset, "--token", token)
    assert server.ask("/")[0] == server.ask("/api/state")[0] == 401
    assert server.ask("/?token=wrong")[0] == 401
    assert server.ask("/api/state", headers={"authorization": f"Bearer {token}"})[0] == 200
    assert server.ask("/api/state", headers={"cookie": f"corpus-review={token}"})[0] == 200
    assert server.ask("/api/state", headers={"cookie": "corpus-review=é; x"})[0] == 401


def test_elsewhere_than_on_the_loopback_address_a_token_is_needed() -> None:
    with pytest.raises(UsageError, match="token"):
        Door(host="0.0.0.0")
    with pytest.raises(UsageError, match="short"):
        Door(host="0.0.0.0", token="short")
    assert Door(host="::1").token is None


def test_every_label_and_kind_has_a_meaning() -> None:
    assert {name: set(meaning.kinds) for name, meaning in MEANINGS.items()} == {
        name: set(kinds) for name, kinds in CUE_KINDS.items()
    }
