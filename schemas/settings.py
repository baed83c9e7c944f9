"""All settings of a build, their defaults and bounds: one dataclass per table of corpus.toml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from corpus.schemas.clip import MOST_WINDOWS
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
    """False ignores the video."""
    picture_width: int = 320
    """In pixels; a multiple of 40."""
    picture_height: int = 200
    jpeg_quality: int = 5
    """Quantiser scale, 2 (best) to 31."""
    longest_filled_gap_s: int = 10
    """A longer stretch without any data in the chosen streams is not written."""

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
    """`default` (bundled weights), `pyannote:HUB-ID-OR-DIRECTORY`, `sortformer:HUB-ID-OR-FILE`, or `none`. A
    recording whose speakers have channels of their own is never diarized: a voice activity detector runs on
    each."""
    num_speakers: int | None = None
    """The exact number of speakers, if known."""
    min_speakers: int | None = None
    max_speakers: int | None = None
    """If not set, as many as are found. A clip holds seven voices and the room: of more, the seven who talk
    most get channels and the others stay in the room."""
    hop_s: int = 1
    """Seconds from one 10 s window of the bundled model to the next."""
    embed_every: int = 3
    """Voices are measured in every n-th window, which is most of the work; in more of them if the sound has
    under 300 windows, and in all if it has under 200."""
    faces: bool = True
    """Use faces if there are pictures: a mouth that moves with a voice keeps its speaker separate."""
    device: Device = "auto"
    """`auto` (a GPU if torch finds one), `cpu` or `cuda`. Results are identical only on the same kind."""
    threads: int = 1
    """Threads per worker. Fixed, because results must not depend on the machine's load."""

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
    """`default` (bundled Whisper base), `whisper:SIZE-OR-DIRECTORY`, `whisperx:SIZE-OR-DIRECTORY`, `none`."""
    language: str = "en"
    """ISO 639-1 code, or "auto": the language spoken in each recording, or no words if none is likely. Words
    for speech that is certainly in another language are left out and reported."""
    prompt: str = "Um, uh, hmm, er, ah."
    """Given to the recogniser before every 30 s, so that it transcribes fillers; "" for none. Used only for
    English. Keep it short and punctuated: long prompts make Whisper base write nothing at all."""
    beam_size: int = 3
    batch_size: int = 1
    """How many 30 s windows go through the network at once. More than 1 helps on a GPU; the sound is then cut
    in advance at quiet points, so words near a cut may differ."""
    align: bool = True
    """Find the words' boundaries in the sound. English only: a word that is not found, and every word in
    another language, keeps the recogniser's times, as its `timing` says."""
    device: Device = "auto"
    """`auto` (a GPU if ctranslate2 finds one), `cpu` or `cuda`. float16 on a GPU, otherwise float32."""
    threads: int = 1

    def __post_init__(self) -> None:
        _check(len(self.prompt) <= 200, "transcribe.prompt", self.prompt, "at most 200 characters")
        _check(1 <= self.batch_size <= 256, "transcribe.batch_size", self.batch_size, "1 to 256")
        _check(1 <= self.beam_size <= 20, "transcribe.beam_size", self.beam_size, "1 to 20")
        _check(self.threads >= 1, "transcribe.threads", self.threads, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparateSettings:
    """How overlapped speech is treated when speakers share a channel."""

    backend: str = "mask"
    """`mask` (it stays in the room, flagged), `pyannote:HUB-ID-OR-DIRECTORY` of a speech separation pipeline,
    or `asteroid:FILE` of a checkpoint. Each recording is tested first: if the separator does badly on
    mixtures of its speech, its overlaps also stay in the room."""
    device: Device = "auto"
    """`auto` (a GPU if torch finds one), `cpu` or `cuda`. Results are identical only on the same kind."""
    threads: int = 1

    def __post_init__(self) -> None:
        _check(self.threads >= 1, "separate.threads", self.threads, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class SightSettings:
    """What is looked for in the pictures."""

    enabled: bool = True
    """False skips sight; labels that need it are then reported as not made."""
    rate_hz: float = 12.5
    """Pictures analysed per second, at most."""
    faces: bool = True
    """False looks only for movement and cuts, which needs no model."""
    most_faces: int = 6
    """Faces tracked at a time; each costs one mesh per picture."""
    hands: bool = False
    """True also looks for hands and their joints."""
    most_hands: int = 4
    """Hands tracked at a time; each costs about six meshes per picture."""
    bodies: bool = False
    """True also looks for people and the joints of their bodies."""
    most_bodies: int = 4
    """Bodies tracked at a time; each costs about ten meshes per picture."""

    def __post_init__(self) -> None:
        _check(1 <= self.rate_hz <= 60, "sight.rate_hz", self.rate_hz, "1 to 60")
        for name in ("most_faces", "most_hands", "most_bodies"):
            value = getattr(self, name)
            _check(1 <= value <= 16, f"sight.{name}", value, "1 to 16")


@dataclass(frozen=True, slots=True, kw_only=True)
class CueSettings:
    """Thresholds of the cues; every label records those it was made with. Sources: docs/cues.md."""

    ipu_bridge_us: int = 200_000
    """A speaker's silences up to this long are inside an inter-pausal unit."""
    shift_silence_us: int = 250_000
    """A silence at least this long is a shift or a hold; a shorter one is neither."""
    shift_alone_us: int = 1_000_000
    """Only one speaker is active for this long before and after a shift or hold."""
    backchannel_longest_us: int = 1_000_000
    backchannel_silence_us: int = 1_000_000
    """The speaker's own silence before and after a backchannel."""
    backchannel_words: int = 3
    """A lexical backchannel has at most this many words, all from the list."""
    overlap_shortest_us: int = 100_000
    interruption_shortest_us: int = 1_000_000
    """An utterance that starts inside another's and is not a backchannel lasts at least this long."""
    interruption_overlap_us: int = 500_000
    """Both talk for at least this long; less is the overlap of an ordinary change of speaker."""
    backchannel_shortest_us: int = 100_000
    """Nothing is said in less time; shorter units are errors in the turns."""
    backchannel: Literal["learned", "rule"] = "learned"
    """For units with words: the linear model, or only words from the list."""
    backchannel_threshold_percent: int = 33
    """How likely a backchannel must be, according to the model."""
    stall_threshold_percent: int = 24
    invitation_threshold_percent: int = 22
    """How likely a question must be if nothing is punctuated."""
    invitation_sure_percent: int = 50
    """The same if the words are punctuated and the unit has no question mark."""
    invitation_asked_percent: int = 5
    """The same if the unit has a question mark."""
    self_correction: Literal["learned", "rule"] = "learned"
    """The tagger of boosted trees, or the plain rule: words repeated at once, and cut-off words."""
    self_correction_threshold_percent: int = 35
    """How sure the tagger must be that a reparandum ends with a word."""
    thinking_shortest_us: int = 250_000
    """A silence in an unfinished sentence must last at least this long."""
    thinking_longest_us: int = 4_000_000
    """After a longer silence a new sentence begins."""
    prosody: bool = True
    """Use the voices' pitch, loudness and lengthening for labels and their evidence."""
    prolongation_least_percent: int = 170
    """How long a drawn-out word lasts, relative to what is usual for its letters and its speaker."""
    prolongation_shortest_us: int = 300_000
    silent_pause_shortest_us: int = 250_000
    """A silence next to a filler or a drawn-out word must last at least this long."""
    answer_within_us: int = 1_500_000
    """An answer is timely for this long after what it answers."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if not isinstance(value, (str, bool)):
                _check(value >= 0, f"cues.{name}", value, "0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualSettings:
    """Thresholds of the visual cues; every label records those it was made with. Sources: docs/cues.md."""

    cut_least: float = 0.5
    """Share of a picture that is gone in the next one at a cut."""
    motion_least: float = 4.0
    """Movement: grey levels (of 255) by which the part that changes most must change."""
    motion_bridge_us: int = 500_000
    """Rests up to this long are inside a movement."""
    still_us: int = 600_000
    """How long nothing moves before a movement starts and after it has stopped."""
    repetition_least: int = 2
    repetition_shortest_us: int = 300_000
    repetition_longest_us: int = 4_000_000
    repetition_alike: float = 0.5
    """Similarity of the movement to itself one period later; 1 means identical."""
    face_us: int = 1_000_000
    """How long a face is seen after it enters or before it leaves."""
    nod_degrees: float = 4.0
    shake_degrees: float = 6.0
    """How far the head turns each way."""
    gaze_degrees: float = 25.0
    """How far the head is turned from its usual direction."""
    gaze_us: int = 1_000_000
    posture_heights: float = 0.4
    """How many of its own heights the head has moved, to stay there."""
    posture_us: int = 2_000_000
    speaker_alike: float = 0.25
    """Least correlation of a mouth's movement with a voice for the face to be the speaker's."""
    speaker_margin: float = 0.15
    """Least lead of the best voice over the next."""

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            _check(value >= 0, f"visual.{name}", value, "0 or more")
        _check(self.repetition_least >= 2, "visual.repetition_least", self.repetition_least, "at least 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySettings:
    """Optional measurements of every clip, beside those that cost nothing. Definitions: docs/quality.md."""

    dnsmos_stretches: int = 0
    """How many 9 s stretches per clip, those with most speech, DNSMOS rates; each takes half a second of one
    core. 0: none, and no model is needed."""

    def __post_init__(self) -> None:
        _check(0 <= self.dnsmos_stretches <= 20, "quality.dnsmos_stretches", self.dnsmos_stretches, "0 to 20")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """Which clips are left out, each reported with its figure. Off by default; unknown figures pass."""

    min_snr_db: float | None = None
    max_clipping_share: float | None = None
    min_bandwidth_hz: float | None = None
    """4500 excludes telephone sound, whatever its sample rate."""
    min_speech_share: float | None = None
    max_overlap_share: float | None = None
    max_monologue_s: float | None = None
    min_words_per_second: float | None = None
    max_words_per_second: float | None = None
    min_word_confidence: float | None = None
    min_diarization_confidence: float | None = None
    languages: tuple[str, ...] = ()
    """Language codes to keep; a clip whose language is unknown is kept."""
    min_language_probability: float | None = None
    max_room_share: float | None = None
    min_separation_gain_db: float | None = None
    min_dnsmos_signal: float | None = None
    min_dnsmos_background: float | None = None
    min_dnsmos_overall: float | None = None

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            shares = name.endswith(("_share", "_confidence", "_probability"))
            if shares and value is not None:
                _check(0 <= value <= 1, f"filters.{name}", value, "0 to 1")
        for code in self.languages:
            _check(code.isalpha() and code.islower(), "filters.languages", code, 'codes such as "en"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSettings:
    """How a recording is cut into clips, and how recordings are split."""

    windows_per_clip: int = 150
    frames_per_window: Literal[8, 16] = 8
    """Mel and activity frames: 8 of 25 ms each, or 16 of 12.5 ms."""
    validation_share: float = 0.05
    """Expected share of conversations; named speakers and conversations are never divided."""
    test_share: float = 0.05
    split_salt: str = ""
    """Change this to draw another split."""

    def __post_init__(self) -> None:
        _check(
            1 <= self.windows_per_clip <= MOST_WINDOWS,
            "clips.windows_per_clip",
            self.windows_per_clip,
            f"1 to {MOST_WINDOWS}",
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
    """Approximate size of a shard: from half to one and a half times this."""

    def __post_init__(self) -> None:
        _check(self.shard_bytes >= 1024 * 1024, "shards.shard_bytes", self.shard_bytes, "1 MiB up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that determines the output of a build. Workers and cache folders are not settings."""

    ingest: IngestSettings = field(default_factory=IngestSettings)
    diarize: DiarizeSettings = field(default_factory=DiarizeSettings)
    transcribe: TranscribeSettings = field(default_factory=TranscribeSettings)
    separate: SeparateSettings = field(default_factory=SeparateSettings)
    sight: SightSettings = field(default_factory=SightSettings)
    cues: CueSettings = field(default_factory=CueSettings)
    visual: VisualSettings = field(default_factory=VisualSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    filters: FilterSettings = field(default_factory=FilterSettings)
    clips: ClipSettings = field(default_factory=ClipSettings)
    shards: ShardSettings = field(default_factory=ShardSettings)
    sidecars: bool = True
    """Use annotation files that lie beside a media file."""

    def __post_init__(self) -> None:
        asked = [name for name in FilterSettings.__dataclass_fields__ if name.startswith("min_dnsmos")]
        set_ones = [name for name in asked if getattr(self.filters, name) is not None]
        if set_ones and not self.quality.dnsmos_stretches:
            raise SettingsError(
                f"filters.{set_ones[0]} is set, but DNSMOS is not measured",
                todo="set quality.dnsmos_stretches = 1, or remove the filter",
            )
