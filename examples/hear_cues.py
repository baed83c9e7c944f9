"""A small generated talk in which cues from timing, words and voice can be seen and heard.

    python examples/hear_cues.py talk
    corpus build talk --out heard --set diarize.backend=none --set transcribe.backend=none
    corpus inspect heard

Two voices made of harmonics, one a channel, say words as short tones; `talk/talk.json` says which. So what
one hears is melody, length and silence, not speech.
"""

from __future__ import annotations

import json
import sys
import wave
from pathlib import Path

import numpy as np

RATE_HZ = 16_000
HERTZ = {"Ann": 210.0, "Ben": 120.0}
TALK = """
Ann 0.5 we looked at the old remote control for a good while. ..0.5 It is too big for one hand
Ben 5.2 yeah
Ann 6.2 people lose it all the time so I think I think we need the red one with fewer buttons
Ben 11.6 um I think we should put it in the ..0.7 box that stands by the front door
Ann 17.4 what do you think about the price?
Ben 19.9 that is hard to say because the parts are not cheap at all
Ann 22.8 people pay for what looks good and works right away
Ben 25.2 then we make it small and the____________ ..0.6 box bright and we can sell it well
Ann 28.9 no wait it has to be cheap in the first year or nobody will buy it
"""
"""Who, from when, and what: `_` draws a word out, `..0.7` is a silence of so many seconds."""


def main(folder: Path) -> None:
    sound = np.zeros((34 * RATE_HZ, len(HERTZ)))
    words: list[dict[str, object]] = []
    turns: list[dict[str, object]] = []
    for line in TALK.strip().splitlines():
        who, start, *texts = line.split()
        at_s = float(start)
        for number, text in enumerate(texts):
            if text.startswith(".."):
                at_s += float(text[2:])
                continue
            length_s = 0.10 + 0.03 * len(text)
            last = number == len(texts) - 1
            say(
                sound[:, list(HERTZ).index(who)],
                at_s,
                length_s,
                HERTZ[who],
                rises=last and text.endswith("?"),
            )
            stop_s = at_s + length_s
            spoken = {"speaker": who, "start_us": round(at_s * 1e6), "stop_us": round(stop_s * 1e6)}
            mark = text[-1] if text[-1] in "?." else ""
            words.append({**spoken, "text": text.strip("_?."), "after": mark})
            turns.append(spoken)
            at_s = stop_s
    folder.mkdir(parents=True, exist_ok=True)
    with wave.open(str(folder / "talk.wav"), "wb") as file:
        file.setparams((len(HERTZ), 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())
    told = {"schema": "corpus.conversation/2", "recording": "talk", "duration_us": 34_000_000,
            "speakers": list(HERTZ), "turns": turns, "words": words}  # fmt: skip
    (folder / "talk.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def say(channel: np.ndarray, at_s: float, length_s: float, hertz: float, *, rises: bool) -> None:
    """A word: six harmonics that fade in and out; a question's last goes up by a third."""
    time_s = np.arange(int(length_s * RATE_HZ)) / RATE_HZ
    melody = hertz * 2 ** ((4 / 12 if rises else -1 / 12) * time_s / length_s)
    phase = 2 * np.pi * np.cumsum(melody) / RATE_HZ
    tone = sum(np.sin(k * phase) / k for k in range(1, 7))
    edges = np.minimum(1, np.minimum(time_s, length_s - time_s) / 0.015)
    start = int(at_s * RATE_HZ)
    channel[start : start + len(time_s)] += 0.12 * tone * edges


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "talk"))
