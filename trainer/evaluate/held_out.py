"""Losses on held-out documents, per stream, cue and recording, compared with the best constant guess.

Nothing is random: a flow's loss is taken at fixed times, with noise that depends on the position alone
(flow_head.py), so that two evaluations of the same clips can be compared.

Shape suffixes: N micro-turns, L positions, D width, T sound targets, X bins of a position, Q levels.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from corpus.schemas.arrays import BoolArray
from corpus.schemas.clip import ClipHead
from corpus.schemas.clock import US, WINDOW_US
from corpus.trainer.config import RunConfig
from corpus.trainer.data.documents import Documents
from corpus.trainer.data.layout import beginning, concat, lay_out
from corpus.trainer.data.levels import level_of_byte
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.data.pack import collate
from corpus.trainer.data.sequence import EOW, NO_TARGET, SIL, SPK, Batch, Positions
from corpus.trainer.evaluate.by_window import WindowLoss, WindowSums
from corpus.trainer.evaluate.cue_scores import CueScore, CueScores
from corpus.trainer.evaluate.timing_cases import cue_windows
from corpus.trainer.model.cross_entropy import cross_entropy_each
from corpus.trainer.model.heads import AudioHead
from corpus.trainer.model.model import InteractionModel

STREAMS = ("control", "text", "end", "audio", "user_audio")
"""The last one only for models with a head for it."""
_SOUNDS = ("audio", "user_audio")
ALL = "all"
_GPU_LENGTHS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """Mean loss of a stream: nats per token; for sound the head's own (nats per bin, or squared error)."""

    cue: str
    """A label, or `all`."""
    stream: str
    count: int
    model: float | None
    unigram: float | None
    bits_per_s: float | None = None
    """For sound: bits needed to encode a second of it under the model; None for a flow."""
    level_mae: float | None = None
    """For sound: mean error, in levels, of the model's likeliest frames (those of temperature 0)."""
    unigram_level_mae: float | None = None
    """The same for each bin's median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLoss:
    """Mean loss of a stream of a recording, as in `LossRow`."""

    stream: str
    count: int
    model: float | None
    """None if there is nothing to score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingLosses:
    """A recording of the split, whether or not any of it was evaluated."""

    recording: str
    """The beginning of its clips' keys."""
    name: str = ""
    """Its file, as named in the dataset's manifest."""
    documents: int
    """The number of its documents that have a micro-turn and were evaluated."""
    streams: tuple[StreamLoss, ...]


