"""A running build's records: its progress, what was left out, what is quarantined."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic

from corpus.pipeline import state as keep
from corpus.pipeline.progress import Messenger, running_now
from corpus.pipeline.versions import done_before
from corpus.schemas.drops import VANISHED, Drop, in_order

_POLL_S = 0.4
"""Shortest interval between two polls of the workers, for a progress bar that moves."""
_POLL_S_A_WORKER = 0.04
_PAUSE_SHARE = 1 / 60
"""Of a build's time so far, on a cluster."""
_LONGEST_POLL_S = 10.0
"""Longest interval: with many workers each poll is expensive, and each recording takes long."""


class Ledger:
    """Written to the state folder as it grows, so that it survives a killed build."""

    def __init__(self, kept: keep.State, talk: Messenger, scratch: Path, *, on_cluster: bool = False) -> None:
        """On a cluster, whose jobs take long, progress is read ever more rarely."""
        self.total = 0
        self.done = 0
        self._kept = kept
        self._talk = talk
        self._scratch = scratch
        self._phase = "identify"
        self._drops: dict[str, list[Drop]] = {}
        """By the item they belong to."""
        self._quarantined: list[keep.Quarantined] = []
        self._on_cluster = on_cluster
        self._began_s = monotonic()
        self._next_poll_s = 0.0
        self._before = kept.quarantine().items
        self._held = {q.key: q for q in self._before if q.key and not q.built}

    @property
    def faults(self) -> int:
        """Items in quarantine."""
        return len(self._quarantined)

    # -- progress ----------------------------------------------------------------------------

    def begin(self, phase: str, total: int) -> None:
        """Begin a phase with this many steps."""
        if phase != "identify":  # until then nobody knows which recordings are still there
            self._before = ()
        self.save_quarantine()
        self.total, self.done = total, 0
        self.say(phase)
        self._talk.phase(phase, total)

    def step(self) -> None:
        self.done += 1
        self._talk.at(self.done, "")

    def poll(self) -> None:
        """Read the workers' progress and report it, unless the last poll was too recent."""
        if monotonic() < self._next_poll_s:
            return
        running, more = self._put_status("")
        pause_s = _POLL_S + _POLL_S_A_WORKER * (len(running) + more)
        if self._on_cluster:
            pause_s = max(pause_s, _PAUSE_SHARE * (monotonic() - self._began_s))
        self._next_poll_s = monotonic() + min(pause_s, _LONGEST_POLL_S)
        partial = sum(done_before(one.stage, one.share) for one in running)
        if running:  # those that were not read are taken to be as far
            partial *= 1 + more / len(running)
        self._talk.at(self.done + partial, ", ".join(f"{r.uri} {r.stage}" for r in running[:2]))

    def say(self, phase: str, detail: str = "") -> None:
        self._phase = phase
        self._put_status(detail)

    def _put_status(self, detail: str) -> tuple[Sequence[keep.Running], int]:
        running, more = running_now(self._scratch)
        self._kept.save_status(
            keep.Status(
                phase=self._phase,
                recordings=self.total,
                done=self.done,
                faults=self.faults,
                running=running,
                pid=os.getpid(),
                detail=detail,
                more=more,
            )
        )
        return running, more

    # -- what was left out --------------------------------------------------------------------

    def drop(self, drops: Iterable[Drop]) -> None:
        """Record items left out before their content is known; without a key, they are always retried."""
        for one in drops:
            self._drops.setdefault(one.item, []).append(one)
            if one.kind == "fault":
                self._quarantine(one.item, "", (one,), built=False)

    def take(self, uri: str, key: Callable[[], str], drops: Sequence[Drop], *, built: bool) -> None:
        """Record what was left out of a recording; `key` makes the digest of all that determined it."""
        if drops:
            self._drops.setdefault(uri, []).extend(drops)
        faults = tuple(one for one in drops if one.kind == "fault")
        if faults:
            # Without a key it is retried: its bytes are those that were hashed when the file comes back.
            vanished = any(one.code == VANISHED for one in faults)
            self._quarantine(uri, "" if vanished else key(), faults, built=built)

    def hold(self, uri: str, key: Callable[[], str]) -> bool:
        """Whether the recording failed before with the same key; if so, it stays in quarantine."""
        before = self._held.get(key()) if self._held else None
        if before is None:
            return False
        self._drops.setdefault(uri, []).extend(before.drops)
        self._quarantine(uri, before.key, before.drops, built=False)
        return True

    def is_held(self, key: str) -> bool:
        """Whether a failure with this key is in quarantine."""
        return key in self._held

    def stand(self, quarantined: Iterable[keep.Quarantined]) -> None:
        """Record the quarantined ones among recordings that are not examined."""
        self._quarantined += quarantined

    def ordered_drops(self) -> list[Drop]:
        """Everything left out of the examined items."""
        return in_order(one for drops in self._drops.values() for one in drops)

    def drops_of(self, uri: str) -> Sequence[Drop]:
        return self._drops.get(uri, ())

    def quarantined(self) -> Sequence[keep.Quarantined]:
        return self._quarantined

    def save_quarantine(self) -> None:
        items = dict.fromkeys((*self._before, *self._quarantined))
        ordered = sorted(items, key=lambda q: (q.uri, q.key))
        self._kept.save_quarantine(keep.Quarantine(items=tuple(ordered)))

    def _quarantine(self, uri: str, key: str, drops: tuple[Drop, ...], *, built: bool) -> None:
        item = keep.Quarantined(uri=uri, key=key, drops=drops, built=built)
        self._quarantined.append(item)
        self._kept.append_quarantined(item)
