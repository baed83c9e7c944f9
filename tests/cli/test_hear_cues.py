"""The example of docs/cues.md has a cue of each label and kind that can be generated, to hear and to see."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from corpus.cli.main import app
from corpus.report.stats import dataset_stats
from corpus.schemas.conversation import CUE_KINDS

OF_FACES = {"face_enter", "face_leave", "nod", "shake", "gaze_away", "posture"}


def test_a_cue_of_each_label_and_kind_can_be_heard(repository: Path, tmp_path: Path) -> None:
    talk, heard, pages = tmp_path / "talk", tmp_path / "heard", tmp_path / "pages"
    subprocess.run([sys.executable, repository / "examples/hear_cues.py", talk], check=True)
    documented = re.search(
        r"corpus build talk --out heard (.*)", (repository / "docs/cues.md").read_text("utf-8")
    )
    assert documented is not None
    arguments = ["build", str(talk), "--out", str(heard), *documented[1].split()]
    built = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert built.exit_code == 0, built.output
    counts = dataset_stats(heard).cues
    generated = {
        (label, kind) for label, kinds in CUE_KINDS.items() for kind in kinds if kind not in OF_FACES
    }
    assert generated <= {(cue.label, cue.kind) for cue in counts}
    shown = CliRunner().invoke(app, ["inspect", str(heard), "--cues", str(pages)], catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    links = re.findall(r'href="(clip-\d+\.html)#', (pages / "index.html").read_text("utf-8"))
    assert len(links) == len(counts) and all((pages / name).exists() for name in links)
