"""Statistics of a micro-batch besides its loss: sums and counts of fixed size, computed on its device.

# B rows, L positions, N positions that predict text, S streams

Sums and counts add up over micro-batches and ranks; they are divided only when a line is written. Nothing
here takes part in a gradient and nothing goes to the host.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from corpus.trainer.data.sequence import EOW, SIL, SPK, Batch

STREAMS = ("control", "onset", "words", "end")
"""`<sil>` or `<spk>`; the first `<spk>` after silence alone; text; `<eow>`."""
TEXT_SUMS = (*(f"nats_{name}" for name in STREAMS), *STREAMS, "speaks")
"""Unweighted nats and token counts of each stream, and windows with speech; only where there is loss."""


def _turn_begins(batch: Batch) -> torch.Tensor:
    """(B, L): where a micro-turn begins."""
    turn_BL = batch.turn_BL
    begins_BL = torch.ones_like(turn_BL, dtype=torch.bool)
    begins_BL[:, 1:] = turn_BL[:, 1:] != turn_BL[:, :-1]
    return begins_BL


def windows_of(batch: Batch) -> torch.Tensor:
    """The number of micro-turns in a batch, 0-D."""
    return (_turn_begins(batch) & (batch.turn_BL >= 0) & (batch.segment_BL >= 0)).sum()


@torch.no_grad()
def spoken(batch: Batch) -> torch.Tensor:
    """(B, L): positions of micro-turns the model speaks in, input and output."""
    # Number the micro-turns through the flat batch, so that one scatter counts `<spk>` in all of them.
    turn = _turn_begins(batch).flatten().cumsum(0) - 1
    speaks = (batch.token_BL == SPK).flatten().int()
    times = torch.zeros_like(speaks).scatter_add_(0, turn, speaks)
    return (times[turn] > 0).view(batch.shape)


@torch.no_grad()
def text_sums(batch: Batch, at_N: torch.Tensor, nats_N: torch.Tensor) -> torch.Tensor:
    """`TEXT_SUMS` in fp64, from the nats at flat positions that predict text."""
    target_N = batch.text_target_BL.reshape(-1)[at_N]
    known_N = batch.text_weight_BL.reshape(-1)[at_N] > 0
    control_N = (target_N == SIL) | (target_N == SPK)
    end_N = target_N == EOW
    onset_N = _after_silence(batch, at_N, target_N, control_N) & (target_N == SPK)
    chosen_SN = torch.stack((control_N, onset_N, ~control_N & ~end_N, end_N)) & known_N
    nats_S = nats_N.double().masked_fill(~chosen_SN, 0).sum(1)
    speaks = (known_N & (target_N == SPK)).sum()
    return torch.cat((nats_S, chosen_SN.sum(1).double(), speaks.double()[None]))


@torch.no_grad()
def sums_by_window(batch: Batch, nats_N: torch.Tensor, edges: Sequence[int]) -> torch.Tensor:
    """(4, bins) in fp64: nats of control and of words, and tokens of each, by the number of the micro-turn in
    its segment; bin b holds micro-turns [edges[b], edges[b + 1])."""
    at_N = batch.text_at_S
    target_N, turn_N = (sheet.reshape(-1)[at_N] for sheet in (batch.text_target_BL, batch.turn_BL))
    known_N = batch.text_weight_BL.reshape(-1)[at_N] > 0
    control_N = (target_N == SIL) | (target_N == SPK)
    chosen_2N = torch.stack((control_N, ~control_N & (target_N != EOW))) & known_N
    inner = torch.tensor(edges[1:-1], device=turn_N.device, dtype=turn_N.dtype)
    bin_N = torch.bucketize(turn_N, inner, right=True)
    parts_4N = torch.cat((nats_N.double().masked_fill(~chosen_2N, 0), chosen_2N.double()))
    sums_4B = parts_4N.new_zeros(4, len(edges) - 1)
    return sums_4B.index_add_(1, bin_N, parts_4N)


def _after_silence(
    batch: Batch, at_N: torch.Tensor, target_N: torch.Tensor, control_N: torch.Tensor
) -> torch.Tensor:
    """Whether the previous control token is `<sil>` and of the same segment; never for the first one."""
    if not len(at_N):
        return control_N
    here_N = torch.arange(len(at_N), device=at_N.device)
    # A running maximum of indices gives the latest control token up to each position.
    last_N = here_N.where(control_N, -1).cummax(0).values
    # Shifted by one, it gives the latest before it.
    before_N = last_N.roll(1).index_fill(0, here_N[:1], -1)
    some_N, before_N = before_N >= 0, before_N.clamp_min(0)
    length = batch.shape[1]
    # Row and segment in one number: equal only within the same document.
    place_N = at_N // length * length + batch.segment_BL.reshape(-1)[at_N]
    return some_N & (target_N[before_N] == SIL) & (place_N[before_N] == place_N)