class Losses:
    """Sums of losses over documents, per cue and stream, and per recording and stream."""

    def __init__(self, model: InteractionModel, config: RunConfig) -> None:
        self.model, self.config = model, config
        self._streams = STREAMS if model.config.user_audio else STREAMS[:-1]
        self._sums: dict[tuple[str, str], list[float]] = {}
        self._recordings: dict[tuple[str, str], list[float]] = {}
        self._documents: Counter[str] = Counter()
        self._recording = ""
        """The recording of the document being added."""
        self._tokens: dict[tuple[str, str], Counter[int]] = {}
        self._levels: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
        self._off: dict[tuple[str, str], float] = {}
        self._level_of_byte = level_of_byte(config.model)
        self._windows = WindowSums()
        self._cues = CueScores()

    @torch.no_grad()
    def add(self, documents: Documents, document: int) -> npt.NDArray[np.float64]:
        """Add a document; returns the probability of speaking in each of its micro-turns."""
        model, config = self.model, self.config
        clip = documents.clips[documents.view(document).place]
        self._recording = _recording_of(clip.key)
        self._documents[self._recording] += 1
        device = model.embed.stream.device
        count = len(documents.view(document))
        turns = documents.turns(document, 0, count)
        positions = concat([beginning(config.model), lay_out(turns, config.model, config.loss)])
        # In one piece, as in a session: rows would forget at each of their ends.
        batch = collate([[positions]], _row_of(config, len(positions), device))
        batch = (batch if device.type == "cuda" else batch.trimmed()).to(device)
        hidden_LD = model.hidden(batch)[0]
        labels = _labels(clip.json, count, config.model.response_delay)
        self._add_text(positions, hidden_LD, labels)
        self._add_audio(positions, hidden_LD, batch, labels)
        if model.user_audio_head is not None:
            self._add_user_audio(positions, hidden_LD, batch, _labels(clip.json, count, 0))
        if model.cue_head is not None:
            p_CK = model.cue_head(hidden_LD[batch.cue_at_C]).double().sigmoid().cpu().numpy()
            self._cues.add(positions.cue_CK, p_CK)
        asked = np.flatnonzero(np.isin(positions.text_target_L, (SIL, SPK)))
        logit = model.text_logits(hidden_LD[torch.from_numpy(asked).to(device)])
        p_N: npt.NDArray[np.float64] = logit[:, [SIL, SPK]].double().softmax(-1)[:, 1].cpu().numpy()
        return p_N

    def _add_text(
        self, positions: Positions, hidden_LD: torch.Tensor, labels: Mapping[str, BoolArray]
    ) -> None:
        at = np.flatnonzero((positions.text_weight_L > 0) & (positions.text_target_L != NO_TARGET))
        if not len(at):
            return
        target = positions.text_target_L[at]
        device = hidden_LD.device
        nats = cross_entropy_each(
            hidden_LD[torch.from_numpy(at).to(device)],
            self.model.text_table,
            torch.from_numpy(target).to(device),
        )
        streams = np.where(np.isin(target, (SIL, SPK)), 0, np.where(target == EOW, 2, 1))
        each = nats.double().cpu().numpy()
        turn = positions.turn_L[at]
        for number, stream in enumerate(("control", "text")):
            self._windows.add(stream, turn[streams == number], each[streams == number])
        for cue, in_N in labels.items():
            chosen = in_N[positions.turn_L[at]]
            for number in range(3):
                some = chosen & (streams == number)
                self._sum((cue, STREAMS[number]), each[some])
                self._tokens.setdefault((cue, STREAMS[number]), Counter()).update(target[some].tolist())

    def _add_audio(
        self, positions: Positions, hidden_LD: torch.Tensor, batch: Batch, labels: Mapping[str, BoolArray]
    ) -> None:
        known_T = np.flatnonzero(positions.audio_weight_T > 0)
        at_T = positions.audio_target_at_T[known_T].astype(np.int64)
        each_T = self.model.audio_losses(hidden_LD, batch, NoiseKey())[torch.from_numpy(known_T)]
        target_TRM = positions.audio_target_TRM[known_T]
        off_T = self._levels_off(self.model.audio_head, hidden_LD, at_T, target_TRM)
        self._windows.add("sound", positions.turn_L[at_T], each_T.double().cpu().numpy())
        self._add_sound("audio", target_TRM, each_T, off_T, positions.turn_L[at_T], labels)

    def _add_user_audio(
        self, positions: Positions, hidden_LD: torch.Tensor, batch: Batch, labels: Mapping[str, BoolArray]
    ) -> None:
        head = self.model.user_audio_head
        assert head is not None
        chosen_T, each_T = self.model.user_audio_losses(hidden_LD, batch)
        chosen = chosen_T.cpu().numpy()
        at_T, target_TRM = positions.audio_at_A[chosen].astype(np.int64), positions.audio_ARM[chosen]
        off_T = self._levels_off(head, hidden_LD, at_T - 1, target_TRM)
        self._add_sound("user_audio", target_TRM, each_T, off_T, positions.turn_L[at_T], labels)

    def _levels_off(
        self,
        head: AudioHead,
        hidden_LD: torch.Tensor,
        at_T: npt.NDArray[np.int64],
        target_TRM: npt.NDArray[np.uint8],
    ) -> npt.NDArray[np.float64]:
        """(T,): mean distance, in levels, of the likeliest frames from the real ones."""
        if not len(at_T):
            return np.zeros(0)
        hidden_TD = hidden_LD[torch.from_numpy(at_T).to(hidden_LD.device)]
        likeliest = head.sample(hidden_TD, seed=0, temperature=0.0).cpu().numpy()
        pair = [self._level_of_byte[each].astype(int) for each in (likeliest, target_TRM)]
        off: npt.NDArray[np.float64] = np.abs(pair[0] - pair[1]).mean((1, 2))
        return off

    def _add_sound(
        self,
        stream: str,
        target_TRM: npt.NDArray[np.uint8],
        loss_T: torch.Tensor,
        off_T: npt.NDArray[np.float64],
        turn_T: npt.NDArray[np.int32],
        labels: Mapping[str, BoolArray],
    ) -> None:
        each_T = loss_T.double().cpu().numpy()
        bins = self.config.model.frames_per_position * self.config.model.mel_bins
        for cue, in_N in labels.items():
            key, some = (cue, stream), in_N[turn_T]
            self._sum(key, each_T[some])
            self._off[key] = self._off.get(key, 0.0) + float(off_T[some].sum())
            if not some.any():
                continue
            levels = self._level_of_byte[target_TRM[some]].reshape(-1, bins)
            counts = self._levels.setdefault(key, np.zeros((bins, self.config.model.audio_levels), np.int64))
            place = np.broadcast_to(np.arange(bins), levels.shape)
            np.add.at(counts, (place, levels), 1)

    def _sum(self, key: tuple[str, str], values: npt.NDArray[np.float64]) -> None:
        entries = [self._sums.setdefault(key, [0.0, 0])]
        if key[0] == ALL:
            entries.append(self._recordings.setdefault((self._recording, key[1]), [0.0, 0]))
        for entry in entries:
            entry[0] += float(values.sum())
            entry[1] += len(values)

    def rows(self) -> tuple[LossRow, ...]:
        cues = sorted({cue for cue, _ in self._sums}, key=lambda cue: (cue != ALL, cue))
        loss_rows = []
        for cue in cues:
            for stream in self._streams:
                total, count = self._sums.get((cue, stream), (0.0, 0))
                mean = total / count if count else None
                row = LossRow(
                    cue=cue, stream=stream, count=int(count), model=mean, unigram=self._guess(cue, stream)
                )
                loss_rows.append(row if stream not in _SOUNDS or mean is None else self._sound(row, mean))
        return tuple(loss_rows)

    def recordings(self, names: Mapping[str, str]) -> tuple[RecordingLosses, ...]:
        """The losses of all recordings from which clips with these keys are cut, with their file names."""
        name_of = {_recording_of(key): name for key, name in names.items()}
        return tuple(
            RecordingLosses(
                recording=recording,
                name=name_of[recording],
                documents=self._documents[recording],
                streams=tuple(self._of_recording(recording, stream) for stream in self._streams),
            )
            for recording in sorted(name_of)
        )

    def cues(self) -> tuple[CueScore, ...]:
        return self._cues.rows()

    def by_window(self) -> tuple[WindowLoss, ...]:
        return self._windows.rows()

    def _of_recording(self, recording: str, stream: str) -> StreamLoss:
        total, count = self._recordings.get((recording, stream), (0.0, 0))
        return StreamLoss(stream=stream, count=int(count), model=total / count if count else None)

    def _sound(self, row: LossRow, mean: float) -> LossRow:
        """A row of sound with the fields that only sound has."""
        model = self.config.model
        bins_per_s = model.mel_bins * model.frames_per_window * US / WINDOW_US
        return dataclasses.replace(
            row,
            bits_per_s=None if self._is_flow(row.stream) else mean * bins_per_s / math.log(2),
            level_mae=self._off[row.cue, row.stream] / row.count,
            unigram_level_mae=_median_mae(self._levels[row.cue, row.stream]),
        )

    def _guess(self, cue: str, stream: str) -> float | None:
        """Entropy of the data, which is the loss of the best constant guess."""
        if stream not in _SOUNDS:
            counts = np.array(list(self._tokens.get((cue, stream), Counter()).values()), np.float64)
            return _entropy(counts[None]) if len(counts) else None
        if (cue, stream) not in self._levels or self._is_flow(stream):
            return None
        return _entropy(self._levels[cue, stream].astype(np.float64))

    def _is_flow(self, stream: str) -> bool:
        return stream == "audio" and self.config.model.audio_head == "flow"


