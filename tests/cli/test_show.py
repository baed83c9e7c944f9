"""What is printed: a terminal obeys nothing that came from outside, a pipe gets values as they are."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus.cli import main, show
from corpus.schemas.errors import DatasetError

EVIL = "a\x1b]0;owned\x07\x9b31m\u202eb"


@given(st.dictionaries(st.text(), st.text()))
def test_json_means_the_same_and_holds_nothing_to_obey(value: dict[str, str]) -> None:
    text = show.plain_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.isprintable()


def test_talk_tables_and_errors_show_control_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show.talk(f"one {EVIL}\ntwo")
    show.table([[EVIL, "2"]], ["name", "n"])

    def fails(**_: object) -> int:
        raise DatasetError(EVIL, where=EVIL, todo=EVIL)

    monkeypatch.setattr(main, "app", fails)
    with pytest.raises(SystemExit, match="1"):
        main.main()
    told = capsys.readouterr()
    lines = (told.out + told.err).splitlines()
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    assert "\\x1b]0;owned\\x07" in told.err


def test_data_is_as_it_is_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show.data(EVIL)
    assert capsys.readouterr().out == EVIL + "\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show.data(EVIL)
    assert capsys.readouterr().out.strip().isprintable()
