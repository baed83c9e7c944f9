"""All facts of made recordings: who owns what energy, what is padded, what is known of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus.align.quality.measure import Part, Sound, Told, measure
from corpus.align.quality.talk import TalkIndex
from corpus.align.voices import split_voices
from corpus.schemas.artifacts import ChannelSpan, Decoded, Segment
from corpus.schemas.conversation import Turn
from corpus.schemas.pcm import Pcm, VoicePcm
from corpus.schemas.quality import Quality

RATE = 16_000
S = 1_000_000
PARTS = [Part(first_window=0, windows=50, written=0), Part(first_window=50, windows=50, written=50)]


def measured(
    folder: Path, channels: dict[str | None, np.ndarray], turns: list[Turn], **told: object
) -> list[Quality]:
    """20 s of sound in two clips of 10 s."""
    folder.mkdir(exist_ok=True)
    for number, samples in enumerate(channels.values()):
        samples.astype("<i2").tofile(folder / f"channel-{number}.i16")
    padded = told.pop("padded", ())
    decoded = Decoded(
        duration_us=20 * S, sample_rate_hz=RATE, segments=(Segment(first_window=0, windows=100),),
        channels=tuple(channels), streams=(), padded=padded,  # type: ignore[arg-type]
    )  # fmt: skip
    speakers = sorted({turn.speaker for turn in turns} | {name for name in channels if name})
    out = folder / "voices"
    out.mkdir(exist_ok=True)
    head, _ = split_voices(decoded, folder, turns, speakers, out)
    sound = Sound(
        inputs=Pcm(folder, len(channels), decoded.segments, RATE),
        voices=VoicePcm(head, out, folder),
        head=head,
        activity=np.load(out / "activity.npy"),
    )
    return measure(sound, TalkIndex(turns, ()), Told(**told), PARTS, None)  # type: ignore[arg-type]


def turn(speaker: str, start_s: float, stop_s: float) -> Turn:
    return Turn(speaker=speaker, start_us=int(start_s * S), stop_us=int(stop_s * S))


def square(level: int, seconds: float) -> np.ndarray:
    """A wave of exactly this power, level², that changes sign every 20 samples."""
    at = np.arange(int(seconds * RATE))
    return np.where(at // 20 % 2, level, -level)


def test_the_rooms_share_is_what_nobody_or_several_own(tmp_path: Path) -> None:
    """1000² for 20 s: of the first clip A owns 0-4 s and both talk 4-6 s; nobody talks in the second."""
    one, two = measured(tmp_path, {None: square(1000, 20)}, [turn("A", 0, 6), turn("B", 4, 6)])
    assert one.room_share == pytest.approx(0.6, abs=1e-6)
    assert two.room_share == 1.0
    assert (one.speech_share, one.overlap_share, one.monologue_us) == (0.6, 0.2, 4 * S)
    assert (two.speech_share, two.snr_db) == (0.0, None)
    assert one.separation_gain_db is None and one.dnsmos_overall is None


def test_nothing_is_in_the_room_where_each_has_a_channel(tmp_path: Path) -> None:
    channels: dict[str | None, np.ndarray] = {"A": square(500, 20), "B": np.zeros(20 * RATE)}
    one, _ = measured(tmp_path, channels, [turn("A", 0, 6)])
    assert one.room_share == 0.0


def test_a_clip_without_quiet_is_held_to_the_recordings(tmp_path: Path) -> None:
    """Noise of 100² throughout; A talks at 1000² for all of the first clip, nobody in the second."""
    sound = np.random.default_rng(3).normal(0, 100, 20 * RATE)
    sound[: 10 * RATE] += square(1000, 10)
    one, two = measured(tmp_path, {None: sound}, [turn("A", 0, 10)])
    assert one.snr_db == pytest.approx(20.0, abs=0.2)
    assert two.snr_db is None


def test_padding_is_no_quiet(tmp_path: Path) -> None:
    """Zeros that stand for nothing recorded would make any sound look clean."""
    sound = np.random.default_rng(3).normal(0, 100, 20 * RATE)
    sound[: 5 * RATE] += square(1000, 5)
    sound[8 * RATE : 10 * RATE] = 0
    padded = (ChannelSpan(channel=0, start_us=8 * S, stop_us=10 * S),)
    one, _ = measured(tmp_path, {None: sound}, [turn("A", 0, 5)], padded=padded)
    assert one.snr_db == pytest.approx(20.0, abs=0.2)


def test_the_worst_channel_says_what_is_clipped(tmp_path: Path) -> None:
    bad = np.random.default_rng(1).normal(0, 1000, 20 * RATE).clip(-9000, 9000)
    bad[1000:2600] = 32767
    one, two = measured(tmp_path, {"A": bad, "B": np.zeros(20 * RATE)}, [turn("A", 0, 6)])
    assert one.clipping_share == 0.01 and two.clipping_share == 0.0


def test_what_is_told_of_the_recording_is_in_every_clip(tmp_path: Path) -> None:
    sure = ((0, 8 * S, 0.9), (8 * S, 11 * S, 0.6), (12 * S, 13 * S, 1.0))
    told = {"language": "de", "language_probability": 0.87654321, "diarization_confidence": sure}
    one, two = measured(tmp_path, {None: square(100, 20)}, [turn("A", 0, 6)], **told)
    assert (one.language, two.language, one.language_probability) == ("de", "de", 0.8765)
    assert one.diarization_confidence == pytest.approx((8 * 0.9 + 2 * 0.6) / 10, abs=1e-4)
    assert two.diarization_confidence == pytest.approx((1 * 0.6 + 1 * 1.0) / 2, abs=1e-4)


def test_digital_silence_has_no_band_and_no_owner(tmp_path: Path) -> None:
    one, _ = measured(tmp_path, {None: np.zeros(20 * RATE)}, [turn("A", 0, 6)])
    assert (one.room_share, one.bandwidth_hz, one.clipping_share, one.snr_db) == (None, None, 0.0, None)


def test_a_recording_without_sound_or_windows(tmp_path: Path) -> None:
    quiet = measured(tmp_path, {}, [])
    assert [one.room_share for one in quiet] == [None, None]
