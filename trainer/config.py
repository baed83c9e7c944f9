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
    """The first so many layers have a dense feed-forward instead of experts."""
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    top_k: int
    expert_width: int
    shared_width: int
    """Width of the expert every position visits; 0 for none."""
    dense_width: int
    vocab: int
    tied: bool
    """Text embedding and text head share their table."""
    text_tokens: int = 256
    """Of the vocabulary those that text can be made of, after 16 for control: as `data.tokenizer` decides."""

    mel_bins: int = 80
    audio_levels: int = 16
    """Levels the model hears and predicts: a table over the shards' 256-level bytes."""
    audio_low: float = -5.0
    """log10 magnitude of the lowest and highest level's edge."""
    audio_high: float = 1.0
    frames_per_window: int = FRAMES_PER_WINDOW
    frames_per_position: int = 2
    """r: 25 ms frames embedded and predicted together."""
    picture_rows: int = 5
    """Patches of 40 x 40 pixels; 0 rows for a model that does not see."""
    picture_columns: int = 8
    patch_pixels: int = 40
    picture_every: int = 1
    """Pictures of every n-th window only, from the first one on."""
    text_slots: int = 8
    """Text tokens in a window at most; what does not fit waits for the next window of speech. Of bytes at
    normal rates 0.1 % come two windows late or more in English, 11 % in Russian, whose letters are two bytes
    (benchmarks/text_slots.py); a position stands only where there is a byte."""
    response_delay: int = 1
    """out_i is the model's sound of window i + response_delay; 1 is what can really be played."""
    audio_head: AudioHead = "dmel"
    sound_masked: float = 0.0
    """Share of windows of sound, heard or own, that are hidden from the model in training, so that it does
    not lean on the last one alone."""
    attention_window_s: float | None = None
    """Keys older than this are not attended to; None for all."""
    sink_turns: int = 1
    """With a window: micro-turns at the start that are attended to for ever."""
    rope_theta: float = 1e6
    rope: Literal["split", "whole"] = "split"
    """`split`: half of a head's pairs are turned by time, a quarter each by row and column. `whole`: all by
    time, as language models have it; in pictures every fourth by row, another fourth by column, besides."""
    head_norms: bool = True
    """Whether queries and keys are normed head by head, as Qwen3 has it and Llama has not."""
    norm_eps: float = 1e-6
    route_scale: float = 1.0
    balance_rate: float = 1e-3
    """How far a router bias moves at each optimiser step."""
    flow_width: int = 1024
    flow_layers: int = 6
    flow_steps: int = 8
    flow_dropout: float = 0.1
    """Share of sound targets learnt without their hidden vector, so that sampling can be guided."""
    depth_width: int = 512
    depth_groups: int = 8
    lora_rank: int = 0
    """With one, weights are those of `init` and frozen; beside some of attention's matrices a product of
    this rank is trained, alone, and merged on export. At 0 everything is trained."""
    lora_targets: tuple[str, ...] = ("query", "key_value", "out")
    user_audio: bool = False
    """Whether it has a head that tells what is heard next: as `loss.user_audio` decides, see `RunConfig`."""
    cues: bool = False
    """Whether it has a head that tells which cues begin and hold: as `loss.cues` decides."""

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
            "take a multiple of 64: so wide are its heads",
        )
        for name in ("rope_theta", "norm_eps", "route_scale", "attention_window_s"):
            value = getattr(self, name)
            fits = value is None or 0 < value <= 1e12
            _require(fits, f"model.{name} is {value}", "take one above 0, to a million millions")
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
            "take a multiple of 8, whose quarters are rotated apart, from the 16 on that kernels need",
        )
        _require(
            self.response_delay in (0, 1), "response_delay must be 0 or 1", "a negative one leaks the future"
        )
        _require(self.mel_bins % self.depth_groups == 0, "depth_groups must divide mel_bins", "take 8")
        _require(
            0 <= self.balance_rate <= 1,
            f"model.balance_rate is {self.balance_rate}",
            "take one in [0, 1]: the scores it competes with lie between",
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
"""One number in a stranger's file must not take all memory, nor a layer after another for hours."""
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
    """A dataset's folder or URL; or several with their shares of the documents: `A:0.7,s3://B/out:0.3`."""
    where: str = ""
    """An SQL condition over clips.parquet: which clips of the split are taken. All unless told."""
    cue_weight: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CUE_KINDS, 1))
    """How often in an epoch a clip stands that has a cue with this label; of several the most."""
    split: str = "train"
    length: int = 256
    """L: positions in a row."""
    rows: int = 4
    """Rows in a global batch, over all ranks and accumulation steps."""
    whole: bool = False
    """Whether a document that fits in a row is never cut: it begins a new row, and the rest of the one before
    is padding. For documents whose beginning says what to do."""
    together: bool = False
    """Whether the speakers of a clip follow one another, so that its pictures are decoded once for all.
    Batches then hold fewer recordings."""
    seed: int = 0
    pictures: bool = True
    hears: Literal["energy", "mix", "max"] = "energy"
    """What the model hears of the other channels: their mel bytes, energies added where several sound; the
    mix of their samples, exact from FLAC, ten times the work; or the largest of their bytes."""
    tokenizer: str = "bytes"
    """`bytes`, or the path of a byte-level `tokenizer.json`, of which the run keeps a copy."""
    workers: int = 1
    """Threads that read ahead; batches are the same for any number of them."""
    reader: Literal["map", "stream"] = "map"
    """Clips by their place, or shard after shard as webdataset streams them: for datasets on an object store.
    A stream's batches differ with the number of ranks, and a resumed run begins a new pass."""
    stream_buffer: int = 256
    """Documents that a stream draws the next one from."""
    check_shards: bool = True
    """Hold every shard to its digest before its first use, so that damage is named; one more read of each."""

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
    """Predicts what is heard next from the position before it; at 0 the model has no head for it."""
    cues: float = 0.0
    """Predicts which cues begin and hold in a window once it has been heard; 0 removes the head."""
    cue_weight: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CUE_KINDS, 1.0))
    """How much each label's targets count among those of cues."""
    answers: float = 0.0
    """In windows in which an answer of the speaker's is timely and the speaker is silent, `<spk>` is the
    target and counts so many times as much; where waiting is right and the speaker speaks, `<sil>` is. At 0
    the target is what the speaker did."""
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
    """A run or an exported model whose weights the run begins with; drawn ones without."""
    steps: int = 200
    accumulate: int = 1
    """Micro-batches in an optimiser step, per rank."""
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    recompute: Recompute = "none"
    """What is computed again in backward in place of being kept. `blocks`: attention and feed-forward, for a
    third more work and about a quarter of the memory; never the router's choices, and nothing is sent to
    other ranks again. `exchange`: rows for experts of other ranks are sent again, too."""
    expert_parallel: int = 1
    """Ranks among which the experts are divided."""
    replicas: int = 1
    """Whole copies of the model, each sharded over its part of the ranks."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    save_every: int = 100
    keep: int = 3
    log_every: int = 10
    held_out_every: int = 0
    """Steps between evaluations on the validation split, whose losses go into the log; 0 for none. A dataset
    without that split is not evaluated."""
    held_out_rows: int = 4
    """Rows of it that are evaluated, always the same."""
    timeout_minutes: int = 30
    """How long a rank waits for the others before it gives up."""
    nan_limit: int = 5
    """Steps in a row with a non-finite gradient before the run gives up."""
    deterministic: bool = True
    schema: str = "corpus.run/1"

    def __post_init__(self) -> None:
        listens, tells = self.loss.user_audio > 0, self.loss.cues > 0
        if (self.model.user_audio, self.model.cues) != (listens, tells):
            object.__setattr__(self, "model", replace(self.model, user_audio=listens, cues=tells))


def _weights(plain: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The weights of losses by their names, those inside others too."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", weight) for inner, weight in value.items())
        else:
            yield name, value


def check_ranges(config: RunConfig) -> None:
    """Ranges that no part of the configuration checks by itself. Raises: SettingsError."""
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