def _recording_of(key: str) -> str:
    return key.rpartition("-")[0]


def _median_mae(counts_XQ: npt.NDArray[np.int64]) -> float:
    """Mean over bins of the mean distance to the bin's median level."""
    total_X1 = counts_XQ.sum(1, keepdims=True)
    median_X1 = (counts_XQ.cumsum(1) * 2 >= total_X1).argmax(1)[:, None]
    off_XQ = np.abs(np.arange(counts_XQ.shape[1]) - median_X1)
    return float(((counts_XQ * off_XQ).sum(1) / total_X1[:, 0]).mean())


def _entropy(counts: npt.NDArray[np.float64]) -> float:
    """Mean entropy of the rows, in nats."""
    share = counts / counts.sum(1, keepdims=True)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    return float(np.abs((share * logs).sum(1)).mean())


def _row_of(config: RunConfig, positions: int, device: torch.device) -> RunConfig:
    """A configuration whose rows hold a document; on a GPU only with few lengths, as each is compiled."""
    step = _GPU_LENGTHS if device.type == "cuda" else 1
    length = -(-positions // step) * step
    return dataclasses.replace(config, data=dataclasses.replace(config.data, length=length))


def _labels(head: ClipHead, count: int, delay: int) -> dict[str, BoolArray]:
    """For every label in the clip, the micro-turns whose answer falls inside such a cue."""
    in_label = {ALL: np.ones(count, bool)}
    for cue in head.cues:
        first, last = cue_windows(cue, head)
        in_N = in_label.setdefault(cue.label, np.zeros(count, bool))
        in_N[max(0, first - delay) : max(0, last - delay)] = True
    return in_label
