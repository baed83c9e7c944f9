"""The flags of `KEY.activity.npy`: one byte per channel, window and frame."""

from __future__ import annotations

SPEECH = 1
"""The channel's speaker talks in this frame."""
OVERLAP = 2
"""Somebody else talks too."""
SEPARATED = 4
"""The sound is a separator's estimate."""
UNRELIABLE = 8
"""The channel does not hold its speaker's true sound: overlapped speech left in the room, or saturation."""
PADDED = 16
"""The source has no sound here (a hole, or past its end); the samples are zeros."""
