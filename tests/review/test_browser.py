"""The page in a real browser: Debian's chromium, driven by playwright."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which(os.environ.get("CORPUS_CHROMIUM", "chromium"))
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
    pytest.mark.filterwarnings("default"),  # playwright's own loop
]

expect.set_options(timeout=15_000)  # a busy machine is no fault of the page
Started = Callable[..., Any]
Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--autoplay-policy=no-user-gesture-required", "--disable-gpu"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # chromium's own sandbox refuses root, and CI is root
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """A page of a new browser profile, ready to work; what it complains of fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_page(url: str, who: str = "ann", dark: bool = False, calm: bool = True) -> Page:
        context = browser.new_context(
            viewport={"width": 1280, "height": 720}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        if calm:
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.goto(url)
        name = page.get_by_label("your name")
        name.fill(who)
        page.keyboard.press("Enter")
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def ready(page: Page) -> None:
    page.wait_for_selector("body[data-ready='1']")


def rows(server: Any, sql: str) -> list[list[Any]]:
    found: list[list[Any]] = server.ask("/api/sql", {"sql": sql})[1]["rows"]
    return found


def saved(page: Page) -> None:
    expect(page.locator("#saved")).to_have_text("saved")


def playing(page: Page) -> bool:
    return bool(page.locator("#play span").inner_text() == "Pause")


def span_of(page: Page) -> tuple[float, float]:
    start, stop = (
        float(page.locator(f"#{name}").get_attribute("aria-valuenow") or 0) for name in ("start", "stop")
    )
    return start, stop


def test_a_cue_plays_at_once_and_space_stops_it(dataset: Path, serve: Started, opened: Opened) -> None:
    page = opened(serve(dataset).url)
    expect(page.locator("#play span")).to_have_text("Pause")
    page.keyboard.press(" ")
    expect(page.locator("#play span")).to_have_text("Play")


def test_twenty_cues_by_key_are_kept_and_a_reload_goes_on_behind_them(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    server = serve(dataset)
    page = opened(server.url)
    seen = []
    for number in range(20):
        seen.append(page.locator("#times").inner_text() + page.locator("#chip").inner_text())
        page.keyboard.press("axu"[number % 3])
        expect(page.locator("#pace")).to_contain_text(f"{number + 1} of")
    saved(page)
    counts = dict(rows(server, "SELECT verdict, count(*) FROM reviews GROUP BY ALL"))
    assert counts == {"accept": 7, "reject": 7, "unsure": 6}
    assert rows(server, "SELECT count(DISTINCT item) FROM reviews") == [[20]]
    page.reload()
    ready(page)
    expect(page.locator("#pace")).to_contain_text("20 of")
    assert page.locator("#times").inner_text() + page.locator("#chip").inner_text() not in seen


def test_a_boundary_moves_by_key_and_by_mouse_and_the_change_is_what_is_kept(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.keyboard.press(" ")
    start, stop = span_of(page)
    page.keyboard.press("q")
    page.keyboard.press("q")
    page.keyboard.press("Shift+P")
    assert span_of(page) == (pytest.approx(start - 0.02), pytest.approx(stop + 0.05))
    expect(page.locator("#yes")).to_have_text("Save change")
    box = page.locator("#stop").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1], steps=5)
    page.mouse.up()
    moved = span_of(page)
    assert moved[1] > stop + 0.1
    page.locator("#start").focus()
    page.keyboard.press("ArrowRight")
    assert span_of(page)[0] == pytest.approx(start - 0.01)
    page.keyboard.press("5")
    page.keyboard.press("a")
    saved(page)
    ((verdict, label, start_us, stop_us),) = rows(
        server, "SELECT verdict, label, start_us, stop_us FROM reviews"
    )
    assert (verdict, label) == ("correct", "invitation")
    assert (start_us / 1e6, stop_us / 1e6) == (
        pytest.approx(start - 0.01, abs=0.006),
        pytest.approx(moved[1], abs=0.006),
    )


def test_undo_brings_the_cue_back_also_after_a_reload(dataset: Path, serve: Started, opened: Opened) -> None:
    server = serve(dataset)
    page = opened(server.url)
    first = page.locator("#times").inner_text()
    page.keyboard.press("x")
    expect(page.locator("#pace")).to_contain_text("1 of")
    page.keyboard.press("z")
    expect(page.locator("#pace")).to_contain_text("0 of")
    expect(page.locator("#times")).to_have_text(first)
    page.keyboard.press("a")
    expect(page.locator("#pace")).to_contain_text("1 of")
    saved(page)
    page.reload()
    ready(page)
    page.keyboard.press("z")
    expect(page.locator("#times")).to_have_text(first)
    expect(page.locator("#pace")).to_contain_text("0 of")
    assert [r[0] for r in rows(server, "SELECT verdict FROM reviews ORDER BY sequence")] == [
        "reject", "undo", "accept", "undo",
    ]  # fmt: skip


def test_pressing_while_it_plays_adds_a_cue(dataset: Path, serve: Started, opened: Opened) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.wait_for_timeout(400)
    page.keyboard.down("m")
    page.wait_for_timeout(500)
    page.keyboard.up("m")
    expect(page.locator("#saved")).to_contain_text("added")
    for _ in range(50):
        found = rows(server, "SELECT verdict, stop_us - start_us, annotator FROM reviews")
        if found:
            break
        time.sleep(0.1)
    ((verdict, length_us, who),) = found
    assert (verdict, who) == (
        "add",
        "ann",
    ) and 300_000 <= length_us <= 2_000_000  # the key was down 500 ms or more


def test_a_note_goes_with_the_decision(dataset: Path, serve: Started, opened: Opened) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.keyboard.press("n")
    page.get_by_label("note", exact=True).fill("laughs <b>here</b>")
    page.click("#ok")
    page.keyboard.press("a")
    saved(page)
    assert rows(server, "SELECT note FROM reviews") == [["laughs <b>here</b>"]]


def test_words_turns_and_speakers_are_corrected(dataset: Path, serve: Started, opened: Opened) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.keyboard.press("e")
    word = page.locator("dialog table input").first
    word.fill("elephant")
    page.locator("dialog input[list]").last.fill("Zoe")
    page.click("#ok")
    expect(page.locator("#saved")).to_contain_text("2 corrections")
    for _ in range(50):
        found = rows(server, "SELECT about, verdict, coalesce(text, speaker) FROM reviews ORDER BY about")
        if len(found) == 2:
            break
        time.sleep(0.1)
    assert found == [["speaker", "correct", "Zoe"], ["word", "correct", "elephant"]]


def test_the_grid_is_decided_one_key_a_cue_and_undone(dataset: Path, serve: Started, opened: Opened) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.keyboard.press("g")
    expect(page.locator(".card")).not_to_have_count(0, timeout=30_000)
    for key in "axa":
        page.keyboard.press(key)
    expect(page.locator(".card.accept")).to_have_count(2)
    page.keyboard.press("z")
    expect(page.locator(".card.accept")).to_have_count(1)
    page.keyboard.press("u")
    expect(page.locator(".card.unsure")).to_have_count(1)
    for _ in range(50):
        if rows(server, "SELECT count(*) FROM reviews") == [[5]]:
            break
        time.sleep(0.1)
    assert rows(server, "SELECT count(*) FROM reviews_current") == [[3]]


def test_keys_pressed_before_the_next_cue_is_there_decide_nothing(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    server = serve(dataset)
    page = opened(server.url)

    def late(route: Any) -> None:
        time.sleep(0.3)
        route.continue_()

    page.route("**/api/next", late)
    for _ in range(12):
        page.keyboard.press("a")
    expect(page.locator("body:not([data-waiting])")).to_have_count(1)
    saved(page)
    ((kept, cues),) = rows(server, "SELECT count(*), count(DISTINCT item) FROM reviews")
    assert kept == cues > 0


def test_two_browsers_never_hold_the_same_cue(dataset: Path, serve: Started, opened: Opened) -> None:
    server = serve(dataset)
    pages = [opened(server.url, "ann"), opened(server.url, "bob")]
    for number in range(8):
        for page in pages:
            expect(page.locator("body:not([data-waiting])")).to_have_count(1)
            page.keyboard.press("a")
        page.wait_for_timeout(50 * (number % 2))
    for page in pages:
        saved(page)
    assert rows(server, "SELECT count(*), count(DISTINCT item) FROM reviews") == [[16, 16]]


def test_a_killed_server_loses_nothing_and_nothing_is_sent_twice(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    server = serve(dataset)
    page = opened(server.url, calm=False)
    page.keyboard.press("a")
    saved(page)
    server.kill()
    page.keyboard.press("x")
    expect(page.locator("#saved")).to_contain_text("not saved yet")
    server.start()
    expect(page.locator("#saved")).to_have_text("saved", timeout=15_000)
    assert rows(server, "SELECT verdict FROM reviews ORDER BY sequence") == [["accept"], ["reject"]]


def test_names_words_and_notes_are_text_and_nothing_more(
    serve: Started, opened: Opened, tmp_path: Path, media: Any, build_talks: Callable[..., Any]
) -> None:
    """Also those that strangers wrote to be run; the policy would stop them too, but says so as an error."""
    import numpy as np

    hostile = "<img/src=x/onerror=alert(1)>"
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000 * 12)
    (tmp_path / "in").mkdir()
    quiet = media.Audio(codec="pcm_s16le", rate_hz=16_000, track=noise)
    media.write_media(tmp_path / "in" / "talk.wav", duration_s=12.0, audio=[quiet])
    lines = [
        f"talk 1 {hostile}{n % 2} {n * 1.5:.2f} {n * 1.5 + 1.9:.2f} <o> uh {hostile} uh" for n in range(6)
    ]
    (tmp_path / "in" / "talk.stm").write_text("\n".join(lines) + "\n")
    build_talks(tmp_path / "in", tmp_path / "OUT")
    server = serve(tmp_path / "OUT")
    page = opened(server.url, who=f"ann {hostile}")
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    expect(page.locator("#voices")).to_contain_text(hostile)
    page.keyboard.press("n")
    page.get_by_label("note", exact=True).fill(hostile)
    page.click("#ok")
    page.keyboard.press("e")
    expect(page.locator("#dialog table").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    page.keyboard.press("x")
    saved(page)
    page.keyboard.press("g")
    expect(page.locator(".card")).not_to_have_count(0, timeout=30_000)
    page.click("[data-view=agree]")
    expect(page.locator("#agreement h1")).to_be_visible()
    assert page.locator("img").count() == 0 and asked == []
    assert rows(server, "SELECT note FROM reviews") == [[hostile]]


QUICK = """() => {
    const press = (key) => {
        const target = document.activeElement ?? document.body;
        target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    };
    const dialog = document.querySelector("#dialog");
    press("n");
    dialog.querySelector("textarea").value = "before the close event";
    dialog.close("ok");
    press("e");  // asks again before the event of the first has come
    dialog.close("cancel");
    press("x");  // goes to a field that is shut, but still has the focus
}"""


def test_a_key_right_after_a_dialog_counts_and_so_does_what_was_written_in_it(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.evaluate(QUICK)
    saved(page)
    assert rows(server, "SELECT verdict, about FROM reviews") == [["reject", "cue"]]


def test_a_note_outlives_the_dialog_that_is_opened_right_after_it(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.evaluate(QUICK.replace('press("x");', ""))
    page.keyboard.press("x")
    saved(page)
    assert rows(server, "SELECT note FROM reviews") == [["before the close event"]]


def test_dark_and_light(dataset: Path, serve: Started, opened: Opened) -> None:
    url = serve(dataset).url

    def paper(page: Page) -> list[int]:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in colour[4:-1].split(",")]

    assert max(paper(opened(url, dark=True))) < 60
    page = opened(url)
    assert min(paper(page)) > 200
    page.keyboard.press("t")
    assert max(paper(page)) < 60
    page.reload()
    ready(page)
    assert max(paper(page)) < 60


def test_the_meaning_of_a_label_and_an_example_are_one_key_away(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    page = opened(serve(dataset).url)
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Playing")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_contain_text("undo the last decision")


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_no_serious_fault(dataset: Path, serve: Started, opened: Opened, dark: bool) -> None:
    axe = os.environ.get("CORPUS_AXE", "")
    if not Path(axe).is_file():
        pytest.skip("axe-core is not here: `make test-browser` fetches it (CORPUS_AXE)")
    page = opened(serve(dataset).url, dark=dark)
    page.keyboard.press(" ")
    for step in ("one", "dialog", "grid", "agree"):
        if step == "dialog":
            page.keyboard.press("e")
        if step == "grid":
            page.click("#cancel")
            expect(page.locator("#dialog")).to_be_hidden()
            page.click("[data-view=grid]")
            expect(page.locator(".card")).not_to_have_count(0, timeout=30_000)
        if step == "agree":
            page.click("[data-view=agree]")
            expect(page.locator("#agreement h1")).to_be_visible()
        session = page.context.new_cdp_session(page)
        session.send("Runtime.evaluate", {"expression": Path(axe).read_text(encoding="utf-8")})
        found = session.send(
            "Runtime.evaluate",
            {
                "expression": "axe.run(document).then(r => JSON.stringify(r.violations))",
                "awaitPromise": True,
            },
        )
        violations = json.loads(found["result"]["value"])
        serious = [
            (step, v["id"], [n["html"][:120] for n in v["nodes"]][:3])
            for v in violations
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == []


# -- bars -------------------------------------------------------------------------------------


def test_from_the_decisions_key_to_the_next_cue_playing(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    """At most 150 ms, the median of 15: the machine may be busy with other work."""
    page = opened(serve(dataset).url)
    page.wait_for_timeout(1500)
    page.evaluate(
        """() => { window.waits = []; let begun = 0;
        addEventListener('keydown', () => { begun = performance.now(); }, true);
        new MutationObserver(() => { if (begun) { waits.push(performance.now() - begun); begun = 0; } })
            .observe(document.body, { attributes: true, attributeFilter: ['data-playing'] }); }"""
    )
    for number in range(15):
        page.keyboard.press("a")
        page.wait_for_timeout(700 if number else 900)
    waits = page.evaluate("window.waits")
    told = f"median {statistics.median(waits):.0f} ms of {len(waits)}, most {max(waits):.0f} ms"
    print(f"key to next cue playing: {told}")
    assert len(waits) >= 12 and statistics.median(waits) <= 150


def test_the_page_is_painted_within_a_second(dataset: Path, serve: Started, opened: Opened) -> None:
    """The median of five visits of somebody known, and how long until the first cue stands there."""
    page = opened(serve(dataset).url)
    page.context.add_init_script(
        """new MutationObserver(() => {
            window.readyAt ??= document.body?.dataset.ready && performance.now();
        }).observe(document, { subtree: true, attributes: true, attributeFilter: ['data-ready'] });"""
    )
    painted, drawn = [], []
    for _ in range(5):
        page.reload()
        ready(page)
        page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        painted.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        drawn.append(page.evaluate("window.readyAt"))
    told = f"{statistics.median(painted):.0f} ms, most {max(painted):.0f}"
    print(f"first paint: median {told}; first cue: {statistics.median(drawn):.0f} ms, most {max(drawn):.0f}")
    assert statistics.median(painted) <= 1000


def test_a_scripted_reviewer_reaches_a_hundred_cues_a_minute_in_the_grid(
    dataset: Path, serve: Started, opened: Opened
) -> None:
    server = serve(dataset)
    page = opened(server.url)
    page.keyboard.press("g")
    expect(page.locator(".card.now")).to_have_count(1)
    since, count = time.monotonic(), 0
    while count < 30 and page.locator(".card.now").count():
        page.keyboard.press("a")
        count += 1
    for _ in range(100):
        ((kept,),) = rows(server, "SELECT count(DISTINCT item) FROM reviews")
        if kept >= count:
            break
        time.sleep(0.05)
    pace = 60 * kept / (time.monotonic() - since)
    print(f"grid: {kept} cues kept, {pace:.0f} a minute")
    assert kept >= 20 and pace >= 100


WATCH = """async ([item, seconds]) => {
    const { Loaded, Player } = await import('/page/player.js');
    const canvas = document.createElement('canvas'), copy = document.createElement('canvas');
    document.body.append(canvas);
    item.from_us = 2000000; item.to_us = 32000000; item.drawing = null;
    const loaded = new Loaded(item); await loaded.seen;
    const audio = loaded.sound('mix'), context = new AudioContext();
    const analyser = new AnalyserNode(context, { fftSize: 8192 });
    context.createMediaElementSource(audio).connect(analyser).connect(context.destination);
    await context.resume();
    const wave = new Float32Array(8192), out = { lags: [], flashes: [], beeps: [], latency: 0 };
    const pixels = copy.getContext('2d', { willReadFrequently: true });
    const number = () => { // as tests/media.py writes it: 16 bits in rows of four
        copy.width = canvas.width; copy.height = canvas.height;
        pixels.drawImage(canvas, 0, 0);
        const { data } = pixels.getImageData(0, 0, copy.width, copy.height);
        let found = 0;
        for (let bit = 0; bit < 16; bit += 1) {
            const row = Math.floor(bit / 4), column = bit % 4;
            const y = Math.floor(copy.height * (2 * row + 1) / 10 + copy.height / 16);
            const x = Math.floor(copy.width * (2 * column + 1) / 10 + copy.width / 16);
            if (data[4 * (y * copy.width + x) + 1] > 128) found += 2 ** bit;
        }
        return found;
    };
    const player = new Player(canvas, (us) => {
        if (!player.playing || !player.last) return;
        const now = performance.now(), shown = number();
        out.lags.push(us / 1e3 - shown * 1000 / 30);
        const second = Math.floor(shown / 30);
        if (!out.flashes.some(([n]) => n === second)) out.flashes.push([second, now, shown % 30]);
        analyser.getFloatTimeDomainData(wave);
        const ended = performance.now(), ms = (k) => ended - (8192 - k) * 1000 / context.sampleRate;
        for (let k = 0; k < 8192; k += 1) if (Math.abs(wave[k]) > 0.1) {
            const at = ms(k), last = out.beeps[out.beeps.length - 1];
            if (k > 512 && (last === undefined || at - last > 500)) out.beeps.push(at);
            break;
        }
    });
    player.show(loaded); player.play();
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    out.latency = 1000 * (context.baseLatency + context.outputLatency);
    return out;
}"""
"""Plays a film whose pictures show their numbers, 30 a second, and that chirps every second."""


@pytest.mark.parametrize("original", [True, False])
def test_the_picture_never_runs_ahead_of_the_sound_and_hardly_lags(
    original: bool, dataset: Path, serve: Started, opened: Opened
) -> None:
    """By the sound's clock for every picture shown, and by flash and beep where both are seen and heard.

    On a busy machine chromium itself shows frames late: the best of three plays is what the page does.
    """
    if not original:
        (dataset / ".cache" / "marks.arrow").unlink()
    server = serve(dataset)
    page = opened(server.url)
    page.keyboard.press(" ")
    film = next(i for i in server.next(40, "bob") if i["pictures"])
    item = server.ask(f"/api/item/{film['recording']}/{film['item']}")[1]
    most_ms = 40 if original else 240
    for _ in range(3):
        seen = page.evaluate(WATCH, [item, 31])
        lags = seen["lags"]
        if max(lags) <= most_ms:
            break
    told = f"picture behind the sound's clock: {min(lags):.0f} to {max(lags):.0f} ms, {len(lags)} frames"
    print(f"{'original file' if original else 'one picture a window'}: {told}")
    beeps = {round((at - seen["beeps"][0]) / 1000) + 3: at for at in seen["beeps"]}  # the first is at 3 s
    apart = [at - beeps[second] for second, at, first in seen["flashes"] if second in beeps and first == 0]
    if apart:
        told = f"{statistics.median(apart):.0f} ms, {min(apart):.0f} to {max(apart):.0f}"
        print(f"flash after beep: {told} of {len(apart)}; the graph's own latency {seen['latency']:.0f} ms")
    assert len(lags) > 200 and min(lags) >= -1 and max(lags) <= most_ms
