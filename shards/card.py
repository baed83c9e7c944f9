"""The dataset card: README.md of an output folder, with what Hugging Face `datasets` needs to load it."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from corpus.schemas.clip import ClipHead
from corpus.schemas.dataset import SPLITS
from corpus.shards.index import ints, texts

if TYPE_CHECKING:
    import pyarrow as pa

COUNTED = ("split", "recording", "licence", "start_us", "stop_us", "speech_us", "overlap_us")
"""Columns of clips.parquet that the card summarises."""
_SCALARS: dict[Any, str] = {str: "string", int: "int64", float: "float64", bool: "bool"}


def dataset_card(present: Set[str], table: pa.Table, config: str) -> str:
    """The text of README.md, from the splits and the columns COUNTED only: a rebuild gives the same bytes."""
    splits = [split for split in SPLITS if split in present]
    header = [*_configs(splits), *_features()]
    return "\n".join(["---", *header, "---", "", *_body(splits, table, config)])


def _configs(splits: Sequence[str]) -> list[str]:
    lines = ["configs:", "- config_name: default", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: {split}/{split}-*.tar"]
    return lines if splits else []


def _features() -> list[str]:
    """Declared, because a guess from the first clips fails where those have no words or pictures."""
    lines = ["dataset_info:", "  features:"]
    # From the dataclass itself, so that the card cannot lag behind the form.
    lines += _field("json", ClipHead, "  ")
    lines += ["  - name: flac", "    dtype: binary"]
    lines += _nested("mel.npy", 4) + _nested("activity.npy", 3)
    for name, dtype in (("mjpeg", "binary"), ("__key__", "string"), ("__url__", "string")):
        lines += [f"  - name: {name}", f"    dtype: {dtype}"]
    return lines


def _nested(name: str, depth: int) -> list[str]:
    """uint8 arrays as lists: their second axis differs between clips, which fixed shapes do not allow."""
    lines = [f"  - name: {name}"]
    lines += [f"{'  ' * (level + 2)}list:" for level in range(depth - 1)]
    return [*lines, f"{'  ' * (depth + 1)}list: uint8"]


def _field(name: str, kind: Any, indent: str) -> list[str]:
    """One feature as YAML: a scalar, a list of them, a struct or a list of structs."""
    if get_origin(kind) is types.UnionType:
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    lines = [f"{indent}- name: {name}"]
    if kind in _SCALARS:
        return [*lines, f"{indent}  dtype: {_SCALARS[kind]}"]
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if item in _SCALARS:
            return [*lines, f"{indent}  list: {_SCALARS[item]}"]
        return [*lines, f"{indent}  list:", *_fields(item, indent + "  ")]
    if dataclasses.is_dataclass(kind):
        return [*lines, f"{indent}  struct:", *_fields(kind, indent + "  ")]
    return [*lines, f"{indent}  dtype: string"]  # a closed set of strings


def _fields(cls: Any, indent: str) -> list[str]:
    kinds = get_type_hints(cls)
    return [line for f in dataclasses.fields(cls) for line in _field(f.name, kinds[f.name], indent)]


_MEMBERS = """\
| member | content |
|---|---|
| `KEY.json` | speakers, turns, words, cues, answers, events; times in microseconds on the recording's clock |
| `KEY.flac` | 16 bit sound: a channel for each of `speakers`, then the room; their sum is the mix |
| `KEY.mel.npy` | uint8 `[channels, windows, frames, 80]`: log10 m = -7.3 + 0.0375 * byte; `>> 4` is dMel |
| `KEY.activity.npy` | uint8, flags of each frame: 1 speech, 2 overlap, 4 estimate, 8 unreliable, 16 padded |
| `KEY.mjpeg` | one JPEG per 200 ms window; `json.video.offsets` and `sizes` say where; empty without video |
"""

_LOADING = """\
```python
from corpus.shards.read import open_clips      # by index or key

clip = open_clips("OUT", split="SPLIT")[0]
clip.json.words, clip.audio(), clip.mel(), clip.picture(0)
```

```python
import webdataset as wds                       # plain tars, nothing of this project needed

for sample in wds.WebDataset("OUT/SPLIT/SPLIT-000000.tar", shardshuffle=False):
    sample["json"], sample["flac"], sample["mel.npy"], sample["activity.npy"], sample["mjpeg"]
```

```python
from datasets import Audio, load_dataset       # typed columns; streaming=True works too

clips = load_dataset("OUT", split="SPLIT")
clips = clips.cast_column("flac", Audio())     # decoded sound, where torchcodec is installed
```
"""


def _body(splits: Sequence[str], table: pa.Table, config: str) -> list[str]:
    licences = sorted({licence or "not stated" for licence in texts(table["licence"].unique())})
    lines = ["# Conversations in 200 ms windows", ""]
    lines += ["Made by `corpus build`. Each sample is a clip: consecutive windows of one recording.", ""]
    lines += [
        "| split | recordings | clips | hours | speech, hours | overlap, hours |",
        "|---|---|---|---|---|---|",
    ]
    for split in splits:
        lines.append(_counts(split, table))
    lines += ["", _MEMBERS, _LOADING.replace("SPLIT", splits[0] if splits else "train")]
    lines += [
        f"Licences of the recordings: {', '.join(licences) or 'none'}.",
        f"Configuration: `{config}`.",
        "",
    ]
    return lines


def _counts(split: str, table: pa.Table) -> str:
    import pyarrow.compute as pc

    rows = table.filter(pc.equal(table["split"], split))
    figures = [
        str(len(rows["recording"].unique())),
        str(len(rows)),
        _hours(int((ints(rows["stop_us"]) - ints(rows["start_us"])).sum())),
        _hours(int(ints(rows["speech_us"]).sum())),
        _hours(int(ints(rows["overlap_us"]).sum())),
    ]
    return f"| {split} | {' | '.join(figures)} |"


def _hours(us: int) -> str:
    """Hours with three places, in whole numbers throughout."""
    thousandths = (us + 1_800_000) // 3_600_000
    return f"{thousandths // 1000}.{thousandths % 1000:03d}"
