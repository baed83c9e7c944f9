"""Whether heard sound reveals when one's own person spoke: detectors of own speech against quiet.

    python benchmarks/trainer_hearing.py OUT [OUT ...] [--hears energy] [--split train]

Of the frames in which nobody else speaks, those with the document's own person are compared with those
without. For each detector, prints the area under the ROC curve (0.5 is chance): the mean over documents with
at least 20 frames of both kinds, and the area over all frames together; first for the other channels as they
are, then as the trainer hears them.

    silent   the frame is digital silence
    level    mean mel byte, as used by any threshold on the level
    change   change of the level from the previous frame
    repeat   the frame equals the previous one
    known    the frame's distance, in the model's levels, from the nearest earlier frame
    linear   the best linear rule on the frame's 80 bytes, learnt on the other documents (ridge)

Two lines are about windows: how often two or more frames are digital silence where the person speaks. The
last lines give the distance of `hears=energy` from `hears=mix`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corpus.schemas.activity import SPEECH
from corpus.shards.mel import mel_bytes, mel_shape
from corpus.shards.read import Clips, open_clips
from corpus.trainer.config import DataConfig
from corpus.trainer.data.hearing import added, mixed
from corpus.trainer.data.levels import level_of_byte
from corpus.trainer.data.views import View, heard, plan_view
from corpus.trainer.presets import preset

DETECTORS = ("silent", "level", "change", "repeat", "known", "linear")
FEWEST = 20


@dataclass(frozen=True, slots=True)
class Heard:
    """A document: all its frames `[F, M]`, and the kind of each."""

    before_FM: np.ndarray
    after_FM: np.ndarray
    own_F: np.ndarray
    quiet_F: np.ndarray

    @property
    def counts(self) -> bool:
        return min(self.own_F.sum(), self.quiet_F.sum()) >= FEWEST


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--hears", choices=("energy", "mix", "max"), default="energy")
    parser.add_argument("--split", default=None)
    options = parser.parse_args()
    documents = [one for data in options.data for one in read(data, options.hears, options.split)]
    both = sum(one.counts for one in documents)
    own, quiet = (sum(int(getattr(one, name).sum()) for one in documents) for name in ("own_F", "quiet_F"))
    print(f"{len(documents)} documents, {both} with both kinds; frames: {own} own speech, {quiet} quiet")
    print(f"{'':8}{'before':>17}{'after':>17}\n{'':8}" + f"{'each':>9}{'all':>8}" * 2)
    for name in DETECTORS:
        line = f"{name:8}"
        for side in ("before_FM", "after_FM"):
            each, pooled = areas(name, documents, side)
            line += f"{each:9.3f}{pooled:8.3f}"
        print(line)
    for side in ("before_FM", "after_FM"):
        print(side[:-3], *(f"{share:.3f}" for share in silent_windows(documents, side)))
    for data in options.data:
        print(f"{data}: {energy_against_mix(data, options.split)}")


def read(data: Path, hears: str, split: str | None) -> Iterator[Heard]:
    model, clips = preset("tiny").model, open_clips(data, split=split)
    settings = DataConfig(pictures=False)
    for place in range(len(clips)):
        for channel in range(len(clips[place].json.speakers)):
            view = plan_view(clips, place, channel, model, settings)
            if not len(view):
                continue
            speech_CF = (clips[place].activity()[:, : len(view)] & SPEECH).reshape(
                len(clips[place].mel()), -1
            )
            speech_CF = speech_CF > 0
            others_F = looked_at(np.delete(speech_CF, channel, axis=0).any(0))
            after_FM = heard(clips, view, hears).sound_NFM.reshape(-1, model.mel_bins)
            before_FM = as_it_is(clips, view, hears).reshape(after_FM.shape)
            own_F = speech_CF[channel]
            own_F = own_F & np.concatenate(([False], own_F[:-1]))
            yield Heard(before_FM, after_FM, own_F & ~others_F, ~looked_at(speech_CF[channel]) & ~others_F)


def energy_against_mix(data: Path, split: str | None) -> str:
    """How often added energies are over a level away from the exact mix, in published and own levels."""
    model, clips = preset("tiny").model, open_clips(data, split=split)
    own = level_of_byte(model).astype(int)
    far = {"published": 0, "own": 0}
    bins = several = 0
    for place, clip in enumerate(clips):
        for channel in range(len(clip.json.speakers)):
            view = plan_view(clips, place, channel, model, DataConfig(pictures=False))
            # The first window looks back on another clip, which `as_it_is` does not.
            fast, exact = (as_it_is(clips, view, hears)[1:].astype(int) for hears in ("energy", "mix"))
            far["published"] += int((np.abs((fast >> 4) - (exact >> 4)) > 1).sum())
            far["own"] += int((np.abs(own[fast] - own[exact]) > 1).sum())
            bins += fast.size
            others = np.delete(clip.mel(), channel, axis=0)[:, 1 : len(view)]
            several += int(((others > 0).sum(0) > 1).sum())
    shares = ", ".join(f"{name} levels {count / bins:.5f}" for name, count in far.items())
    return f"energy more than a level from mix: {shares}; bins in which several sound {several / bins:.5f}"


def looked_at(flags_F: np.ndarray) -> np.ndarray:
    """A frame of 50 ms covers its own 25 ms and the previous 25 ms."""
    return flags_F | np.concatenate(([False], flags_F[:-1]))


def as_it_is(clips: Clips, view: View, hears: str) -> np.ndarray:
    """The other channels as they are."""
    clip = clips[view.place]
    if hears != "mix":
        others = np.delete(clip.mel(), view.channel, axis=0)[:, : len(view)]
        return others.max(0) if hears == "max" else added(others)
    shape = mel_shape(view.sample_rate_hz)
    mix_S = mixed(clip.audio(), view.channel)[: len(view) * shape.samples_per_window]
    return mel_bytes(np.pad(mix_S, (shape.context_samples, 0))[None], view.sample_rate_hz)[0]


def areas(name: str, documents: list[Heard], side: str) -> tuple[float, float]:
    """The mean area over documents with enough of both kinds, and the area over all frames."""
    found = [scores(name, documents, number, side) for number in range(len(documents))]
    kinds = [(one.own_F, one.quiet_F) for one in documents]
    each = [
        area(score_F[own_F], score_F[quiet_F])
        for one, score_F, (own_F, quiet_F) in zip(documents, found, kinds, strict=True)
        if one.counts
    ]
    pairs = list(zip(found, kinds, strict=True))
    own = np.concatenate([score_F[own_F] for score_F, (own_F, _) in pairs])
    quiet = np.concatenate([score_F[quiet_F] for score_F, (_, quiet_F) in pairs])
    return float(np.mean(each)) if each else float("nan"), area(own, quiet)


def scores(name: str, documents: list[Heard], number: int, side: str) -> np.ndarray:
    """One number for each frame of a document; a low one means own speech."""
    frames_FM = getattr(documents[number], side).astype(np.int64)
    before_FM = np.concatenate([frames_FM[:1], frames_FM[:-1]])
    match name:
        case "silent":
            return frames_FM.any(1).astype(float)
        case "level":
            return frames_FM.mean(1)
        case "change":
            return np.abs(frames_FM.mean(1) - before_FM.mean(1))
        case "repeat":
            return (frames_FM != before_FM).any(1).astype(float)
        case "known":
            return nearest(level_of_byte(preset("tiny").model)[frames_FM].astype(np.int8))
    return linear(documents, number, side)


def nearest(levels_FM: np.ndarray) -> np.ndarray:
    """The least distance from each frame to an earlier one."""
    found = np.zeros(len(levels_FM))
    for at in range(1, len(levels_FM)):
        found[at] = np.abs(levels_FM[:at] - levels_FM[at]).sum(1, dtype=np.int64).min()
    return found


def linear(documents: list[Heard], number: int, side: str) -> np.ndarray:
    parts, wanted = [], []
    for place, one in enumerate(documents):
        for kind, value in ((one.own_F, 0.0), (one.quiet_F, 1.0)):
            if place != number:
                parts.append(getattr(one, side)[kind].astype(float))
                wanted.append(np.full(len(parts[-1]), value))
    x, y = np.concatenate(parts), np.concatenate(wanted)
    middle, y = x.mean(0), y - y.mean()
    x = x - middle
    weights = np.linalg.solve(x.T @ x + len(x) * np.eye(x.shape[1]), x.T @ y)
    return (getattr(documents[number], side) - middle) @ weights


def area(own: np.ndarray, quiet: np.ndarray) -> float:
    """How often a frame of own speech scores lower than a quiet one; ties count half."""
    quiet = np.sort(quiet)
    above = len(quiet) - np.searchsorted(quiet, own, side="right")
    same = len(quiet) - above - np.searchsorted(quiet, own, side="left")
    return float((above + same / 2).mean() / len(quiet)) if len(own) and len(quiet) else float("nan")


def silent_windows(documents: list[Heard], side: str) -> tuple[float, float]:
    """Share of windows with two digitally silent frames, with and without own speech."""
    silent, own = [], []
    for one in documents:
        silent.append((~getattr(one, side).any(1)).reshape(-1, 8).sum(1) >= 2)
        own.append(one.own_F.reshape(-1, 8).any(1))
    silent_W, own_W = np.concatenate(silent), np.concatenate(own)
    return float(silent_W[own_W].mean()), float(silent_W[~own_W].mean())


if __name__ == "__main__":
    main()
