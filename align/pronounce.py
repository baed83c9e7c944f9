"""Roughly how an English word missing from the dictionary is pronounced: enough to find it in the sound.

Written for forced alignment, where a wrong vowel costs milliseconds and a missing word costs the sentence.
"""

from __future__ import annotations

import re

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1000, "thousand"), (100, "hundred"))
_SIGNS = {"%": "percent", "&": "and", "+": "plus", "@": "at", "$": "dollars", "€": "euros", "£": "pounds"}

_PIECES = re.compile(r"[a-z]+(?:'[a-z]+)*|\d+|[%&+@$€£]")

_SOUNDS: tuple[tuple[str, str], ...] = (
    ("tion", "SH AH N"), ("sion", "ZH AH N"), ("ough", "AO"), ("augh", "AO"), ("eigh", "EY"), ("igh", "AY"),
    ("tch", "CH"), ("dge", "JH"), ("sch", "SH"), ("ck", "K"), ("ch", "CH"), ("sh", "SH"), ("th", "TH"),
    ("ph", "F"), ("wh", "W"), ("gh", "G"), ("ng", "NG"), ("qu", "K W"), ("kn", "N"), ("wr", "R"),
    ("ee", "IY"), ("ea", "IY"), ("oo", "UW"), ("ou", "AW"), ("ow", "OW"), ("oa", "OW"), ("oi", "OY"),
    ("oy", "OY"), ("ai", "EY"), ("ay", "EY"), ("au", "AO"), ("aw", "AO"), ("ie", "IY"), ("ei", "EY"),
    ("ey", "IY"), ("ew", "UW"), ("ue", "UW"), ("ar", "AA R"), ("er", "ER"), ("ir", "ER"), ("or", "AO R"),
    ("ur", "ER"), ("bb", "B"), ("cc", "K"), ("dd", "D"), ("ff", "F"), ("gg", "G"), ("ll", "L"), ("mm", "M"),
    ("nn", "N"), ("pp", "P"), ("rr", "R"), ("ss", "S"), ("tt", "T"), ("zz", "Z"), ("ce", "S"), ("ci", "S IH"),
    ("cy", "S IY"), ("ge", "JH"), ("a", "AE"), ("b", "B"), ("c", "K"), ("d", "D"), ("e", "EH"), ("f", "F"),
    ("g", "G"), ("h", "HH"), ("i", "IH"), ("j", "JH"), ("k", "K"), ("l", "L"), ("m", "M"), ("n", "N"),
    ("o", "AA"), ("p", "P"), ("q", "K"), ("r", "R"), ("s", "S"), ("t", "T"), ("u", "AH"), ("v", "V"),
    ("w", "W"), ("x", "K S"), ("y", "IY"), ("z", "Z"),
)  # fmt: skip
"""Letters and their phones, the longest first."""


def spoken_parts(written: str) -> list[str]:
    """A written word as the words of a dictionary: letters in lower case, numbers and signs spelled out.

    Empty where it has characters that English has no sound for, so that a time is not made up for it.
    """
    text = written.lower().replace("’", "'").strip("'")
    if any(c.isalpha() and not c.isascii() for c in text):
        return []
    parts: list[str] = []
    for piece in _PIECES.findall(text):
        if piece.isdigit():
            parts += number_words(piece)
        else:
            parts.append(_SIGNS.get(piece, piece))
    return parts


def number_words(digits: str) -> list[str]:
    """25 is "twenty five"; a number that begins with zero or is very long is read digit by digit."""
    if len(digits) > 10 or (digits[0] == "0" and len(digits) > 1):
        return [_ONES[int(digit)] for digit in digits]
    return _number(int(digits))


def _number(value: int) -> list[str]:
    if value < 20:
        return [_ONES[value]]
    if value < 100:
        return [_TENS[value // 10 - 2], *(_number(value % 10) if value % 10 else [])]
    for scale, name in _SCALES:
        if value >= scale:
            rest = _number(value % scale) if value % scale else []
            return [*_number(value // scale), name, *rest]
    raise AssertionError(value)


def phones_of(word: str) -> str:
    """Phones of the CMU dictionary for a word of the letters a to z and apostrophes."""
    rest = word.replace("'", "")
    if len(rest) > 3 and rest.endswith("e"):
        rest = rest[:-1]
    phones: list[str] = []
    while rest:
        letters, sound = next(pair for pair in _SOUNDS if rest.startswith(pair[0]))
        phones.append(sound)
        rest = rest[len(letters) :]
    return " ".join(phones)
