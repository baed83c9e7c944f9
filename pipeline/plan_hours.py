"""What many hours would take on many machines, calculated from measured rates (docs/cluster.md)."""

from __future__ import annotations

from dataclasses import dataclass

from corpus.schemas.errors import UsageError

CORE_S_BY_STAGE = {"diarize": 0.125, "transcribe": 0.343, "everything else": 0.004}
"""Seconds of one core per second of sound: default models, two speakers, no pictures."""
DATASET_BYTES_PER_HOUR = 100_000_000
"""Two voices and the room, no pictures."""
PICTURE_BYTES_PER_HOUR = 144_000_000
"""8 kB per window at 320x200."""
CACHE_SHARE = 3.0
"""Ratio of cache bytes to dataset bytes."""
INPUT_BYTES_PER_HOUR = 115_200_000
"""16-bit sound of one channel at 16 kHz; compressed sound takes less, video more."""
GB_PER_CORE = 2.0
BUSY_SHARE = 0.85
"""Busy share of the cores' time: the rest is start-up, the last recordings, and work lost with a machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursPlan:
    """The estimate: bytes and hours of work."""

    hours: float
    nodes: int
    cores_per_node: int
    gpus: int
    core_hours: float
    wall_hours: float
    memory_gb_per_node: float
    dataset_bytes: int
    cache_bytes: int
    read_bytes: int
    """The inputs, once for their digests and once to decode them, and the cache once."""
    written_bytes: int
    """The cache and the dataset."""


def plan_hours(hours: float, *, nodes: int, cores_per_node: int, gpus: int, pictures: bool) -> HoursPlan:
    """What this many hours of recordings would take.

    Raises:
        UsageError: no hours, more than a billion, or no machine or core.
    """
    if not 0 < hours < 1e9 or nodes < 1 or cores_per_node < 1 or gpus < 0:
        wrong = f"{hours:g} hours on {nodes} machines of {cores_per_node} cores cannot be planned"
        todo = "give hours above 0 and below a billion, and at least one machine and core"
        raise UsageError(wrong, where="corpus plan --hours", todo=todo)
    core_hours = hours * sum(CORE_S_BY_STAGE.values())
    dataset = round(hours * (DATASET_BYTES_PER_HOUR + (PICTURE_BYTES_PER_HOUR if pictures else 0)))
    cache = round(dataset * CACHE_SHARE)
    return HoursPlan(
        hours=hours,
        nodes=nodes,
        cores_per_node=cores_per_node,
        gpus=gpus,
        core_hours=core_hours,
        wall_hours=core_hours / (nodes * cores_per_node * BUSY_SHARE),
        memory_gb_per_node=cores_per_node * GB_PER_CORE,
        dataset_bytes=dataset,
        cache_bytes=cache,
        read_bytes=round(2 * hours * INPUT_BYTES_PER_HOUR) + cache,
        written_bytes=cache + dataset,
    )
