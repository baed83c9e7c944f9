"""Whole optimiser steps: rate and MFU of `base`, real shards, dense twin, compiling, determinism, saving."""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from ratio_clips import has_av
from ratio_report import NEEDS_GPU, Row, interleaved, ratios
from ratio_setting import Setting, Trainee, deterministic, fitting, micro_batches, shape_of

from corpus.trainer.config import RunConfig
from corpus.trainer.data.loader import Loader, LoaderState
from corpus.trainer.data.sequence import Batch
from corpus.trainer.plan.flops import flops_of, peak_flops
from corpus.trainer.train.checkpoint import Meta
from corpus.trainer.train.checkpoint_saver import Saver
from corpus.trainer.train.loop import train_model as corpus_train

PART = 4
"""Layers of `base` in comparisons that need no whole model: a share of a step stays what it is."""


def seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    start_s = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start_s


def steps_of(loader: Loader) -> Iterator[list[Batch]]:
    with closing(iter(loader)) as stream:
        while True:
            yield [next(stream)[0] for _ in range(loader.config.accumulate)]


def training(setting: Setting) -> Iterator[Row]:
    """The preset as it is, with batches from a loader; 20 steps after 3."""
    yield from fitting(setting.with_clips(setting.run()), lambda config: _training(setting, config))


def _training(setting: Setting, config: RunConfig) -> Iterator[Row]:
    device, count = setting.device, 3 if setting.quick else 20
    trainee = Trainee(config, device)
    with closing(steps_of(Loader(config))) as steps, deterministic(config.deterministic):
        for _ in range(3):
            trainee.step(next(steps))
        graphs = _graphs()
        if setting.gpu:
            torch.cuda.reset_peak_memory_stats()
        taken, flops, positions = [], [], []
        for _ in range(count):
            micro = next(steps)
            flops.append(sum(flops_of(config, batch) for batch in micro))
            positions.append(sum(int((batch.segment_BL >= 0).sum()) for batch in micro))
            taken.append(seconds(lambda micro=micro: trainee.step(micro), device))
    name = f"{config.preset}, AdamW, {shape_of(config)}, {count} steps"
    rates = ratios(flops, taken)
    peak = peak_flops()
    if peak is None:
        yield Row(section="train", what=f"MFU, {name}", bar="35 % / 45 %", missing=NEEDS_GPU)
    else:
        mfu = tuple(100 * rate / peak for rate in rates)
        note = (
            f"all steps together {100 * sum(flops) / sum(taken) / peak:.1f} %, of {peak / 1e12:.1f} TFLOP/s"
        )
        yield Row(
            section="train",
            what=f"MFU, {name}",
            bar="35 % / 45 %",
            values=mfu,
            unit=" %",
            digits=1,
            note=note,
        )
    yield Row(section="train", what="its positions a second", values=ratios(positions, taken), digits=0)
    yield _of_product(setting, rates)
    memory, compiled = Row(section="train", what="its memory at most"), "graphs compiled in 20 packed batches"
    recompiled = Row(section="train", what=compiled, bar="0", unit="", digits=0)
    if not setting.gpu:
        yield replace(memory, missing=NEEDS_GPU)
        yield replace(recompiled, missing=NEEDS_GPU)
        return
    taken_gb = torch.cuda.max_memory_allocated() / 1e9
    reserved = f"{torch.cuda.max_memory_reserved() / 1e9:.1f} GB with what the allocator holds"
    yield replace(memory, values=(taken_gb,), unit=" GB", digits=1, note=reserved)
    note = f"{count * config.accumulate} batches after the first {3 * config.accumulate}"
    yield replace(recompiled, values=(float(_graphs() - graphs),), note=note)


def _of_product(setting: Setting, rates: tuple[float, ...]) -> Row:
    size = 8192 if setting.gpu else 512
    a, b = (torch.randn(size, size, device=setting.device, dtype=setting.dtype) for _ in range(2))
    product = min(interleaved({"product": lambda: a @ b}, setting.device, rounds=3)["product"])
    return Row(
        section="train",
        what="its operations a second : those of one large product, measured just after",
        values=tuple(rate * product / (2 * size**3) for rate in rates),
        digits=3,
    )


