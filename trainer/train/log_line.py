"""A line of RUN/log.jsonl: what the steps since the line before came to, over all ranks."""

from __future__ import annotations

from dataclasses import dataclass

LOG_FORM = "corpus.log/4"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLine:
    """One mixture of experts."""

    layer: int
    load: float
    """Tokens of the busiest expert : mean."""
    load_speaking: float | None
    """The same in micro-turns the model speaks in: silence is much alike and goes the same way."""
    entropy: float
    """Of the experts' shares of tokens, as a share of the greatest: 1 is even."""
    dead: int
    """Experts no token went to."""
    margin: float
    """Mean gap between the last chosen expert's score, bias included, and the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsLine:
    """Held-out windows `[start, stop)` of what a row shows at once: losses must stay flat over them."""

    start: int
    stop: int
    control: float | None
    """Nats a token, without weights."""
    words: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """The steps since the line before, all ranks together. None: nothing to tell."""

    schema: str = LOG_FORM
    step: int
    loss: float | None
    """Weighted, as it is trained; parts below as they are."""
    text: float | None
    """Nats a unit of weight: text and control tokens."""
    audio: float | None
    """Nats a bin, or the flow's squared error."""
    user_audio: float | None
    """Nats a bin of what is heard next; None without `loss.user_audio`."""
    cues: float | None
    """Nats a cue target, weighed by its label; None without `loss.cues`, or where no label was made."""
    balance: float | None
    router_z: float | None
    nats_control: float | None
    """Nats a token, without weights: `<sil>` or `<spk>`, …"""
    nats_onset: float | None
    """… the first `<spk>` after a silence that stands in the same segment, …"""
    nats_words: float | None
    """… text, …"""
    nats_end: float | None
    """… and `<eow>`."""
    held_out_control: float | None
    """Of rows of the validation split, where `held_out_every` had looked: nats a token, without weights, …"""
    held_out_words: float | None
    held_out_audio: float | None
    """… and the sound's loss; None in lines since which nobody looked."""
    held_out_by_window: tuple[WindowsLine, ...]
    """The same rows by a window's number; none where nobody looked."""
    speaking: float | None
    """Share of windows spoken in, of those in which it is known."""
    grad_norm: float | None
    """Of the last step, before clipping; below that of groups of parameters."""
    grad_norm_experts: float | None
    grad_norm_router: float | None
    grad_norm_embeddings: float | None
    update: float | None
    """How far parameters went in the last step : how large they were, root mean squares; then groups."""
    update_experts: float | None
    update_router: float | None
    update_embeddings: float | None
    lr: float
    positions: int
    """Since the run's start, without padding; below per second of these steps."""
    positions_per_s: float
    audio_hours_per_hour: float
    """Hours of conversation, both sides, in an hour."""
    data_wait_ms: float
    """A step's wait for its batches, mean; of rank 0."""
    mfu: float | None
    gpu_peak_bytes: int | None
    """Most GPU memory a rank's tensors have held since the run was started."""
    expert_load: float | None
    """Tokens of the busiest expert : mean, in the layer where it is highest."""
    padding: float
    """Share of all positions in these steps."""
    text_spilled: float
    """Share of text tokens written in a later window than they belong to."""
    text_later: float
    """Share of text tokens written after a silent window: later than the speech they were said in."""
    text_lost: float
    """Share of text tokens that are never written: their document ended, or began, too close to them."""
    skipped: int
    """Steps since the run's start whose gradient was no number."""
    layers: tuple[LayerLine, ...]
    """Layers with experts."""
