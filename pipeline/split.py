"""Assigning recordings to train, validation and test.

Recordings that share a conversation or a named person form one group, and a group stays together. Its split
is a function of the smallest content hash in it, so it does not depend on the order of inputs, the machine or
failed recordings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corpus.schemas.settings import ClipSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What binds a recording to others."""

    recording: str
    conversation: str | None
    named_speakers: tuple[str, ...]

    @property
    def ties(self) -> list[str]:
        """What the recordings of a group share."""
        speakers = [f"speaker {name}" for name in self.named_speakers]
        return speakers if self.conversation is None else [*speakers, f"conversation {self.conversation}"]


def assign(bonds: Sequence[Bond], settings: ClipSettings) -> dict[str, str]:
    """The split of each recording, by content hash."""
    groups = _groups(bonds)
    return {recording: _side(group, settings) for recording, group in groups.items()}


def _groups(bonds: Sequence[Bond]) -> Mapping[str, str]:
    """For each recording the smallest hash in its group, bound directly or through others."""
    # Union-find over recordings, speakers and conversations.
    root: dict[str, str] = {}

    def find(node: str) -> str:
        root.setdefault(node, node)
        while root[node] != node:
            # Path halving keeps it near constant time.
            root[node] = root[root[node]]
            node = root[node]
        return node

    for bond in bonds:
        home = find(f"recording {bond.recording}")
        for tie in bond.ties:
            root[find(tie)] = home
    members: dict[str, list[str]] = {}
    for bond in bonds:
        members.setdefault(find(f"recording {bond.recording}"), []).append(bond.recording)
    return {recording: min(group) for group in members.values() for recording in group}


def _side(group: str, settings: ClipSettings) -> str:
    # A hash, not a random generator: adding recordings moves none of the others.
    draw = hashlib.sha256(f"{settings.split_salt}/{group}".encode()).digest()
    share = int.from_bytes(draw[:8], "big") / 2**64
    if share < settings.test_share:
        return "test"
    if share < settings.test_share + settings.validation_share:
        return "validation"
    return "train"
