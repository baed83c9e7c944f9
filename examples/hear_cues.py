r"""A small generated film in which a cue of each label can be heard or seen.

    python examples/hear_cues.py talk
    corpus build talk --out heard --set diarize.backend=none --set transcribe.backend=none \
        --set sight.faces=false
    corpus inspect heard --cues pages

Two voices made of harmonics, one a channel, say words as short tones; `talk/talk.json` says which. So what
one hears is melody, length and silence, not speech. In the picture a square moves to and fro four times, and
then there is a cut. Faces are not made: what follows from them is not here.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE_HZ = 16_000
PICTURES_A_SECOND = 25
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
Ben 35.0 the old one has a switch on its side and people say that they never use it at all
Ann 37.8 but they do use it because it is the only way to turn it off
Ann 44.0 we can ask the people in the shop what they want and how much they would pay for it
Ben 45.6 we did that last year you know
Ben 51.0 we need the button the red button on the side and we put them in the um front
Ann 56.6 so um well ..0.3 the battery is on the on this side of it
Ann 61.0 shall we look at the drawing now?
Ben 64.0 yes I have it here and we can make it with a new case in the spring
Ann 66.0 ~0.5
Ann 69.5 isn't it?
Ben 71.0 because the um I think we should ask them what they want before it is done
"""
"""Who, from when, and what: `_` draws a word out, `..0.7` is a silence of so many seconds, `~0.5` a hum of so
many that is no word."""
LENGTH_S = 78
STILL_S, PERIOD_S, TIMES = 4.0, 1.0, 4
CUT_S = 14.0


def main(folder: Path) -> None:
    sound = np.zeros((LENGTH_S * RATE_HZ, len(HERTZ)))
    words: list[dict[str, object]] = []
    turns: list[dict[str, object]] = []
    for line in TALK.strip().splitlines():
        who, start, *texts = line.split()
        channel, at_s = sound[:, list(HERTZ).index(who)], float(start)
        for number, text in enumerate(texts):
            if text.startswith(".."):
                at_s += float(text[2:])
                continue
            hum = text.startswith("~")
            length_s = float(text[1:]) if hum else 0.10 + 0.03 * len(text)
            rises = number == len(texts) - 1 and text.endswith("?")
            say(channel, at_s, length_s, HERTZ[who], rises=rises)
            stop_s = at_s + length_s
            spoken = {"speaker": who, "start_us": round(at_s * 1e6), "stop_us": round(stop_s * 1e6)}
            turns.append(spoken)
            if not hum:
                mark = text[-1] if text[-1] in "?." else ""
                words.append({**spoken, "text": text.strip("_?."), "after": mark})
            at_s = stop_s
    folder.mkdir(parents=True, exist_ok=True)
    write_film(folder / "talk.mkv", np.rint(sound * 32767).astype("<i2"))
    told = {"schema": "corpus.conversation/2", "recording": "talk", "duration_us": LENGTH_S * 1_000_000,
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


def write_film(path: Path, sound: np.ndarray) -> None:
    """Sound and pictures in one file, each on the same clock from zero."""
    with av.open(str(path), "w") as film:
        voices = film.add_stream("pcm_s16le", rate=RATE_HZ, layout="stereo")
        screen = film.add_stream("mjpeg", rate=PICTURES_A_SECOND)
        screen.width, screen.height, screen.pix_fmt = 320, 180, "yuvj420p"
        for number in range(LENGTH_S * PICTURES_A_SECOND):
            shown = av.VideoFrame.from_ndarray(picture(number / PICTURES_A_SECOND), format="gray")
            shown = shown.reformat(format="yuvj420p")
            shown.pts, shown.time_base = number, Fraction(1, PICTURES_A_SECOND)
            film.mux(screen.encode(shown))
            begin, end = (n * RATE_HZ // PICTURES_A_SECOND for n in (number, number + 1))
            heard = av.AudioFrame.from_ndarray(sound[begin:end].reshape(1, -1), "s16", "stereo")
            heard.rate, heard.pts, heard.time_base = RATE_HZ, begin, Fraction(1, RATE_HZ)
            film.mux(voices.encode(heard))
        for stream in (screen, voices):
            film.mux(stream.encode(None))


def picture(time_s: float) -> np.ndarray:
    """A ramp of grey with a square that moves to and fro; stripes after the cut."""
    if time_s >= CUT_S:
        return np.tile(np.where(np.arange(320) // 20 % 2, 200, 40).astype(np.uint8), (180, 1))
    shown = np.tile(np.linspace(60, 160, 320).astype(np.uint8), (180, 1))
    phase = min(max(0.0, time_s - STILL_S), PERIOD_S * TIMES) / PERIOD_S
    left = 60 + round(80 * (1 - np.cos(2 * np.pi * phase)))
    shown[70:120, left : left + 50] = 240
    return shown


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "talk"))
