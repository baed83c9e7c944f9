"""What each label means, in words for listeners. The rules behind them: docs/cues.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Meaning:
    text: str
    kinds: dict[str, str]


MEANINGS: dict[str, _Meaning] = {
    "hesitation": _Meaning(
        "The speaker stalls for time in the middle of saying something, and has not finished.",
        {
            "filled_pause": "says “uh”, “um” or the like",
            "silent_pause": "falls silent inside a phrase",
            "prolongation": "draws a word or sound out",
            "stall": "fills the time with “well”, “you know” and the like",
        },
    ),
    "self_correction": _Meaning(
        "The speaker breaks off and says it again, better. The span runs from the first wrong word "
        "to the last new one.",
        {
            "repetition": "the same words again",
            "substitution": "part of it is said with other words",
            "insertion": "said again with something added",
            "deletion": "the start is given up",
        },
    ),
    "yield": _Meaning(
        "The speaker gives the turn away: another person talks next.",
        {
            "turn_end": "after a silence the other one talks; the span is the silence",
            "overlap": "both talk, then only the other one; the span is where both talk",
        },
    ),
    "hold": _Meaning(
        "The speaker falls silent and then goes on: the turn was not over.",
        {"pause": "the span is the silence"},
    ),
    "invitation": _Meaning(
        "The speaker asks for an answer.",
        {
            "question": "asks for information or an opinion",
            "tag": "“right?”, “okay?”, “isn't it?”",
            "suggestion": "asks for an offer or a proposal",
        },
    ),
    "backchannel": _Meaning(
        "The listener shows they follow, without wanting the turn: “mm-hmm”, “yeah”, “right”.",
        {
            "geometric": "short and alone, whatever was said",
            "lexical": "short, and all its words are of the list",
        },
    ),
    "interruption": _Meaning(
        "Somebody starts while another is still talking, and means to say something of their own.",
        {
            "floor_taking": "and gets the turn: the other one stops",
            "butting_in": "but the other one talks on",
        },
    ),
    "thinking": _Meaning(
        "The speaker needs a moment before completing an unfinished thought; better not to step in.",
        {"pause": "silently", "filler": "with “hmm” or the like"},
    ),
    "overlap": _Meaning(
        "Two or more people talk at the same time.", {"simultaneous": "the span is where they do"}
    ),
    "visual": _Meaning(
        "Something can be seen.",
        {
            "scene_cut": "the picture changes at once",
            "motion_start": "something begins to move",
            "motion_stop": "it stops",
            "repetition": "a movement is repeated and can be counted",
            "face_enter": "a face comes into the picture",
            "face_leave": "a face leaves it",
            "nod": "somebody nods",
            "shake": "somebody shakes their head",
            "gaze_away": "somebody looks away",
            "posture": "somebody changes how they sit or stand",
        },
    ),
}
