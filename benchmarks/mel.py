"""mel of 10 minutes of one channel : torch.stft of the same, in one thread, interleaved, with the spread."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from corpus.shards.mel import mel_bytes


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def sound(minutes: int) -> np.ndarray:
    """Noise with the spectral slope and level of speech, so that no branch is cheaper than on real sound."""
    rng = np.random.default_rng(1)
    white = rng.standard_normal(16000 * 60 * minutes)
    sloped = np.convolve(white, 0.9 ** np.arange(40), mode="same")
    swell = 0.05 + np.abs(np.sin(np.arange(len(white)) / 16000 * 2))
    return np.clip(sloped * swell * 1500, -32768, 32767).astype(np.int16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--minutes", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pcm = sound(options.minutes)
    padded = np.concatenate([np.zeros(400, np.int16), pcm])[None]
    floats = torch.from_numpy(np.pad(pcm, (512, 112))).float() / 32768
    window = torch.hann_window(800)

    def stft() -> torch.Tensor:
        return torch.stft(floats, 1024, 400, 800, window, center=False, return_complex=True)

    pairs = []
    for _ in range(options.rounds + 1):
        pairs.append((seconds(lambda: mel_bytes(padded, 16000)), seconds(stft)))
    pairs = pairs[1:]  # the first builds tables and plans
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    print(
        json.dumps(
            {
                "what": f"mel of {options.minutes} minutes : torch.stft, one thread",
                "rounds": options.rounds,
                "ratio_min": round(ratios[0], 3),
                "ratio_median": round(statistics.median(ratios), 3),
                "ratio_max": round(ratios[-1], 3),
                "mel_ms_median": round(1000 * statistics.median(p[0] for p in pairs), 1),
                "stft_ms_median": round(1000 * statistics.median(p[1] for p in pairs), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
