"""The flags of `KEY.activity.npy`, a byte for each channel, window and frame."""

from __future__ import annotations

SPEECH = 1
"""The channel's speaker talks in this frame."""
OVERLAP = 2
"""Somebody else talks too."""
SEPARATED = 4
"""The sound is a separator's estimate."""
UNRELIABLE = 8
"""The sound does not hold what the channel's name says: overlapped speech left in the room, saturation."""
PADDED = 16
"""The source has no sound here: a hole, or after its end; the samples are zeros."""
