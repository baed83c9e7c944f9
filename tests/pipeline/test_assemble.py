"""Who speaks is gathered from turns and words: nobody has to be listed before."""

from __future__ import annotations

from corpus.pipeline.assemble import Draft, assemble
from corpus.schemas.conversation import Turn, Word


def test_those_who_speak_need_not_be_listed() -> None:
    """Diarization lists nobody; a manifest names people who may be silent."""
    turns = [Turn(speaker="S2", start_us=0, stop_us=900_000), Turn(speaker="S1", start_us=1, stop_us=2)]
    words = [Word(speaker="S3", start_us=None, stop_us=None, text="yes", timing="unknown")]
    draft = Draft(
        recording="0" * 64, duration_us=1_000_000, turns=turns, words=words, named_speakers=("Ann",)
    )
    conversation, drops = assemble("talk.wav", draft)
    assert (conversation.speakers, conversation.named_speakers, drops) == (("S2", "S1", "S3"), (), [])
    assert (conversation.turns, conversation.words) == (tuple(turns), tuple(words))
