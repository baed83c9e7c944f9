"""Every choice of a training run, as frozen dataclasses: the model, its data, the optimiser, the run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from corpus.schemas.clock import FRAMES_PER_WINDOW, US, WINDOW_US
from corpus.schemas.codec import to_plain
from corpus.schemas.conversation import CUE_KINDS
from corpus.schemas.errors import SettingsError

AudioHead = Literal["dmel", "flow", "depth"]
Recompute = Literal["none", "blocks", "exchange"]


def _require(ok: bool, what: str, todo: str) -> None:
    if not ok:
        raise SettingsError(what, where="trainer configuration", todo=todo)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The interaction model. Widths are ours: the article publishes none."""

    width: int
    """D, the residual stream."""
    layers: int
    dense_layers: int
    """Number of first layers that have a dense feed-forward instead of experts."""
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    top_k: int
    expert_width: int
    shared_width: int
    """Width of the expert that every position visits; 0 for none."""
    dense_width: int
    vocab: int
    tied: bool
    """Whether the text embedding and the text head share their table."""
    text_tokens: int = 256
    """Tokens of text in the vocabulary, after 16 for control; follows from `data.tokenizer`."""

    mel_bins: int = 80
    audio_levels: int = 16
    """Levels the model hears and predicts: a table over the shards' 256-level bytes."""
    audio_low: float = -5.0
    """log10 magnitudes at the lower edge of the lowest level and the upper edge of the highest."""
    audio_high: float = 1.0
    frames_per_window: int = FRAMES_PER_WINDOW
    frames_per_position: int = 2
    """r: 25 ms frames embedded and predicted together."""
    picture_rows: int = 5
    """Rows and columns of patches of 40 x 40 pixels; 0 rows for a model that does not see."""
    picture_columns: int = 8
    patch_pixels: int = 40
    picture_every: int = 1
    """The model sees the picture of every n-th window only, beginning with the first."""
    text_slots: int = 8
    """The most text tokens in a window; what does not fit waits for the next window of speech. With bytes at
    normal rates of speech, 0.1 % come two or more windows late in English and 11 % in Russian, whose letters
    take two bytes (benchmarks/text_slots.py). Unused slots take no positions."""
    response_delay: int = 1
    """out_i is the model's sound of window i + response_delay. Only 1 can be played in real time."""
    audio_head: AudioHead = "dmel"
    sound_masked: float = 0.0
    """Share of the windows of sound, heard and own, that are hidden from the model in training, so that it
    does not rely on the last one alone."""
    attention_window_s: float | None = None
    """Keys older than this are not attended to. None: all keys are."""
    sink_turns: int = 1
    """With an attention window: the number of first micro-turns that are always attended to."""
    rope_theta: float = 1e6
    rope: Literal["split", "whole"] = "split"
    """`split`: half of a head's pairs rotate with time, a quarter with the row and a quarter with the column.
    `whole`: all rotate with time, as in language models; in pictures every fourth rotates with the row too,
    and another fourth with the column."""
    head_norms: bool = True
    """Whether queries and keys are normed head by head, as in Qwen3 but not in Llama."""
    norm_eps: float = 1e-6
    route_scale: float = 1.0
    balance_rate: float = 1e-3
    """How far a router bias moves at each optimiser step."""
    flow_width: int = 1024
    flow_layers: int = 6
    flow_steps: int = 8
    flow_dropout: float = 0.1
    """Share of sound targets that are learnt without their hidden vector, so that sampling can be guided."""
    depth_width: int = 512
    depth_groups: int = 8
    lora_rank: int = 0
    """Above 0, the weights come from `init` and are frozen; only a product of this rank beside some of
    attention's matrices is trained, and it is merged on export. At 0 everything is trained."""
    lora_targets: tuple[str, ...] = ("query", "key_value", "out")
    user_audio: bool = False
    """Whether it has a head that predicts what is heard next; follows from `loss.user_audio`."""
    cues: bool = False
    """Whether it has a head that predicts which cues begin and hold; follows from `loss.cues`."""

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value, most = getattr(self, name), _MOST_LAYERS if name == "layers" else _MOST
            _require(value >= least, f"model.{name} is {value}", f"take at least {least}")
            _require(value <= most, f"model.{name} is {value}", f"take at most {most}")
        for name in ("width", "expert_width"):
            value = getattr(self, name)
            _require(value % 8 == 0, f"model.{name} is {value}", "take a multiple of 8: kernels need it")
        _require(
            self.dense_layers <= self.layers, "more dense_layers than layers", "lower model.dense_layers"
        )
        _require(
            self.depth_width % max(1, self.depth_width // 64) == 0,
            f"model.depth_width is {self.depth_width}",
            "take a multiple of 64, the width of its heads",
        )
        for name in ("rope_theta", "norm_eps", "route_scale", "attention_window_s"):
            value = getattr(self, name)
            fits = value is None or 0 < value <= 1e12
            _require(fits, f"model.{name} is {value}", "take one above 0, at most 1e12")
        _require(
            self.frames_per_window % self.frames_per_position == 0,
            f"{self.frames_per_position} frames a position do not divide {self.frames_per_window}",
            "take 1, 2, 4 or 8",
        )
        _require(self.heads % self.kv_heads == 0, "heads must be a multiple of kv_heads", "change one")
        _require(0 < self.top_k <= self.experts, "top_k must lie in [1, experts]", "change one")
        _require(
            self.head_dim % 8 == 0 and self.head_dim >= 16,
            f"model.head_dim is {self.head_dim}",
            "take a multiple of 8 (its quarters are rotated separately), at least 16 (kernels need it)",
        )
        _require(
            self.response_delay in (0, 1), "response_delay must be 0 or 1", "a negative one leaks the future"
        )
        _require(self.mel_bins % self.depth_groups == 0, "depth_groups must divide mel_bins", "take 8")
        _require(
            0 <= self.balance_rate <= 1,
            f"model.balance_rate is {self.balance_rate}",
            "take one in [0, 1], the range of the scores it is added to",
        )
        _require(0 <= self.sound_masked < 1, "sound_masked must lie in [0, 1)", "0 hides nothing")
        _require(0 <= self.flow_dropout < 1, "flow_dropout must lie in [0, 1)", "0.1 is usual")
        _require(
            bool(self.lora_targets) and {"query", "key_value", "out"}.issuperset(self.lora_targets),
            f"model.lora_targets is {', '.join(self.lora_targets) or 'empty'}",
            "take some of query, key_value, out",
        )
        _require(2 <= self.audio_levels <= 256, "audio_levels must lie in [2, 256]", "16 is usual")

    @property
    def audio_positions(self) -> int:
        """Positions of one window's sound."""
        return self.frames_per_window // self.frames_per_position

    @property
    def patches(self) -> int:
        return self.picture_rows * self.picture_columns

    @property
    def attention_window_turns(self) -> int | None:
        """The attention window in micro-turns, rounded up."""
        if self.attention_window_s is None:
            return None
        return -(-round(self.attention_window_s * US) // WINDOW_US)


_MOST, _MOST_LAYERS = 1 << 20, 4096
"""A single number in a downloaded file must not use up all memory, or build layers for hours."""
_LEAST = {
    **dict.fromkeys(
        ("vocab", "width", "layers", "heads", "kv_heads", "head_dim", "experts", "expert_width"), 1
    ),
    **dict.fromkeys(
        ("text_tokens", "dense_width", "mel_bins", "frames_per_window", "frames_per_position"), 1
    ),
    **dict.fromkeys(
        (
            "text_tokens",
            "patch_pixels",
            "picture_every",
            "flow_width",
            "flow_steps",
            "depth_width",
            "depth_groups",
        ),
        1,
    ),
    **dict.fromkeys(("dense_layers", "shared_width", "picture_rows", "picture_columns"), 0),
    **dict.fromkeys(("text_slots", "sink_turns", "flow_layers", "lora_rank"), 0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """What the model is trained on and in what order."""

    data: str = ""
    """A dataset's folder or URL, or several with their shares of the documents: `A:0.7,s3://B/out:0.3`."""
    where: str = ""
    """An SQL condition over clips.parquet that selects clips of the split. All clips if empty."""
    cue_weight: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CUE_KINDS, 1))
    """How often a clip with a cue of this label appears in an epoch; the largest of several labels counts."""
    split: str = "train"
    length: int = 256
    """L: positions in a row."""
    rows: int = 4
    """Rows in a global batch, over all ranks and accumulation steps."""
    whole: bool = False
    """Whether a document that fits in a row is never cut: it begins a new row, and the rest of the previous
    row is padding. For documents whose beginning says what to do."""
    together: bool = False
    """Whether the documents of a clip's speakers follow one another, so that its pictures are decoded only
    once. Batches then hold fewer recordings."""
    seed: int = 0
    pictures: bool = True
    hears: Literal["energy", "mix", "max"] = "energy"
    """What the model hears of the other channels. `energy`: their mel bytes, with energies added where
    several sound. `mix`: the mix of their samples, exact from FLAC, at ten times the work. `max`: the largest
    of their bytes."""
    tokenizer: str = "bytes"
    """`bytes`, or the path of a byte-level `tokenizer.json`; the run keeps a copy of it."""
    workers: int = 1
    """Threads that read ahead; their number does not change the batches."""
    reader: Literal["map", "stream"] = "map"
    """`map` reads clips by their place; `stream` reads shard after shard through webdataset, for datasets on
    an object store. A stream's batches depend on the number of ranks, and a resumed run begins a new pass."""
    stream_buffer: int = 256
    """Size of the buffer that a stream draws the next document from."""
    check_shards: bool = True
    """Whether each shard is checked against its digest before its first use, so that damage is reported; this
    reads each shard once more."""

    def __post_init__(self) -> None:
        for name in ("data", "where", "split", "tokenizer"):
            _require("\0" not in getattr(self, name), f"data.{name} holds a zero byte", "write it without")
        unknown = sorted(set(self.cue_weight) - set(CUE_KINDS))
        _require(not unknown, f"data.cue_weight of {', '.join(unknown)}", f"one of {', '.join(CUE_KINDS)}")
        wrong = sorted(label for label, times in self.cue_weight.items() if not 1 <= times <= 1000)
        _require(not wrong, f"data.cue_weight of {', '.join(wrong)}", "take a whole number from 1 to 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Weights of the losses."""

    text: float = 1.0
    silence: float = 0.2
    """`<sil>` after `<sil>`."""
    onset: float = 3.0
    """The first `<spk>` after silence."""
    offset: float = 1.0
    """The first `<sil>` after speech, and `<spk>` inside speech."""
    end_of_window: float = 0.5
    audio: float = 1.0
    user_audio: float = 0.0
    """For predicting what is heard next from the position before it; at 0 the model has no head for it."""
    cues: float = 0.0
    """For predicting which cues begin and hold in a window once it has been heard; 0 removes the head."""
    cue_weight: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CUE_KINDS, 1.0))
    """The weight of each label's targets within the loss of cues."""
    answers: float = 0.0
    """Where an answer by the speaker is timely but the speaker is silent, the target is `<spk>`, with its
    weight times this; where waiting is right but the speaker speaks, it is `<sil>` likewise. At 0 the target
    is what the speaker did."""
    balance: float = 1e-4
    router_z: float = 1e-5

    def __post_init__(self) -> None:
        unknown = sorted(set(self.cue_weight) - set(CUE_KINDS))
        _require(not unknown, f"loss.cue_weight of {', '.join(unknown)}", f"one of {', '.join(CUE_KINDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """The optimiser and its schedule."""

    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 3e-3
    muon_lr: float = 2e-2
    betas: tuple[float, ...] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    clip: float = 1.0
    schedule: Literal["wsd", "cosine", "constant"] = "wsd"
    warmup_steps: int = 20
    decay_share: float = 0.2
    final_share: float = 0.0
    """The learning rate at the end, as a share of its peak."""
    ema_decay: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """A whole run. Written to RUN/config.json, resolved."""

    model: ModelConfig
    preset: str
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    init: str = ""
    """A run or an exported model whose weights the run begins with; random weights if empty."""
    steps: int = 200
    accumulate: int = 1
    """Micro-batches per optimiser step and rank."""
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    recompute: Recompute = "none"
    """What the backward pass computes again instead of keeping it. `blocks`: attention and feed-forward, for
    a third more work and about a quarter of the memory; never the router's choices, and nothing is sent to
    other ranks twice. `exchange`: rows for experts on other ranks are sent again, too."""
    expert_parallel: int = 1
    """Ranks among which the experts are divided."""
    replicas: int = 1
    """Whole copies of the model, each sharded over its part of the ranks."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    save_every: int = 100
    keep: int = 3
    log_every: int = 10
    held_out_every: int = 0
    """Steps between evaluations on the validation split, whose losses go into the log; 0 for none. Without
    that split there is no evaluation."""
    held_out_rows: int = 4
    """Rows of the validation split that are evaluated, always the same ones."""
    timeout_minutes: int = 30
    """How long a rank waits for the others before it gives up."""
    nan_limit: int = 5
    """The run gives up after this many steps in a row with a non-finite gradient."""
    deterministic: bool = True
    schema: str = "corpus.run/1"

    def __post_init__(self) -> None:
        listens, tells = self.loss.user_audio > 0, self.loss.cues > 0
        if (self.model.user_audio, self.model.cues) != (listens, tells):
            object.__setattr__(self, "model", replace(self.model, user_audio=listens, cues=tells))


def _weights(plain: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Every loss weight by its name, nested ones as `cue_weight.LABEL`."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", weight) for inner, weight in value.items())
        else:
            yield name, value


def check_ranges(config: RunConfig) -> None:
    """Check the ranges that the parts of the configuration do not check themselves. Raises: SettingsError."""
    optim, data = config.optim, config.data
    wanted = (
        ("steps", config.steps >= 1, "at least 1"),
        ("accumulate", config.accumulate >= 1, "at least 1"),
        ("save_every", config.save_every >= 1, "at least 1"),
        ("log_every", config.log_every >= 1, "at least 1"),
        ("keep", config.keep >= 1, "at least 1"),
        ("held_out_every", config.held_out_every >= 0, "not negative"),
        ("held_out_rows", config.held_out_rows >= 1, "at least 1"),
        ("timeout_minutes", config.timeout_minutes >= 1, "at least 1"),
        ("nan_limit", config.nan_limit >= 1, "at least 1"),
        ("expert_parallel", config.expert_parallel >= 1, "at least 1"),
        ("replicas", config.replicas >= 1, "at least 1"),
        ("data.rows", data.rows >= 1, "at least 1"),
        ("data.seed", 0 <= data.seed < 2**63, "in [0, 2^63)"),
        ("data.workers", data.workers >= 1, "at least 1"),
        ("data.stream_buffer", data.stream_buffer >= 1, "at least 1"),
        *(
            (f"loss.{name}", 0 <= value <= 1e9, "in [0, 1e9]")
            for name, value in _weights(to_plain(config.loss))
        ),
        ("optim.lr", optim.lr >= 0, "not negative"),
        ("optim.muon_lr", optim.muon_lr >= 0, "not negative"),
        ("optim.eps", optim.eps > 0, "above 0"),
        ("optim.weight_decay", optim.weight_decay >= 0, "not negative"),
        ("optim.clip", optim.clip > 0, "above 0"),
        ("optim.betas", len(optim.betas) == 2 and all(0 <= b < 1 for b in optim.betas), "two in [0, 1)"),
        ("optim.warmup_steps", optim.warmup_steps >= 0, "not negative"),
        ("optim.decay_share", 0 <= optim.decay_share <= 1, "in [0, 1]"),
        ("optim.final_share", 0 <= optim.final_share <= 1, "in [0, 1]"),
        ("optim.ema_decay", optim.ema_decay is None or 0 <= optim.ema_decay < 1, "none or in [0, 1)"),
    )
    for name, fits, must in wanted:
        if not fits:
            raise SettingsError("is out of range", where=name, todo=f"must be {must}")