def _graphs() -> int:
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def real(setting: Setting) -> Iterator[Row]:
    """Steps with batches read from shards against steps with batches already on the device."""
    yield from fitting(setting.run(), lambda config: _real(setting, config))


def _real(setting: Setting, config: RunConfig) -> Iterator[Row]:
    kinds = {
        "heard by max": {"hears": "max"},
        "heard by mix (FLAC decoded)": {"hears": "mix"},
        "heard by max, pictures": {"hears": "max", "pictures": True},
    }
    trainee = Trainee(config, setting.device)
    for name, kind in kinds.items():
        row = Row(section="real", what=f"real shards : cached batch, {name}", bar="1.05 / 1.02", digits=3)
        if kind["hears"] == "mix" and not has_av():
            yield replace(row, missing="needs PyAV to make and read FLAC")
            continue
        run = setting.with_clips(config, **kind)
        with closing(steps_of(Loader(run))) as steps, deterministic(config.deterministic):
            cached = [batch.to(setting.device) for batch in next(steps)]
            works = {
                "real": lambda steps=steps: trainee.step(next(steps)),
                "cached": lambda cached=cached: trainee.step(cached),
            }
            taken = {name: _in_a_row(work, setting) for name, work in works.items()}  # warm
            found = [
                {n: _in_a_row(work, setting) for n, work in works.items()} for _ in range(_rounds(setting))
            ]
        del taken
        above, below = ([each[n] for each in found] for n in ("real", "cached"))
        note = f"{config.data.workers} thread(s), {_each(setting)} steps in turn, {shape_of(run)}"
        yield replace(row, values=ratios(above, below), note=note)


def _each(setting: Setting) -> int:
    return 2 if setting.quick else 4


def _rounds(setting: Setting) -> int:
    return 2 if setting.quick else 3


def _in_a_row(work: Callable[[], object], setting: Setting) -> float:
    """So many steps in a row that batches read ahead before them count for little."""
    return seconds(lambda: [work() for _ in range(_each(setting))], setting.device)


def twin(setting: Setting) -> Iterator[Row]:
    """The whole step of a mixture against a dense model with equally many active operations."""
    config = setting.run(layers=8, rows=4 if setting.gpu else None)
    yield from fitting(config, lambda config: _twin(setting, config))


def _twin(setting: Setting, config: RunConfig) -> Iterator[Row]:
    model = config.model
    wide = model.top_k * model.expert_width + model.shared_width
    thin = replace(config, model=replace(model, dense_layers=model.layers, dense_width=wide))
    if model.dense_layers and model.dense_width != wide:
        mixed = replace(config, model=replace(model, dense_width=wide))
    else:
        mixed = config
    micro = micro_batches(setting.with_clips(config), setting.device)
    mixture, dense = Trainee(mixed, setting.device), Trainee(thin, setting.device)
    works = {"mixture": lambda: mixture.step(micro), "dense": lambda: dense.step(micro)}
    with deterministic(config.deterministic):
        taken = interleaved(works, setting.device, rounds=setting.rounds)
    yield Row(
        section="twin",
        what="mixture : dense twin, whole step",
        bar="1.31 / 1.20",
        values=ratios(taken["mixture"], taken["dense"]),
        note=f"{model.layers} layers, {shape_of(config)}",
    )


def compiling(setting: Setting) -> Iterator[Row]:
    row = Row(section="compile", what="not compiled : compiled, whole step")
    if not setting.gpu:
        yield replace(row, missing=NEEDS_GPU)
        return
    yield from fitting(setting.run(layers=PART), lambda config: _compiling(setting, config, row))


def _compiling(setting: Setting, config: RunConfig, row: Row) -> Iterator[Row]:
    micro = micro_batches(setting.with_clips(config), setting.device)
    plain = Trainee(replace(config, compile=False), setting.device)
    compiled = Trainee(replace(config, compile=True), setting.device)
    works = {"plain": lambda: plain.step(micro), "compiled": lambda: compiled.step(micro)}
    first_s = seconds(works["compiled"], setting.device)
    taken = interleaved(works, setting.device, rounds=setting.rounds)
    note = f"{PART} layers, {shape_of(config)}; first step {first_s:.0f} s"
    yield replace(row, values=ratios(taken["plain"], taken["compiled"]), note=note)


