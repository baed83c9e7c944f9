"""Joints of hands and bodies compared with another program's on the same pictures, and the cost of sight.

    python benchmarks/joints_quality.py REFERENCE.json      distances as a share of the hand or body
    python benchmarks/joints_quality.py --speed FILE…       CPU time beside decoding

The reference maps each picture's path to {"hands": [{"points": [[x, y], …], "right": true}],
"body": [[x, y, visible], …] or null}, in pixels, from `mediapipe.solutions` of MediaPipe 0.10.14 with
`static_image_mode`. Its sides are those of a mirrored picture, so `right` is true where it says "Left".
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from corpus.align.models import find
from corpus.align.sight.bodies import BodyJoints, PersonDetector
from corpus.align.sight.hands import HandJoints, PalmDetector
from corpus.align.sight.picture import Pictures
from corpus.align.sight.tracks import LEAST_SCORE
from corpus.align.sight.watch import Watcher
from corpus.ingest.decode import DecodeSource, decode_media
from corpus.schemas.joints import LEAST_VISIBLE
from corpus.schemas.settings import IngestSettings, SightSettings

Points = npt.NDArray[np.float64]
ROUNDS = 3


def agreement(reference: Path) -> None:
    pictures = Pictures()
    palms, hand_joints = PalmDetector(find("hands")), HandJoints(find("hands"))
    people, body_joints = PersonDetector(find("bodies")), BodyJoints(find("bodies"))
    shares: dict[str, list[float]] = {"hand": [], "body": []}
    sides: list[bool] = []
    missing, extra = {"hand": 0, "body": 0}, {"hand": 0, "body": 0}
    for path, said in json.loads(reference.read_bytes()).items():
        with av.open(path) as container:
            frame = pictures.planar(next(container.decode(video=0)))
        hands = [hand_joints(frame, palm.piece, pictures) for palm in palms(frame, pictures)]
        ours = [hand.points for hand in hands if hand.score >= LEAST_SCORE]
        theirs = [np.array(hand["points"])[:, :2] for hand in said["hands"]]
        near = [_nearest(points, ours) for points in theirs]
        for points, hand in zip(theirs, said["hands"], strict=True):
            same = [h for h in hands if h.points is _which(points, ours)]
            sides += [(each.right >= 0.5) == hand["right"] for each in same]
        _report(path, "hand", near)
        shares["hand"] += [share for share in near if share is not None]
        missing["hand"] += sum(share is None for share in near)
        extra["hand"] += max(0, len(ours) - len(theirs))
        bodies = [body_joints(frame, person.piece, pictures) for person in people(frame, pictures)[:1]]
        found = [body for body in bodies if body.score >= LEAST_SCORE]
        if said["body"] is None:
            extra["body"] += len(found)
            continue
        body = np.array(said["body"])
        shown = body[:, 2] >= LEAST_VISIBLE
        near = [_nearest(body[shown, :2], [b.points[shown] for b in found])]
        _report(path, "body", near)
        shares["body"] += [share for share in near if share is not None]
        missing["body"] += near[0] is None
    print(f"hand: the same side {sum(sides)} of {len(sides)}")
    for sort, values in shares.items():
        middle, most = statistics.median(values), max(values)
        print(
            f"{sort}: {len(values)} compared, mean distance of joints median {middle:.1%}, most {most:.1%} "
            f"of its size; {missing[sort]} not found, {extra[sort]} more found"
        )


def _nearest(points: Points, ours: list[Points]) -> float | None:
    """The least mean distance of joints as a share of the diagonal; None if nothing is near."""
    return min((share for share in _apart(points, ours) if share < 0.5), default=None)


def _which(points: Points, ours: list[Points]) -> Points | None:
    apart = _apart(points, ours)
    return ours[int(np.argmin(apart))] if apart else None


def _apart(points: Points, ours: list[Points]) -> list[float]:
    size = float(np.hypot(*np.ptp(points, axis=0)))
    return [float(np.hypot(*(points - other).T).mean()) / size for other in ours]


def _report(path: str, sort: str, near: list[float | None]) -> None:
    for share in near:
        print(f"{Path(path).name:24} {sort} {'not found' if share is None else f'{share:.1%}'}")


def speed(files: list[Path]) -> None:
    sorts = {
        "faces": SightSettings(),
        "hands": SightSettings(hands=True),
        "bodies": SightSettings(bodies=True),
    }
    for path in files:
        seconds: dict[str, list[float]] = {name: [] for name in ("none", *sorts)}
        for _ in range(ROUNDS):
            seconds["none"].append(_seconds(path, None))
            for name, settings in sorts.items():
                seconds[name].append(_seconds(path, settings))
        plain = statistics.median(seconds["none"])
        for name in sorts:
            added = [looked / plain - 1 for looked in seconds[name]]
            print(
                f"{path.name}: decode {plain:.2f} s CPU, {'' if name == 'faces' else 'faces and '}{name} add "
                f"{statistics.median(added):.0%} ({min(added):.0%} to {max(added):.0%})",
                flush=True,
            )


def _seconds(path: Path, settings: SightSettings | None) -> float:
    with tempfile.TemporaryDirectory() as folder:
        watcher = Watcher(settings or SightSettings())
        begin = time.process_time()
        observers = (watcher,) if settings else ()
        decode_media([DecodeSource(path=path)], Path(folder), IngestSettings(), observers=observers)
        watcher.finish()
        return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference", type=Path, nargs="?")
    parser.add_argument("--speed", type=Path, nargs="+", default=[])
    given = parser.parse_args()
    if given.speed:
        speed(given.speed)
    elif given.reference:
        agreement(given.reference)


if __name__ == "__main__":
    main()
