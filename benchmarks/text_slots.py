"""How many bytes of text a window should hold: how late text comes, how much is never written, the cost.

Real words are English, from the meetings in a folder of `corpus.conversation/1` files (`*.json`,
`*.json.gz`). Synthetic words are Russian and Chinese of ordinary length, put into the turns of the same
meetings at 5.5 and 5.2 syllables a second, with a turn's rate within 30 % of it. A word takes the time of its
syllables, and a word of a Chinese recogniser is a character. As in training, every speaker of a clip is a
document, a word waits for windows in which its speaker speaks, and every word has a space before it.

    python benchmarks/text_slots.py ../shared/data/cues
    python benchmarks/text_slots.py ../shared/data/ami30
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corpus.schemas.arrays import BoolArray
from corpus.schemas.clock import FRAME_US, FRAMES_PER_WINDOW, WINDOW_US
from corpus.schemas.cover import Cover
from corpus.schemas.span import Span, union
from corpus.trainer.data.layout import largest_turn, turn_sizes
from corpus.trainer.data.sheet import lengths
from corpus.trainer.data.text import BYTES
from corpus.trainer.data.views import spread
from corpus.trainer.presets import MODELS

SLOTS = (4, 6, 8, 12, 16)
CLIP_WINDOWS = 150

RUSSIAN = """ну я вчера заходил в магазин около дома и там опять не было нормального хлеба поэтому пришлось
ехать через весь город а потом ещё позвонила сестра и сказала что они завтра собираются приехать вместе с
детьми понимаешь я даже не успел толком подготовиться но в принципе ничего страшного разберёмся как-нибудь
слушай а ты сам когда вернёшься из командировки да просто хотелось бы посидеть поговорить спокойно"""
CHINESE = """我昨天下班以后去了一趟超市本来想买点水果结果人特别多排了半个小时的队后来我妈打电话说
周末要过来看看孩子我就赶紧把家里收拾了一下其实也没什么事情就是觉得挺累的你最近怎么样工作还顺利吗有空我们一起吃个饭好好聊聊"""
SYLLABLES_PER_S = {"Russian": 5.5, "Chinese": 5.2}

Said = list[tuple[int, tuple[int, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A speaker's part of a clip: the windows with speech, and the start and bytes of each word."""

    speaks_W: BoolArray
    words: tuple[tuple[int, int], ...]
    """Window and bytes."""


def documents(folder: Path, language: str) -> Iterator[Document]:
    rng = np.random.default_rng(0)
    for path in sorted(p for p in folder.iterdir() if p.name.endswith((".json", ".json.gz"))):
        data = path.read_bytes()
        plain = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        windows = plain["duration_us"] // WINDOW_US
        for speaker in plain["speakers"]:
            turns = union(
                [Span(t["start_us"], t["stop_us"]) for t in plain["turns"] if t["speaker"] == speaker]
            )
            cover = Cover.of(turns).of_frames(0, windows * FRAMES_PER_WINDOW, FRAME_US)
            speaks_W = (2 * cover >= FRAME_US).reshape(windows, -1).any(1)
            words = _real(plain, speaker) if language == "English" else _made_up(turns, language, rng)
            placed = sorted((start_us // WINDOW_US, size) for start_us, size in words)
            for first in range(0, windows, CLIP_WINDOWS):
                stop = min(first + CLIP_WINDOWS, windows)
                # The answer to window i is window i + 1: what starts in a clip's first window is not written.
                own = tuple((at - first - 1, size) for at, size in placed if first < at < stop)
                yield Document(speaks_W=speaks_W[first + 1 : stop], words=own)


def _real(plain: dict, speaker: str) -> list[tuple[int, int]]:
    timed = [w for w in plain["words"] if w["speaker"] == speaker and w["start_us"] is not None]
    return [(w["start_us"], len(BYTES.word(w["text"], w.get("after", "")))) for w in timed]


def _made_up(turns: list[Span], language: str, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Words one after another through each turn, at least one."""
    text = RUSSIAN.split() if language == "Russian" else list(re.sub(r"\s", "", CHINESE))
    endless = itertools.cycle(text)
    made = []
    for turn in turns:
        per_syllable = 1e6 / SYLLABLES_PER_S[language] / rng.uniform(0.7, 1.3)
        at = float(turn.start_us)
        while at == turn.start_us or at + per_syllable <= turn.stop_us:
            word = next(endless)
            made.append((int(at), len(BYTES.word(word))))
            at += per_syllable * max(1, len(re.findall("[аеёиоуыэюя]", word)))
    return made


def measure(found: list[Document], slots: int) -> dict[str, float]:
    model = dataclasses.replace(MODELS["base"], text_slots=slots)
    late, left, positions, windows, later, tokens = [], 0, 0, 0, 0, 0
    for document in found:
        numbers = itertools.count()
        items: Said = [(at, tuple(next(numbers) for _ in range(size))) for at, size in document.words]
        since = [at for at, size in document.words for _ in range(size)]
        written, counts = spread(items, document.speaks_W, slots)
        late += [turn - since[token] for turn, held in enumerate(written) for token in held]
        none = np.zeros(len(document.speaks_W), np.int64)
        sizes = turn_sizes(none > 0, none, document.speaks_W, lengths(written), model)
        left, later = left + counts.left, later + counts.later
        positions, windows, tokens = positions + int(sizes.sum()), windows + len(sizes), tokens + len(since)
    delay = np.array(late)
    spoken_s = sum(int(d.speaks_W.sum()) for d in found) * WINDOW_US / 1e6
    return {
        "bytes_per_spoken_s": round(tokens / spoken_s, 1),
        **{f"late_{n}": round(float((delay >= n).mean()), 4) for n in (1, 2, 5)},
        "p95": int(np.quantile(delay, 0.95, method="inverted_cdf")),
        "max": int(delay.max()),
        "after_silence": round(later / tokens, 4),
        "left": round(left / tokens, 4),
        "positions_per_s": round(positions / (windows * WINDOW_US / 1e6), 2),
        "largest_turn": largest_turn(model, pictures=False),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    for language in ("English", *SYLLABLES_PER_S):
        found = list(documents(folder, language))
        for slots in SLOTS:
            print(json.dumps({"language": language, "text_slots": slots, **measure(found, slots)}))


if __name__ == "__main__":
    main()