def determinism(setting: Setting) -> Iterator[Row]:
    yield from fitting(setting.run(layers=PART), lambda config: _determinism(setting, config))


def _determinism(setting: Setting, config: RunConfig) -> Iterator[Row]:
    micro = micro_batches(setting.with_clips(config), setting.device)
    trainee = Trainee(config, setting.device)

    def work(on: bool) -> None:
        with deterministic(on):
            trainee.step(micro)

    works = {"on": lambda: work(True), "off": lambda: work(False)}
    taken = interleaved(works, setting.device, rounds=setting.rounds)
    yield Row(
        section="deterministic",
        what="deterministic : not, whole step",
        bar="1.15 / 1.05",
        values=ratios(taken["on"], taken["off"]),
        digits=3,
        note=f"{config.model.layers} layers, {shape_of(config)}",
    )


def saving(setting: Setting) -> Iterator[Row]:
    yield from fitting(setting.run(layers=PART), lambda config: _saving(setting, config))


def _saving(setting: Setting, config: RunConfig) -> Iterator[Row]:
    """The time that a save adds to the following steps, in steps."""
    micro = micro_batches(setting.with_clips(config), setting.device)
    trainee = Trainee(config, setting.device)
    tensors = trainee.learner.state_dict()
    size = sum(tensor.nbytes for part in tensors.values() for tensor in part.values())
    row = Row(section="save", what="stall of an asynchronous save, in steps", bar="2 / 0.5")
    with tempfile.TemporaryDirectory() as folder:
        free = shutil.disk_usage(folder).free
        if free < 3 * size:
            yield replace(row, missing=f"{free / 1e9:.0f} GB of disk free, {3 * size / 1e9:.0f} needed")
            return
        said: list[str] = []
        saver = Saver(Path(folder), 1, first=True, group=None, talk=said.append)
        first_s = seconds(lambda: saver.save(tensors, _meta(config, 1000)), setting.device)
        saver.wait()
        stalls, after = [], 4
        for number in range(_rounds(setting)):
            plain = statistics.median(
                seconds(lambda: trainee.step(micro), setting.device) for _ in range(after)
            )

            def saved(number: int = number) -> None:
                saver.save(tensors, _meta(config, 1001 + number))
                for _ in range(after):
                    trainee.step(micro)

            stalls.append(seconds(saved, setting.device) / plain - after)
            saver.wait()
    if said:
        raise OSError(said[0])
    note = f"{size / 1e9:.2f} GB, {config.model.layers} layers, {shape_of(config)}; over {after} steps; "
    note += f"the first save, which takes its memory, not counted: {first_s:.2f} s"
    yield replace(row, values=tuple(stalls), note=note)


def _meta(config: RunConfig, step: int) -> Meta:
    state = LoaderState(dataset="", settings="", seed=0)
    return Meta(
        step=step,
        model=config.model,
        optimizer="adamw",
        average=False,
        loader=state,
        trained_windows=None,
        config="",
    )


def command(setting: Setting) -> Iterator[Row]:
    """`corpus train` itself, by its log."""
    config = setting.with_clips(setting.run(layers=PART))
    config = replace(config, steps=6 if setting.quick else 20, log_every=2, save_every=1000)
    peak = peak_flops() if setting.gpu else None
    with tempfile.TemporaryDirectory() as folder:
        corpus_train(config, Path(folder) / "run", talk=lambda _: None, flops=flops_of, peak_flops=peak)
        text = (Path(folder) / "run" / "log.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()][1:]
    name = f"{config.model.layers} layers of {config.preset}, as `corpus train` logs it"
    rates = tuple(line["positions_per_s"] for line in lines)
    yield Row(section="command", what=f"positions a second, {name}", values=rates, digits=0)
    mfu = Row(section="command", what=f"MFU, {name}", unit=" %", digits=1)
    if peak is None:
        yield replace(mfu, missing=NEEDS_GPU)
    else:
        yield replace(mfu, values=tuple(100 * line["mfu"] for line in lines))
    waits = tuple(line["data_wait_ms"] for line in lines)
    yield Row(section="command", what="its wait for data in a step", values=waits, unit=" ms")


SECTIONS = {
    "train": training,
    "real": real,
    "twin": twin,
    "compile": compiling,
    "deterministic": determinism,
    "save": saving,
    "command": command,
}
