"""The drawn people of `make demo`: both faces are followed, and each is given its own voice."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from corpus.align.models import find
from corpus.align.sight.watch import Watcher
from corpus.align.sight.who import whose_faces
from corpus.pipeline.sample.film import find_call, read_call, write_sample
from corpus.schemas.conversation import Conversation
from corpus.schemas.errors import CorpusError
from corpus.schemas.settings import SightSettings, VisualSettings

pytestmark = pytest.mark.models


def test_each_face_is_given_its_own_voice(tmp_path: Path) -> None:
    try:
        find("faces")
        call = read_call(find_call())
    except CorpusError as error:
        pytest.skip(str(error))
    film = tmp_path / "call.mp4"
    write_sample(film)
    watcher = Watcher(SightSettings())
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            watcher(frame, round(frame.time * 1e6))
    seen = watcher.finish()
    left, right = sorted(seen.head.tracks, key=lambda track: float(seen.of_track(track.id)["box"][0, 0]))
    for track in (left, right):
        assert not track.still
        assert len(np.unique(seen.of_track(track.id)["frame"])) > 0.95 * len(seen.frames)
    # The first to speak is drawn on the left.
    names = tuple(dict.fromkeys(turn.speaker for turn in call.turns))
    conversation = Conversation(
        recording="call", duration_us=call.duration_us, speakers=names, turns=call.turns
    )
    matches = whose_faces(seen, conversation, VisualSettings())
    assert {track: match.speaker for track, match in matches.items()} == {
        left.id: names[0],
        right.id: names[1],
    }
