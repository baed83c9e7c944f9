"""How often clips appear in an epoch: those with wanted cues more often (`data.cue_weight.LABEL`).

A function of the clips alone, so the order can still be evaluated at any place and resumes exactly. If any
weight is above 1, all heads are read once, at a millisecond a clip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from corpus.schemas.arrays import Int64Array
from corpus.schemas.errors import FormatError
from corpus.shards.read import Clips


def cue_weights(clips: Clips, places: Int64Array, weights: Mapping[str, int]) -> Int64Array:
    """How often each of the clips at these places appears; with several labels, the largest weight counts.

    Raises: FormatError where a head cannot be read.
    """
    times = np.ones(len(places), np.int64)
    wanted = {label: count for label, count in weights.items() if count > 1}
    if not wanted:
        return times
    for number, place in enumerate(places.tolist()):
        clip = clips[place]
        try:
            labels = {cue["label"] for cue in json.loads(clip.json_bytes)["cues"]}
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"the head cannot be read: {error}", where=f"{clip.key}.json") from error
        times[number] = max((count for label, count in wanted.items() if label in labels), default=1)
    return times
