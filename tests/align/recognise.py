"""Prints the words that the default recogniser finds in a decode folder; run in a process of its own.

    python tests/align/recognise.py FOLDER WINDOWS TURNS_JSON

An instruction set is chosen by the environment and only when the library is first loaded, so each needs
its own process. Exit code 3: this processor has not the instruction set.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from corpus.align.transcribe import open_transcriber
from corpus.schemas.artifacts import Segment
from corpus.schemas.codec import to_plain
from corpus.schemas.conversation import Turn
from corpus.schemas.pcm import Pcm
from corpus.schemas.settings import TranscribeSettings

LACKING = 3


def main(folder: str, windows: str, turns: str) -> int:
    pcm = Pcm(Path(folder), 1, [Segment(first_window=0, windows=int(windows))], 16_000)
    talk = [Turn(**turn) for turn in json.loads(turns)]
    try:
        done = open_transcriber(TranscribeSettings())(pcm, talk, None)
    except ValueError as error:
        if "CPU does not support" not in str(error):
            raise
        return LACKING
    json.dump({"words": to_plain(done.words), "drops": to_plain(done.drops)}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
