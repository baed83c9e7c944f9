"""The decoded pictures of a recording, selected by clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from corpus.schemas.artifacts import PICTURE_DTYPE, Decoded
from corpus.schemas.clip import Video
from corpus.schemas.errors import FormatError

PATCH = 40
"""Side of the patches into which a picture is divided, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The decoded pictures of a recording, one row per written window."""

    width: int
    height: int
    rows: npt.NDArray[np.void]
    path: Path

    @classmethod
    def of(cls, decoded: Decoded, folder: Path) -> Pictures | None:
        if not (decoded.picture_width and decoded.picture_height):
            return None
        rows = np.load(folder / "pictures.npy")
        if rows.dtype != PICTURE_DTYPE or rows.shape != (decoded.windows,):
            raise FormatError(f"pictures.npy is {rows.dtype} {rows.shape}", where=str(folder.name))
        return cls(
            width=decoded.picture_width,
            height=decoded.picture_height,
            rows=rows,
            path=folder / "pictures.mjpeg",
        )

    def of_clip(self, first: int, windows: int) -> tuple[Video, bytes]:
        """The JPEGs of `windows` written windows from `first` on, concatenated, and where each one begins."""
        rows = self.rows[first : first + windows]
        jpegs: list[bytes] = []
        offsets: list[int] = []
        at = 0
        with open(self.path, "rb") as file:
            for offset, size in zip(rows["offset"].tolist(), rows["size"].tolist(), strict=True):
                # A window without a picture.
                if offset < 0:
                    offsets.append(-1)
                    continue
                file.seek(offset)
                jpegs.append(file.read(size))
                offsets.append(at)
                at += size
        video = Video(
            width=self.width,
            height=self.height,
            patch=PATCH,
            offsets=tuple(offsets),
            sizes=tuple(rows["size"].tolist()),
            pts_us=tuple(rows["pts_us"].tolist()),
            flags=tuple(rows["flags"].tolist()),
        )
        return video, b"".join(jpegs)
