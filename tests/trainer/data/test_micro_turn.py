"""What a model cannot take is refused before it reads any of it."""

from __future__ import annotations

import numpy as np
import pytest

from corpus.schemas.errors import UsageError
from corpus.trainer.data.micro_turn import Answer, check_answer, check_picture, check_tokens
from corpus.trainer.data.sequence import BYTE_0, EOW
from corpus.trainer.presets import MODELS

SILENCE = np.zeros((8, 80), np.uint8)


@pytest.mark.parametrize(
    ("force", "match"),
    [
        (Answer(speak=True, written=(BYTE_0,) * 9, sound_FM=SILENCE), "9 tokens of text where 8 can be"),
        (Answer(speak=False, written=(BYTE_0,)), "1 tokens of text where 0 can be"),
        (Answer(speak=True, written=(EOW,), sound_FM=SILENCE), "token 3 is not text"),
        (Answer(speak=True), "sound of none"),
        (Answer(speak=True, sound_FM=SILENCE[:4]), r"sound of uint8 \(4, 80\)"),
        (Answer(speak=True, sound_FM=SILENCE.astype(float)), "sound of float64"),
    ],
)
def test_only_what_a_model_could_have_said_can_be_forced(force: Answer, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        check_answer(force, MODELS["tiny"])


def test_what_can_be_is_not_refused() -> None:
    model = MODELS["tiny"]
    check_answer(Answer(speak=False), model)
    check_answer(Answer(speak=True, written=(BYTE_0, 271) * 4, sound_FM=SILENCE), model)
    check_tokens((BYTE_0, model.vocab - 1), model, "here")
    check_picture(np.zeros((200, 320, 3), np.uint8), model)
