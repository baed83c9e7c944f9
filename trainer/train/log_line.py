"""A line of RUN/log.jsonl: the steps since the previous line, over all ranks."""

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
    """The same in micro-turns in which the model speaks: silence is uniform and is all routed alike."""
    entropy: float
    """Entropy of the experts' shares of tokens, relative to its maximum: 1 is even."""
    dead: int
    """Experts without a token."""
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
    """The steps since the previous line, over all ranks. None: no value."""

    schema: str = LOG_FORM
    step: int
    loss: float | None
    """Weighted, as trained; its parts, below, are unweighted."""
    text: float | None
    """Nats a unit of weight, over text and control tokens."""
    audio: float | None
    """Nats a bin, or the flow's squared error."""
    user_audio: float | None
    """Nats a bin of what is heard next; None without `loss.user_audio`."""
    cues: float | None
    """Nats a cue target, weighted by its label; None without `loss.cues`, or where no label was made."""
    balance: float | None
    router_z: float | None
    nats_control: float | None
    """Unweighted nats a token of `<sil>` and `<spk>`."""
    nats_onset: float | None
    """Unweighted nats of the first `<spk>` after a silence in the same segment."""
    nats_words: float | None
    """Unweighted nats a text token."""
    nats_end: float | None
    """Unweighted nats of `<eow>`."""
    held_out_control: float | None
    """`nats_control` on rows of the validation split, every `held_out_every` steps; None in other lines."""
    held_out_words: float | None
    """`nats_words` on the same rows."""
    held_out_audio: float | None
    """… and the sound's loss; None in lines since which nobody looked."""
    held_out_by_window: tuple[WindowsLine, ...]
    """The same rows by a window's number; none where nobody looked."""
    speaking: float | None
    """Share of windows in which the model speaks, of those in which that is known."""
    grad_norm: float | None
    """Gradient norm of the last step, before clipping; then of groups of parameters."""
    grad_norm_experts: float | None
    grad_norm_router: float | None
    grad_norm_embeddings: float | None
    update: float | None
    """Update : parameters of the last step, root mean squares; then of groups of parameters."""
    update_experts: float | None
    update_router: float | None
    update_embeddings: float | None
    lr: float
    positions: int
    """Since the run's start, without padding."""
    positions_per_s: float
    audio_hours_per_hour: float
    """Hours of conversation, both sides, trained on in an hour."""
    data_wait_ms: float
    """Mean time a step waits for its batches, on rank 0."""
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
    """Steps since the run's start that were skipped because of a NaN or Inf gradient."""
    layers: tuple[LayerLine, ...]
    """Layers with experts."""
