"""All settings of a build, their defaults and bounds: one dataclass for each table of corpus.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from corpus.schemas.errors import SettingsError

Channels = Literal["mix", "per_channel", "per_stream"]
Device = Literal["auto", "cpu", "cuda"]


def _check(ok: bool, name: str, value: object, bound: str) -> None:
    if not ok:
        raise SettingsError(f"{name} = {value!r} is out of range", todo=f"it must be {bound}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """How a media file becomes sound and pictures on the clock."""

    sample_rate_hz: Literal[16000, 24000] = 16000
    channels: Channels = "mix"
    """`mix`: speakers share the channels, which are averaged. `per_channel`: each channel of the chosen
    audio stream is one speaker's. `per_stream`: each audio stream of the file is one speaker's."""
    pictures: bool = True
    """False leaves the video out."""
    picture_width: int = 320
    """Pixels; divisible by 40."""
    picture_height: int = 200
    jpeg_quality: int = 5
    """Quantiser scale, 2 (best) to 31."""
    longest_filled_gap_s: int = 10
    """A longer stretch in which no chosen stream has anything is not written."""

    def __post_init__(self) -> None:
        for name in ("picture_width", "picture_height"):
            value = getattr(self, name)
            _check(value > 0 and value % 40 == 0, f"ingest.{name}", value, "a multiple of 40")
        _check(2 <= self.jpeg_quality <= 31, "ingest.jpeg_quality", self.jpeg_quality, "2 to 31")
        _check(
            self.longest_filled_gap_s >= 1,
            "ingest.longest_filled_gap_s",
            self.longest_filled_gap_s,
            "at least 1",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiarizeSettings:
    """Who speaks when."""

    backend: str = "default"
    """`default` (bundled weights), `pyannote:HUB-ID-OR-DIRECTORY`, or `none`. A recording whose speakers
    have channels of their own is never diarized: a voice activity detector runs on each."""
    num_speakers: int | None = None
    """The exact number where it is known."""
    min_speakers: int | None = None
    max_speakers: int | None = None
    """Absent: as many as there are. A clip holds seven voices and the room: of more, the seven who talk most
    have channels and the others stay in the room."""
    hop_s: int = 1
    """Seconds from one 10 s window of the bundled model to the next."""
    embed_every: int = 3
    """The voices of every so-manieth window are measured, which is most of the work."""
    device: Device = "auto"
    """`auto` (a GPU where torch finds one), `cpu` or `cuda`. Bytes are the same on the same kind only."""
    threads: int = 1
    """Per worker. Fixed, because results must not depend on the machine's load."""

    def __post_init__(self) -> None:
        for name in ("num_speakers", "min_speakers", "max_speakers"):
            value = getattr(self, name)
            _check(value is None or 1 <= value <= 50, f"diarize.{name}", value, "1 to 50")
        _check(1 <= self.hop_s <= 10, "diarize.hop_s", self.hop_s, "1 to 10")
        _check(1 <= self.embed_every <= 10, "diarize.embed_every", self.embed_every, "1 to 10")
        _check(self.threads >= 1, "diarize.threads", self.threads, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscribeSettings:
    """What was said."""

    backend: str = "default"
    """`default` (bundled Whisper base), `whisper:SIZE-OR-DIRECTORY`, or `none`."""
    language: str | None = "en"
    """ISO 639-1 code; absent to detect it per recording."""
    prompt: str = "Um, uh, hmm, er, ah."
    """Shown to the recogniser before every 30 s, so that it writes fillers down; "" for nothing. Only where
    the language is English. Short and punctuated: long prompts make Whisper base write nothing at all."""
    beam_size: int = 5
    threads: int = 1

    def __post_init__(self) -> None:
        _check(len(self.prompt) <= 200, "transcribe.prompt", self.prompt, "at most 200 characters")
        _check(1 <= self.beam_size <= 20, "transcribe.beam_size", self.beam_size, "1 to 20")
        _check(self.threads >= 1, "transcribe.threads", self.threads, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CueSettings:
    """Thresholds of the cues; every label carries those it was made with. Sources in docs/cues.md."""

    ipu_bridge_us: int = 200_000
    """Silences of one speaker up to this are inside an inter-pausal unit."""
    shift_silence_us: int = 250_000
    """A silence at least this long is a shift or a hold; a shorter one is neither."""
    shift_alone_us: int = 1_000_000
    """Only one speaker is active for this long before and after a shift or hold."""
    backchannel_longest_us: int = 1_000_000
    backchannel_silence_us: int = 1_000_000
    """Own silence before and after a backchannel."""
    backchannel_words: int = 3
    """A lexical backchannel has at most this many words, all of the list."""
    overlap_shortest_us: int = 100_000
    interruption_shortest_us: int = 1_000_000
    """An utterance that starts inside another's and is no backchannel lasts at least this long."""
    interruption_overlap_us: int = 500_000
    """Both talk for at least this long; less is the overlap of an ordinary change of speaker."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            _check(value >= 0, f"cues.{name}", value, "0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSettings:
    """How a recording is cut, and what goes to which split."""

    windows_per_clip: int = 150
    frames_per_window: Literal[8, 16] = 8
    """Mel and activity frames: 8 are 25 ms each, 16 are 12.5 ms."""
    validation_share: float = 0.05
    """Expected share of conversations; named speakers and conversations stay whole."""
    test_share: float = 0.05
    split_salt: str = ""
    """Change it to draw another split."""

    def __post_init__(self) -> None:
        _check(
            1 <= self.windows_per_clip <= 3000,
            "clips.windows_per_clip",
            self.windows_per_clip,
            "1 to 3000",
        )
        shares = (self.validation_share, self.test_share)
        _check(
            min(shares) >= 0 and sum(shares) <= 1,
            "clips.validation_share, clips.test_share",
            shares,
            "0 or more and together at most 1",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSettings:
    """How clips are packed into tars."""

    shard_bytes: int = 256 * 1024 * 1024
    """A shard is closed at this size."""

    def __post_init__(self) -> None:
        _check(self.shard_bytes >= 1024 * 1024, "shards.shard_bytes", self.shard_bytes, "1 MiB up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides the bytes of a build. Workers and cache places are no settings."""

    ingest: IngestSettings = field(default_factory=IngestSettings)
    diarize: DiarizeSettings = field(default_factory=DiarizeSettings)
    transcribe: TranscribeSettings = field(default_factory=TranscribeSettings)
    cues: CueSettings = field(default_factory=CueSettings)
    clips: ClipSettings = field(default_factory=ClipSettings)
    shards: ShardSettings = field(default_factory=ShardSettings)
    sidecars: bool = True
    """Use annotation files that lie beside a media file."""
