from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from corpus.cli.main import app
from corpus.pipeline.build import build_dataset
from corpus.pipeline.request import Request
from corpus.report.inspect import clip_page, find_clip, write_clip_page
from corpus.report.pages.joints import lines_of_joints
from corpus.report.pages.lanes import Axis, clock, cue_rows, waveform
from corpus.report.stats import dataset_stats
from corpus.schemas.clip import MEMBERS
from corpus.schemas.codec import to_json
from corpus.schemas.conversation import Conversation, Cue, Event, Turn, Word
from corpus.schemas.errors import DatasetError, FormatError, UsageError
from corpus.schemas.settings import ClipSettings, DiarizeSettings, Settings, SightSettings, TranscribeSettings
from corpus.shards.flac import decode_flac, encode_flac
from corpus.shards.read import Clip, open_clips

EVIL = "<script>alert(1)</script>"


class Silent:
    def phase(self, name: str, total: int) -> None: ...

    def at(self, done: float, detail: str) -> None: ...

    def say(self, line: str) -> None: ...


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, media: ModuleType) -> Path:
    """Seven seconds of chirps and numbered pictures, two speakers, cut into clips of four seconds."""
    base = tmp_path_factory.mktemp("inspect")
    inputs = base / "in"
    inputs.mkdir()
    media.write_media(
        inputs / "talk.mp4",
        duration_s=7.0,
        audio=[media.Audio()],
        video=media.Video(),
    )
    talked = Conversation(
        recording="talk",
        duration_us=7_000_000,
        speakers=("Ann", EVIL),
        turns=(
            Turn(speaker="Ann", start_us=200_000, stop_us=2_500_000),
            Turn(speaker=EVIL, start_us=2_300_000, stop_us=4_000_000),
        ),
        words=(
            Word(speaker="Ann", start_us=1_000_000, stop_us=1_400_000, text=EVIL),
            Word(speaker=EVIL, start_us=2_400_000, stop_us=2_800_000, text="yes"),
        ),
    )
    (inputs / "talk.json").write_text(to_json(talked), encoding="utf-8")
    settings = Settings(
        diarize=DiarizeSettings(backend="none"),
        transcribe=TranscribeSettings(backend="none"),
        sight=SightSettings(enabled=False),
        clips=ClipSettings(windows_per_clip=20),
    )
    out = base / "OUT"
    outcome = build_dataset(Request(inputs=(str(inputs),), out=out, settings=settings), Silent())
    assert outcome.faults == ()
    return out


@pytest.fixture(scope="session")
def first(dataset: Path) -> Clip:
    return open_clips(dataset)[0]


def uris(text: str, kind: str) -> list[bytes]:
    return [base64.b64decode(found) for found in re.findall(rf"data:{kind};base64,([A-Za-z0-9+/=]+)", text)]


def test_every_picture_and_sound_is_in_the_page(first: Clip) -> None:
    text = clip_page(first)
    jpegs = [jpeg for k in range(first.json.windows) if (jpeg := first.jpeg(k))]
    assert len(jpegs) >= 19
    assert uris(text, "image/jpeg") == jpegs
    sounds = [decode_flac(flac)[0] for flac in uris(text, "audio/flac")]
    channels = first.audio()
    assert len(sounds) == 4  # the mix, Ann, the other, the room
    for heard, channel in zip(sounds[1:], channels, strict=True):
        assert np.array_equal(heard, channel)
    assert np.array_equal(sounds[0], channels.sum(0, dtype=np.int32).astype(np.int16))


def test_dmel_is_drawn_level_by_level(first: Clip) -> None:
    images = uris(clip_page(first), "image/png")
    mel = first.mel()
    assert len(images) == 2 * len(mel)  # dMel and activity of every channel
    with Image.open(io.BytesIO(images[0])) as image:
        levels = np.asarray(image)[::-1].T
    assert np.array_equal(levels.reshape(mel[0].shape), mel[0] >> 4)


def test_names_and_words_from_outside_are_text(first: Clip) -> None:
    text = clip_page(first)
    assert text.count("<script>") == 1  # ours
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?://|@import|url\(", text.replace("http-equiv", ""))


def told(label: str, joints: object, **more: object) -> Event:
    payload = json.dumps({"track": 0, "shape": [640, 400], "joints": joints, **more})
    return Event(
        label=label, kind="", speaker="Ann", start_us=0, stop_us=400_000, origin="x", payload=payload
    )


