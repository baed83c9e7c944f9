"""Who talks in each 20 ms, decided for a whole stretch by the likeliest path through sets of speakers.

Each window says how many talk, and its slots say who. Averages over the windows of a moment waver; a path
that pays for every speaker who starts or stops does not.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from corpus.schemas.arrays import BoolArray, Float64Array

CHANGE = 2.0
"""Cost, in nats, of one speaker starting or stopping."""
LEAST_ACTIVITY = 0.02
LEAST_COUNT = 1e-3
"""Added to probabilities, so that a single confident window cannot forbid anything."""
PAIR_ACTIVITY = 0.05
"""Two speakers may talk together only if somewhere each is at least this active in the same moment."""


def talking(activity: Float64Array, counts: Float64Array) -> BoolArray:
    """[steps, speakers]: who talks.

    `activity` [steps, speakers]: how active each is, the mean over windows. `counts` [steps, 3]: the
    probabilities that nobody, one or two talk.
    """
    steps, speakers = activity.shape
    if not steps or not speakers:
        return np.zeros((steps, speakers), bool)
    pairs = [
        (a, b)
        for a, b in combinations(range(speakers), 2)
        if (np.minimum(activity[:, a], activity[:, b]) >= PAIR_ACTIVITY).any()
    ]
    # The states: nobody, each speaker alone, and the pairs that occur.
    members = np.zeros((1 + speakers + len(pairs), speakers), bool)
    members[1 : 1 + speakers] = np.eye(speakers, dtype=bool)
    for place, pair in enumerate(pairs, 1 + speakers):
        members[place, list(pair)] = True
    return members[_best_path(_scores(activity, counts, pairs), _change_costs(members))]


def _scores(activity: Float64Array, counts: Float64Array, pairs: list[tuple[int, int]]) -> Float64Array:
    """[steps, states] log probabilities: how many talk, and then who."""
    many = np.log(counts + LEAST_COUNT)
    who = np.log(activity + LEAST_ACTIVITY)
    # P(state) = P(how many) * P(who | how many).
    parts = [many[:, :1], many[:, 1:2] + _normalised(who)]
    if pairs:
        first, second = np.array(pairs).T
        parts.append(many[:, 2:] + _normalised(who[:, first] + who[:, second]))
    return np.concatenate(parts, axis=1)


def _normalised(scores: Float64Array) -> Float64Array:
    top = scores.max(axis=1, keepdims=True)
    logs: Float64Array = scores - (top + np.log(np.exp(scores - top).sum(axis=1, keepdims=True)))
    return logs


def _change_costs(members: BoolArray) -> Float64Array:
    changed = (members[:, None] != members[None]).sum(axis=-1)
    costs: Float64Array = CHANGE * changed
    return costs


def _best_path(scores: Float64Array, costs: Float64Array) -> npt.NDArray[np.int64]:
    steps, states = scores.shape
    came_from = np.zeros((steps, states), np.int32)
    every = np.arange(states)
    best = scores[0].copy()
    for step in range(1, steps):
        # Viterbi: from every state to every state; the score of this step is the same for all origins.
        reached = best[:, None] - costs
        came_from[step] = reached.argmax(axis=0)
        best = reached[came_from[step], every] + scores[step]
    path = np.empty(steps, np.int64)
    path[-1] = best.argmax()
    for step in range(steps - 1, 0, -1):
        path[step - 1] = came_from[step, path[step]]
    return path
