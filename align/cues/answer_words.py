"""Words said to encourage, agree or answer: the vocabulary of lexical backchannels."""

from __future__ import annotations

WORDS = frozenset(
    (
        *(
            "ah",
            "aha",
            "alright",
            "cool",
            "exactly",
            "fine",
            "good",
            "great",
            "hm",
            "hmm",
            "huh",
            "indeed",
            "kay",
        ),
        *("mhm", "mm", "mm-hmm", "mm-mm", "mmhmm", "mmm", "nice", "no", "oh", "ok", "okay", "really"),
        *("right", "sure", "true", "uh-huh", "uhhuh", "wow", "yeah", "yep", "yes", "yup"),
    )
)
