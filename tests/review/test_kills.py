"""Four clients decide without rest while the server is killed; what was acknowledged is there, once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from corpus.review.store import bring_up_to_date, opened
from corpus.schemas.reviews_file import REVIEWS_FILE, read_reviews
from corpus.shards.read import open_clips

CLIENTS = 4


class Client:
    """Decides again and again; what was not acknowledged is sent again under the same id."""

    def __init__(self, number: int, recording: str, cues: list[str]) -> None:
        self.name = f"client{number}"
        self._recording, self._cues = recording, cues
        self._rng = random.Random(number)
        self.sent = 0
        self.acknowledged: dict[str, int] = {}
        self._made = 0

    def work(self, server: Any, stopping: threading.Event) -> None:
        batch: list[dict[str, Any]] = []
        while not stopping.is_set():
            batch = batch or [self._decision() for _ in range(self._rng.choice((1, 1, 1, 3)))]
            self.sent += len(batch)
            try:
                status, told = server.decide(*batch, who=self.name)
            except (OSError, ValueError, HTTPException):  # killed in between
                time.sleep(0.02)
                continue
            if status == 200:
                self.acknowledged |= {one["id"]: one["sequence"] for one in told["kept"]}
                batch = []

    def _decision(self) -> dict[str, Any]:
        self._made += 1
        verdict = self._rng.choice(("accept", "reject", "unsure"))
        return {
            "id": f"{self.name}-{self._made:06}", "recording": self._recording,
            "item": self._rng.choice(self._cues), "verdict": verdict,
        }  # fmt: skip


def len_of(clients: list[Client]) -> int:
    return sum(len(client.acknowledged) for client in clients)


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_kills_at_random_moments_lose_nothing_and_double_nothing(
    kills: int, dataset: Path, serve: Callable[..., Any]
) -> None:
    clip = open_clips(dataset)[0].json
    clients = [Client(n, clip.recording, [cue.id for cue in clip.cues]) for n in range(CLIENTS)]
    rng, stopping, server = random.Random(kills), threading.Event(), serve(dataset)
    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(client.work, server, stopping) for client in clients]
        try:
            for _ in range(kills):
                more, until = len_of(clients) + rng.choice((0, 1, 5, 20)), time.monotonic() + 20
                while len_of(clients) < more and time.monotonic() < until:
                    time.sleep(0.005)
                time.sleep(rng.uniform(0.0, 0.1))
                server.kill()
                if (dataset / REVIEWS_FILE).exists():
                    read_reviews(dataset / REVIEWS_FILE)  # never torn
                server.start()
            more = len_of(clients) + CLIENTS
            while len_of(clients) < more:
                assert server.process.poll() is None, server.logged()
                time.sleep(0.01)
        finally:
            stopping.set()
        for work in working:
            work.result()
    server.kill()
    bring_up_to_date(dataset)
    with opened(dataset) as store:
        kept = store.reviews()
    assert [r.sequence for r in kept] == list(range(1, len(kept) + 1))
    at = {review.id: review.sequence for review in kept}
    acknowledged = {id_: number for client in clients for id_, number in client.acknowledged.items()}
    lost = acknowledged.keys() - at.keys()
    print(
        f"{kills} kills, {sum(client.sent for client in clients)} decisions sent by {CLIENTS} clients, "
        f"{len(acknowledged)} acknowledged: {len(lost)} lost, {len(kept) - len(at)} twice"
    )
    assert not lost and len(at) == len(kept) and len(acknowledged) >= kills
    assert all(at[id_] == number for id_, number in acknowledged.items())
    for client in clients:  # and in the order in which they were decided
        mine = [review.id for review in kept if review.annotator == client.name]
        assert mine == sorted(mine)
    assert read_reviews(dataset / REVIEWS_FILE) == kept
