"""A line of RUN/log.jsonl: the steps since the previous line, over all ranks."""

from __future__ import annotations

from dataclasses import dataclass

LOG_FORM = "corpus.log/4"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLine:
    """One mixture of experts."""

    layer: int
    load: float
    """Tokens of the busiest expert relative to the mean."""
    load_speaking: float | None
    """The same in micro-turns in which the model speaks; windows of silence are all routed alike."""
    entropy: float
    """Entropy of the experts' shares of tokens, relative to its maximum; 1 is even."""
    dead: int
    """Experts that received no token."""
    margin: float
    """Mean gap in score, bias included, between the last chosen expert and the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsLine:
    """Held-out losses over windows `[start, stop)` of a document; they should stay flat."""

    start: int
    stop: int
    control: float | None
    """Unweighted nats per token."""
    words: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """The steps since the previous line, over all ranks. None: no value."""

    schema: str = LOG_FORM
    step: int
    loss: float | None
    """The weighted loss that is trained; its parts below are unweighted."""
    text: float | None
    """Nats per unit of weight, over text and control tokens."""
    audio: float | None
    """Nats per bin, or the flow's squared error."""
    user_audio: float | None
    """Nats per bin of what is heard next; None without `loss.user_audio`."""
    cues: float | None
    """Nats per cue target, weighted by its label; None without `loss.cues`, or if no label was made."""
    balance: float | None
    router_z: float | None
    nats_control: float | None
    """Unweighted nats per token of `<sil>` and `<spk>`."""
    nats_onset: float | None
    """Unweighted nats of the first `<spk>` after a silence in the same segment."""
    nats_words: float | None
    """Unweighted nats per text token."""
    nats_end: float | None
    """Unweighted nats of `<eow>`."""
    held_out_control: float | None
    """`nats_control` on rows of the validation split, every `held_out_every` steps; None in other lines."""
    held_out_words: float | None
    """`nats_words` on the same rows."""
    held_out_audio: float | None
    """The loss of sound on the same rows."""
    held_out_by_window: tuple[WindowsLine, ...]
    """The same rows by the window's number; empty in other lines."""
    speaking: float | None
    """Share of windows in which the model speaks, among those where this is known."""
    grad_norm: float | None
    """Gradient norm of the last step, before clipping; the next fields are of groups of parameters."""
    grad_norm_experts: float | None
    grad_norm_router: float | None
    grad_norm_embeddings: float | None
    update: float | None
    """Root mean square of the last update over that of the parameters; then of groups of parameters."""
    update_experts: float | None
    update_router: float | None
    update_embeddings: float | None
    lr: float
    positions: int
    """Positions trained on since the run's start, without padding."""
    positions_per_s: float
    audio_hours_per_hour: float
    """Hours of conversation (both sides) trained on per hour."""
    data_wait_ms: float
    """Mean time that a step waits for its batches, on rank 0."""
    mfu: float | None
    gpu_peak_bytes: int | None
    """The most GPU memory that any rank's tensors have held since the process started."""
    expert_load: float | None
    """Tokens of the busiest expert relative to the mean, in the layer where this is highest."""
    padding: float
    """Share of padding among the positions of these steps."""
    text_spilled: float
    """Share of text tokens written in a later window than they belong to."""
    text_later: float
    """Share of text tokens written after a silent window, in later speech than they were said in."""
    text_lost: float
    """Share of text tokens that are never written, being too close to the start or end of a document."""
    skipped: int
    """Steps since the run's start that were skipped because of a NaN or Inf gradient."""
    layers: tuple[LayerLine, ...]
    """The layers with experts."""
