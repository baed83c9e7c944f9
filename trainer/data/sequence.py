"""The one sequence `in_0 out_0 in_1 out_1 …`: what a position is, and what a batch holds.

    micro-turn i   | in_i                                        | out_i                                |
    positions      | patches    | heard sound | given text       | <sil>                                |
                   | 0 or 40    | 4 x 2 frames| 0..4 tokens      | <spk> tokens… <eow>? | 4 x 2 frames  |

A position predicts what follows it inside out_i: the last of in_i predicts the first of out_i, the
last text slot the first two frames, frames the next frames; the last position of out_i predicts nothing.
`<eow>` is written only where a window has text. out_i holds the model's own sound and text of window
i + response_delay.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
import torch

PAD = 0
SIL = 1
SPK = 2
EOW = 3
BOS = 4
"""The first position of every document, before in_0; belongs to the system stream."""
TOOL = 5
"""Starts an event's text in the input: a tool's result, a note, a timer."""
BYTE_0 = 16
"""Byte b of UTF-8 text is token BYTE_0 + b; tokens between are reserved."""

NO_TARGET = -100
LISTS = (
    ("audio_at_A", ("audio_ARM", "heard_known_A")),
    ("patch_at_P", ("patch_PHWC",)),
    ("audio_target_at_T", ("audio_target_TRM", "audio_weight_T")),
    ("cue_at_C", ("cue_CK",)),
)
"""Columns that hold indices of positions, and the columns that belong to them."""
CUE_TARGETS = 40
"""K: cue targets of a window (cues.py)."""
CUE_UNKNOWN = 255
"""An unknown cue target."""


class Stream(IntEnum):
    """What a position carries; each stream has an embedding added to its positions."""

    HEARD = 0
    OWN_SOUND = 1
    GIVEN_TEXT = 2
    OWN_TEXT = 3
    PICTURE = 4
    SYSTEM = 5
    CONTROL = 6
    PAD = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Consecutive positions as columns, in numpy. A document, or a part of one.

    L positions, A of them sound, P of them patches, T positions that predict sound.
    """

    token_L: npt.NDArray[np.int32]
    """Text or control token; -1 for sound and patches."""
    stream_L: npt.NDArray[np.int8]
    time_L: npt.NDArray[np.int32]
    """Rotary time, in 25 ms from the document's start."""
    row_L: npt.NDArray[np.int16]
    """Rotary row: a patch's row, the slot for everything else."""
    column_L: npt.NDArray[np.int16]
    """Rotary column: a patch's column, the slot for everything else."""
    turn_L: npt.NDArray[np.int32]
    """Micro-turn, counted from the document's start; -1 for BOS."""
    text_target_L: npt.NDArray[np.int32]
    """The text or control token this position predicts, or NO_TARGET."""
    text_weight_L: npt.NDArray[np.float32]
    audio_at_A: npt.NDArray[np.int32]
    """Which positions carry sound; rising."""
    audio_ARM: npt.NDArray[np.uint8]
    """Their mel bytes (256 levels): r frames of M bins."""
    heard_known_A: npt.NDArray[np.bool_]
    """Which of them are heard sound to be predicted from the position before, by a head of its own."""
    patch_at_P: npt.NDArray[np.int32]
    patch_PHWC: npt.NDArray[np.uint8]
    """Pixels of each patch, 40 x 40 x 3."""
    audio_target_at_T: npt.NDArray[np.int32]
    """Which positions predict sound; rising."""
    audio_target_TRM: npt.NDArray[np.uint8]
    """Their targets, as mel bytes."""
    audio_weight_T: npt.NDArray[np.float32]
    cue_at_C: npt.NDArray[np.int32]
    """Which positions predict cues; rising. Empty without a cue head."""
    cue_CK: npt.NDArray[np.uint8]
    """Their targets: 0, 1 or `CUE_UNKNOWN`, in the order of `cues.CUE_SHAPE`."""

    def __len__(self) -> int:
        return len(self.token_L)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B packed rows of L positions as tensors of fixed shapes.

    Sound, patches and sound targets are lists over the whole batch, padded to a capacity: entry n
    belongs to flat position `*_at[n]` = row * L + column, or to B * L (a trash row) if it is padding.
    Rows hold several documents; `segment_BL` distinguishes them (-1 for padding).
    """

    token_BL: torch.Tensor
    stream_BL: torch.Tensor
    time_BL: torch.Tensor
    row_BL: torch.Tensor
    column_BL: torch.Tensor
    turn_BL: torch.Tensor
    segment_BL: torch.Tensor
    text_target_BL: torch.Tensor
    text_weight_BL: torch.Tensor
    audio_at_A: torch.Tensor
    audio_ARM: torch.Tensor
    heard_known_A: torch.Tensor
    patch_at_P: torch.Tensor
    patch_PHWC: torch.Tensor
    audio_target_at_T: torch.Tensor
    audio_target_TRM: torch.Tensor
    audio_weight_T: torch.Tensor
    cue_at_C: torch.Tensor
    """Flat positions that predict cues, without padding; empty without a cue head."""
    cue_CK: torch.Tensor
    text_at_S: torch.Tensor
    """Flat positions that predict text or control, rising, without padding. Found on the host, because
    finding them on a GPU would wait for all its queued work."""

    @property
    def shape(self) -> tuple[int, int]:
        rows, length = self.token_BL.shape
        return rows, length

    def trimmed(self) -> Batch:
        """The batch without the padding of its lists, which costs as much as real entries. For devices and
        calls that do not need fixed shapes; the sums are the same, added in another order."""
        rows, length = self.shape
        kept: dict[str, torch.Tensor] = {}
        for at, others in LISTS:
            places = getattr(self, at)
            count = int((places < rows * length).sum())
            kept |= {name: getattr(self, name)[:count] for name in (at, *others)}
        return dataclasses.replace(self, **kept)

    def to(self, device: torch.device) -> Batch:
        moved = {name: getattr(self, name).to(device, non_blocking=True) for name in self.__slots__}
        return Batch(**moved)
