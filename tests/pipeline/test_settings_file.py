from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from corpus.pipeline.settings_file import commented_toml, read_settings, with_overrides
from corpus.schemas.errors import SettingsError
from corpus.schemas.settings import Settings


def test_the_written_file_is_all_defaults_and_names_every_setting(tmp_path: Path) -> None:
    path = tmp_path / "corpus.toml"
    path.write_text(commented_toml())
    assert read_settings(path) == Settings()
    for table in dataclasses.fields(Settings):
        value = getattr(Settings(), table.name)
        for f in dataclasses.fields(value) if dataclasses.is_dataclass(value) else [table]:
            assert re.search(rf"^# {f.name} =", path.read_text(), re.MULTILINE)


def test_uncommented_lines_are_valid_settings(tmp_path: Path) -> None:
    path = tmp_path / "corpus.toml"
    path.write_text(re.sub(r"^# (\w+ = )", r"\1", commented_toml(), flags=re.MULTILINE))
    assert read_settings(path) == Settings()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[ingest]\npicture_widht = 40", "picture_widht"),
        ("[ingest]\npicture_width = '40'", "whole number"),
        ("[ingest", "not TOML"),
        ("[clips]\ntest_share = 2.0", "test_share"),
    ],
)
def test_every_complaint_names_file_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "corpus.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=complaint) as caught:
        read_settings(path)
    assert caught.value.exit_code == 2


def test_overrides_win_and_unknown_ones_are_errors() -> None:
    changed = with_overrides(Settings(), ["clips.test_share=0.2", "diarize.backend=none", "sidecars=false"])
    assert (changed.clips.test_share, changed.diarize.backend, changed.sidecars) == (0.2, "none", False)
    for bad in ["clips.tset_share=1", "nothing.x=1", "clips"]:
        with pytest.raises(SettingsError):
            with_overrides(Settings(), [bad])