def test_joints_are_lines_over_the_picture(first: Clip) -> None:
    names = ["nose", "left_shoulder", "right_shoulder", "left_elbow"]
    body = told("body", [[[500, 100], [400, 500], [600, 500], None], None], names=names)
    hand = told("hand", [None, [[10 * n, 1000] for n in range(21)]])
    lines = json.loads(lines_of_joints(replace(first.json, events=(body, hand))))
    assert lines["0"] == [["s0", "M40.0 50.0L60.0 50.0"]]
    ((tone, path),) = lines["1"]
    assert tone == "s0" and path.startswith("M0.0 100.0L1.0 100.0") and path.count("M") == 21


@pytest.mark.parametrize(
    "joints", [5, [5], [[[1, 2]] * 20], [[["x", 0]] * 21], [[[1, 2, 3]] * 21], [[[1e400, 0]] * 21]]
)
def test_joints_that_are_not_as_sight_writes_them_are_passed_over(first: Clip, joints: object) -> None:
    assert lines_of_joints(replace(first.json, events=(told("hand", joints),))) == "{}"


def test_a_page_of_thirty_seconds_is_small(dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "clip.html"
    write_clip_page(find_clip(dataset, None), path)
    assert path.stat().st_size < 5_000_000 * 4 / 30


def test_clips_are_found_by_key_or_how_it_begins(dataset: Path, tmp_path: Path) -> None:
    keys = open_clips(dataset).keys()
    assert find_clip(dataset, None).key == keys[0]
    assert find_clip(dataset, keys[1]).key == keys[1]
    with pytest.raises(UsageError, match="no clip"):
        find_clip(dataset, "zzz")
    with pytest.raises(UsageError, match="may be"):
        find_clip(dataset, keys[0][:8])
    with pytest.raises(DatasetError):
        find_clip(tmp_path, None)


def test_command_names_the_page(dataset: Path, tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    found = CliRunner().invoke(app, ["inspect", str(dataset), "--page", str(page)])
    assert found.stdout == f"{page}\n"
    assert page.is_file()
    assert '"schema":"corpus.clip/3"' in CliRunner().invoke(app, ["inspect", str(dataset), "--json"]).stdout


def test_a_page_links_to_a_cue_of_each_label_and_kind(dataset: Path, tmp_path: Path) -> None:
    heard = tmp_path / "heard"
    run = CliRunner().invoke(app, ["inspect", str(dataset), "--cues", str(heard)], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    index = (heard / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'href="(clip-\d+\.html)#([\d.]+)"', index)
    counts = dataset_stats(dataset).cues
    assert counts and len(links) == len(counts)
    for cue, (name, offset_s) in zip(counts, links, strict=True):
        assert cue.name in index and cue.example_clip is not None
        assert cue.example_clip in (heard / name).read_text(encoding="utf-8")
        assert 0 <= cue.example_offset_us / 1e6 - float(offset_s) <= 1.6
    assert "there are no words" in index or "not made" in index
    with pytest.raises(UsageError, match="--cues"):
        CliRunner().invoke(app, ["inspect", str(dataset), "a", "--cues", "x"], catch_exceptions=False)


def test_waveform_reaches_the_lane_where_sound_is_full() -> None:
    samples = np.zeros(3200, np.int16)
    samples[1600], samples[1601] = 1000, -500
    points = re.findall(r"(\d+),([\d.]+)", str(waveform(samples, 1, 1000)))
    assert len(points) == 40
    assert float(points[10][1]) == 1.0  # 49 of 50 up, where the sample stands: half way
    assert float(points[39 - 10][1]) == pytest.approx(50 + 24.5 + 0.4)
    assert {y for n, (_, y) in enumerate(points) if n not in (10, 29)} == {"50.0", "50.4"}


def test_cues_that_would_cover_each_other_stand_in_lanes_of_their_own(first: Clip) -> None:
    def cue(start_us: int) -> Cue:
        return Cue(
            label="hold", kind="pause", speaker="Ann", start_us=start_us, stop_us=start_us + 100_000,
            confidence=1.0, origin="x",
        )  # fmt: skip

    axis = Axis(first.json)
    assert len(cue_rows(axis, [cue(0), cue(50_000)], ["Ann"])) == 2
    assert len(cue_rows(axis, [cue(0), cue(2_000_000)], ["Ann"])) == 1
    assert cue_rows(axis, [cue(60_000_000)], ["Ann"]) == []


def test_clock_as_people_read_it() -> None:
    assert [clock(us) for us in (0, 61_500_000, 3_600_000_000)] == ["0:00.0", "1:01.5", "1:00:00.0"]


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here to open the page in")
    return found


PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const told = [], line = document.querySelector("#line");
  const time = () => document.querySelector("#time").textContent;
  const key = (name) => document.dispatchEvent(new KeyboardEvent("keydown", { key: name, cancelable: true }));
  const later = (work) => new Promise((done) => setTimeout(() => { work(); done(); }, 150));
  const lane = document.querySelector(".voice .lane").getBoundingClientRect();
  const press = (name) => later(() => key(name)).then(() => later(() => told.push(time())));
  (async () => {
    told.push(time());
    await press("ArrowRight");
    await press("ArrowLeft");
    await press("End");
    await press("ArrowRight");
    await press("Home");
    line.querySelector(".voice .lane").dispatchEvent(
      new MouseEvent("click", { bubbles: true, clientX: lane.left + lane.width / 2, clientY: lane.top + 5 }));
    await later(() => told.push(time()));
    key("2");
    await later(() => told.push(document.querySelector("button[aria-pressed=true]").textContent));
    told.push(document.querySelector("audio").duration);
    told.push(document.querySelectorAll(".pictures .here").length);
    document.title = told.join("|");
  })();
}, 300));
</script>"""


def opened(chromium: str, page: Path, tmp_path: Path, fragment: str) -> tuple[str, str]:
    """The page's elements after its scripts ran, and what the browser complained about."""
    command = (
        f"{chromium} --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --enable-logging=stderr "
        f"--virtual-time-budget=8000 --dump-dom --user-data-dir={tmp_path / 'profile'}"
    ).split()
    done = subprocess.run(
        [*command, f"{page.as_uri()}#{fragment}"], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_the_page_opens_without_a_complaint(chromium: str, first: Clip, tmp_path: Path) -> None:
    page = tmp_path / "clip.html"
    write_clip_page(first, page)
    dom, complaints = opened(chromium, page, tmp_path, "2.5")
    assert complaints == ""
    assert '<span id="time">0:02.5</span>' in dom
    assert "window 12 of 20" in dom
    assert re.search(r'id="screen"[^>]*src="data:image/jpeg|src="data:image/jpeg[^"]*"[^>]*id="screen"', dom)
    assert "<mark>yes </mark>" in dom


def test_keys_and_clicks_move_the_playhead(chromium: str, first: Clip, tmp_path: Path) -> None:
    page = tmp_path / "clip.html"
    text = clip_page(first)
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace(
        "</body>", PROBE + "</body>"
    )
    page.write_text(text, encoding="utf-8")
    dom, complaints = opened(chromium, page, tmp_path, "1")
    assert complaints == ""
    told = re.search(r"<title>(.*?)</title>", dom)
    assert told is not None
    start, right, left, end, beyond, home, clicked, sound, length, marked = told[1].split("|")
    assert (start, right, left, end, beyond, home) == (
        "0:01.0",
        "0:01.2",
        "0:01.0",
        "0:03.8",
        "0:04.0",
        "0:00.0",
    )
    assert clicked == "0:02.0"
    assert sound.startswith("&lt;script")  # the second voice
    assert (float(length), marked) == (4.0, "1")


@pytest.mark.parametrize("member", ["flac", "mel.npy", "activity.npy"])
@pytest.mark.parametrize("cut", [np.s_[:-1], np.s_[:, :-1]])
def test_a_member_of_another_shape_than_the_head_says_is_named(
    dataset: Path, member: str, cut: tuple[slice, ...]
) -> None:
    clip = open_clips(dataset)[0]
    members = {name: bytes(clip.member(name)) for name in MEMBERS}
    if member == "flac":
        members[member] = encode_flac(np.ascontiguousarray(clip.audio()[cut]), clip.json.sample_rate_hz)
    else:
        file = io.BytesIO()
        np.save(file, np.load(io.BytesIO(members[member]))[cut])
        members[member] = file.getvalue()
    with pytest.raises(FormatError, match=rf"{re.escape(member)}: holds .* says"):
        clip_page(Clip.of_members(clip.key, [members[name] for name in MEMBERS]))
