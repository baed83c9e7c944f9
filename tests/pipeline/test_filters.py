"""Clips that a filter leaves out: each with its figure, nothing decoded again, nothing else touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.pipeline.filters import first_windows, left_out
from corpus.pipeline.measuring import MeasuredClip
from corpus.report.stats import dataset_stats
from corpus.schemas.errors import SettingsError
from corpus.schemas.quality import Quality
from corpus.schemas.settings import FilterSettings, QualitySettings, Settings
from corpus.shards.read import open_clips
from corpus.shards.verify import verify_dataset
from corpus.trainer.data.where import places_where

Run = Callable[..., Any]
BytesOf = Callable[[Path], dict[str, str]]

GOOD = Quality(
    snr_db=20.0, clipping_share=0.0, bandwidth_hz=7800.0, speech_share=0.6, overlap_share=0.05,
    monologue_us=9_000_000, words_per_second=3.0, word_confidence=0.8, diarization_confidence=0.9,
    language="en", language_probability=0.9, room_share=0.1, separation_gain_db=9.0,
    dnsmos_signal=3.5, dnsmos_background=4.0, dnsmos_overall=3.2,
)  # fmt: skip


def reasons(quality: Quality, **filters: Any) -> list[tuple[str, str]]:
    clip = MeasuredClip(first_window=150, windows=10, quality=quality)
    drops = left_out("talk.wav", [clip], FilterSettings(**filters))
    assert all((d.start_us, d.stop_us, d.stage) == (30_000_000, 32_000_000, "filter") for d in drops)
    assert first_windows(drops) == ({150} if drops else set())
    return [(drop.code, drop.reason) for drop in drops]


def test_a_reason_says_figure_and_threshold() -> None:
    noisy = replace(GOOD, snr_db=3.2)
    assert reasons(noisy, min_snr_db=5) == [("min_snr_db", "SNR 3.2 dB is under filters.min_snr_db = 5")]
    foreign = replace(GOOD, language="de")
    assert reasons(foreign, languages=("en", "fr")) == [
        ("languages", "language de is not among filters.languages = en, fr")
    ]
    assert reasons(GOOD, max_monologue_s=8.5) == [
        ("max_monologue_s", "the longest monologue 9.0 s is over filters.max_monologue_s = 8.5")
    ]


def test_two_reasons_are_one_drop_under_the_first() -> None:
    (only,) = reasons(GOOD, min_snr_db=30, max_room_share=0.05)
    assert only[0] == "min_snr_db" and "; " in only[1] and "filters.max_room_share" in only[1]


def test_a_figure_close_to_its_threshold_is_told_apart() -> None:
    ((_, reason),) = reasons(replace(GOOD, snr_db=4.96), min_snr_db=5)
    assert "SNR 4.96 dB" in reason


def test_what_is_at_the_threshold_or_unknown_stays() -> None:
    unknown = replace(GOOD, snr_db=None, language=None, words_per_second=None)
    assert reasons(unknown, min_snr_db=90, languages=("fr",), max_words_per_second=0.1) == []
    assert reasons(GOOD, min_snr_db=20, max_room_share=0.1, languages=("en",)) == []


BOUNDS = [name for name in FilterSettings.__dataclass_fields__ if name != "languages"]


@given(st.sampled_from(BOUNDS), st.floats(0, 1))
def test_every_filter_knows_its_fact(name: str, bound: float) -> None:
    fact = name.partition("_")[2]
    value = 9.0 if fact == "monologue_s" else getattr(GOOD, fact)
    fails = value < bound if name.startswith("min") else value > bound
    assert [code for code, _ in reasons(GOOD, **{name: bound})] == ([name] if fails else [])


def test_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"filters\.max_overlap_share"):
        FilterSettings(max_overlap_share=40)
    with pytest.raises(SettingsError, match="codes such as"):
        FilterSettings(languages=("English",))
    with pytest.raises(SettingsError, match=r"quality\.dnsmos_stretches"):
        Settings(filters=FilterSettings(min_dnsmos_overall=3))
    Settings(filters=FilterSettings(min_dnsmos_overall=3), quality=QualitySettings(dnsmos_stretches=1))


@pytest.fixture(scope="module")
def built(
    talks: Path, tmp_path_factory: pytest.TempPathFactory, no_models: Settings
) -> tuple[Path, Settings]:
    from corpus.pipeline.build import build_dataset
    from corpus.pipeline.request import Request

    class Quiet:
        def phase(self, name: str, total: int) -> None: ...
        def at(self, done: float, detail: str) -> None: ...
        def say(self, line: str) -> None: ...

    out = tmp_path_factory.mktemp("filtered") / "out"
    build_dataset(Request(inputs=(str(talks),), out=out, settings=no_models), Quiet())
    return out, no_models


def test_a_filter_drops_decodes_nothing_and_touches_only_what_it_must(
    built: tuple[Path, Settings], talks: Path, run_build: Run, bytes_of: BytesOf
) -> None:
    out, settings = built
    before, shares = bytes_of(out), {c.key: c.json.quality for c in open_clips(out)}
    written = {p: p.stat().st_mtime_ns for p in out.glob("*/*.tar")}
    made = {p: p.stat().st_ino for p in (out / ".cache").glob("*/*/*") if p.parts[-3] in MODELS_AND_MEDIA}
    overlapped = [key for key, quality in shares.items() if quality and quality.overlap_share > 0.1]
    assert 0 < len(overlapped) < len(shares)

    filters = FilterSettings(max_overlap_share=0.1)
    outcome = run_build(talks, out=out, settings=replace(settings, filters=filters))
    assert {clip.key for clip in open_clips(out)} == shares.keys() - set(overlapped)
    dropped = [drop for drop in outcome.drops if drop.stage == "filter"]
    assert len(dropped) == len(overlapped) and outcome.exit_code == 0
    assert all("is over filters.max_overlap_share = 0.1" in drop.reason for drop in dropped)
    now = {p: p.stat().st_ino for p in (out / ".cache").glob("*/*/*") if p.parts[-3] in MODELS_AND_MEDIA}
    assert now == made
    touched = {p for p, at in written.items() if not p.exists() or p.stat().st_mtime_ns != at}
    assert len(touched) == 1  # that of the meeting; other splits stand as they were
    assert verify_dataset(out).problems == ()
    stats = dataset_stats(out)
    assert stats.funnel.unaccounted_us == 0
    assert stats.funnel.kept_us == outcome.windows * 200_000

    run_build(talks, out=out, settings=settings)
    assert bytes_of(out) == before


MODELS_AND_MEDIA = ("decode", "voices", "label", "quality", "transcribe", "diarize")


def test_all_clips_of_a_recording_may_go(
    talks: Path, tmp_path: Path, run_build: Run, no_models: Settings
) -> None:
    filters = FilterSettings(min_speech_share=0.01)  # only the meeting has turns
    outcome = run_build(talks, out=tmp_path / "out", settings=replace(no_models, filters=filters))
    assert {clip.json.source.uri for clip in open_clips(tmp_path / "out")} == {"meeting.mp4"}
    assert verify_dataset(tmp_path / "out").problems == ()
    stats = dataset_stats(tmp_path / "out")
    assert stats.funnel.unaccounted_us == 0 and stats.recordings == 4
    assert sum(loss.items for loss in stats.funnel.losses if loss.stage == "filter") == len(
        [drop for drop in outcome.drops if drop.stage == "filter"]
    )


def test_the_trainer_asks_the_new_columns(built: tuple[Path, Settings]) -> None:
    out, _ = built
    split = next(p.parent.name for p in out.glob("*/*.tar"))
    rows = [clip for clip in open_clips(out, split=split)]
    found = places_where(open_clips(out, split=split), "bandwidth_hz > 100 AND speech_share >= 0")
    assert len(found) == sum((c.json.quality.bandwidth_hz or 0) > 100 for c in rows if c.json.quality)


def test_facts_stand_in_clip_index_and_catalog(built: tuple[Path, Settings]) -> None:
    import duckdb

    out, _ = built
    clip = open_clips(out)[0]
    facts = json.loads(clip.json_bytes)["quality"]
    with duckdb.connect(str(out / "catalog.duckdb"), read_only=True) as db:
        row = db.execute(f"SELECT {', '.join(facts)} FROM clips WHERE clip_id = ?", [clip.key]).fetchone()
    assert row == tuple(facts.values())
