"""The trainer's ratio table, in one command.

    python benchmarks/trainer_ratios.py [--only NAME,…] [--quick] [--out FOLDER] [--time-limit S]

On a GPU the shapes and settings are those of `base`; elsewhere they are small, in fp32, and sections that
need a GPU say so. Names are those of sections or of groups: layers, attention, steps, turns. A failing
section gives a row with its error, and the next one continues. Rows are appended to FOLDER/rows.jsonl as they
are measured, and the table of all rows there is written to FOLDER/table.md. On a GPU every section is a
separate process, so that none leaves memory, compiled code or a broken context to the next.

For three calls of at most ten minutes on one H100: `--only layers,attention`, `--only train,real`, and
`--only twin,compile,deterministic,save,command,turns`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import ratio_attention
import ratio_layers
import ratio_steps
import ratio_turns
import torch
from ratio_report import Row, keep, kept, table
from ratio_setting import Section, Setting, release

GROUPS: dict[str, dict[str, Section]] = {
    "layers": ratio_layers.SECTIONS,
    "attention": ratio_attention.SECTIONS,
    "steps": ratio_steps.SECTIONS,
    "turns": ratio_turns.SECTIONS,
}
SECTIONS: dict[str, Section] = {name: made for group in GROUPS.values() for name, made in group.items()}
SECTION_S = 480
"""A section that takes longer hangs."""


def main() -> None:
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.alone:
        _measure(options.alone, options)
        return
    end_s = time.monotonic() + options.time_limit
    with tempfile.TemporaryDirectory(prefix="trainer-ratios-") as folder:
        options.clips = options.clips or Path(folder)
        for name in _chosen(options.only):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                keep(_file(options), [Row(section=name, what=name, missing="no time left")])
                continue
            print(f"{name} …", file=sys.stderr, flush=True)
            if options.device == "cuda":
                _apart(name, options, min(SECTION_S, left_s))
            else:
                _measure(name, options)
    print(_write_table(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="sections or groups, separated by commas")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that everything runs")
    parser.add_argument("--out", type=Path, default=Path("ratios"))
    parser.add_argument(
        "--time-limit",
        type=float,
        default=1e9,
        metavar="S",
        help="end after it, with the rows measured until then",
    )
    parser.add_argument("--date", default=datetime.date.today().isoformat())
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--clips", type=Path, help="where made-up clips are kept for the next call")
    parser.add_argument("--alone", choices=list(SECTIONS), help=argparse.SUPPRESS)
    return parser.parse_args()


def _chosen(only: str | None) -> list[str]:
    names: list[str] = []
    for name in only.split(",") if only else GROUPS:
        if name not in GROUPS and name not in SECTIONS:
            raise SystemExit(f"no section {name!r}; there are {', '.join([*GROUPS, *SECTIONS])}")
        names += GROUPS.get(name, [name])
    return list(dict.fromkeys(names))


def _file(options: argparse.Namespace) -> Path:
    path: Path = options.out / "rows.jsonl"
    return path


def _apart(name: str, options: argparse.Namespace, limit_s: float) -> None:
    """Run a section in a separate process, which writes its rows itself."""
    given = ["--alone", name, "--device", options.device, "--out", options.out, "--clips", options.clips]
    command = [sys.executable, __file__, *map(str, given), *(["--quick"] if options.quick else [])]
    try:
        code = subprocess.run(command, timeout=limit_s, check=False).returncode
        broken = f"ended with {code}" if code else ""
    except subprocess.TimeoutExpired:
        broken = f"not done after {limit_s:.0f} s"
    if broken:
        keep(_file(options), [Row(section=name, what=name, missing=broken)])


def _measure(name: str, options: argparse.Namespace) -> None:
    """Yield rows as they are measured; those before an error are kept."""
    setting = Setting(device=torch.device(options.device), quick=options.quick, clips=options.clips)
    if setting.gpu:
        # As `corpus train` has it in deterministic mode; read once, when the first product is made.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    else:
        torch.set_num_threads(1)
    try:
        for row in SECTIONS[name](setting):
            keep(_file(options), [row])
            print(f"  {row.what}: {row.figure()}", file=sys.stderr, flush=True)
    except Exception as error:
        traceback.print_exc()
        first = str(error).strip().splitlines()
        why = f"{type(error).__name__}: {first[0] if first else ''}"
        keep(_file(options), [Row(section=name, what=name, missing=why)])
    release()


def _write_table(options: argparse.Namespace) -> str:
    where = (
        torch.cuda.get_device_name() if options.device == "cuda" else "CPU, one thread, fp32, small shapes"
    )
    heading = f"{where}; torch {torch.__version__}; {options.date}; `python benchmarks/trainer_ratios.py`"
    text = table(kept(_file(options)), heading)
    (options.out / "table.md").write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
