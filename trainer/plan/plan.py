"""Calculates what a training run would need: memory, parallelism, step time, days. Nothing is started.

The mesh is pipeline stages x expert ranks x the rest:

    GPUs = stages x expert ranks x copies of an expert part
    dense weights   sharded over all GPUs of a stage
    experts         1 / (stages x expert ranks) each, their optimiser's state sharded over the copies

`corpus train` itself has no pipeline stages; a plan with more than one shows what would be needed beyond it.
Every assumption is printed with the result.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from corpus.schemas.errors import UsageError
from corpus.trainer.config import ModelConfig, RunConfig
from corpus.trainer.model.model import InteractionModel
from corpus.trainer.plan.flops import GPUS, Gpu, Work, training
from corpus.trainer.plan.meshes import Mesh, meshes, refusal
from corpus.trainer.presets import preset
from corpus.trainer.train.memory import ends_bytes, trunk_bytes, working_bytes

USABLE = 0.92
"""Usable share of a GPU's memory; the context and the allocator take the rest."""
TEXT_SHARE = 0.3
"""Share of positions that predict text, in packed two-way speech."""
AUDIO_SHARE = 0.25
"""Share of positions that predict the model's own sound."""
HEARD_SHARE = 20 / 37
CONTROL_SHARE = 5 / 37
"""Share of positions that carry heard sound's end: one a window predicts cues, if cues are trained."""
POSITIONS_PER_HOUR = 37 * 3600
"""Positions of packed two-way audio; 320 * 3600 with every picture."""
MFU = 0.28
"""Published for a 235 B mixture on H100 (Megatron-Core); --mfu replaces it with a measured one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """Numbers of parameters, counted on the meta device."""

    total: int
    experts: int
    """Parameters of the routed experts."""
    active: int
    """Parameters that one position uses: top_k experts, and no table of input tokens."""

    @property
    def dense(self) -> int:
        return self.total - self.experts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Memory:
    """Bytes on one GPU of the fullest stage."""

    weights: float
    gradients: float
    optimizer: float
    """fp32 parameters and moments."""
    activations: float
    """Kept from forward to backward."""
    working: float
    """Temporary."""

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations + self.working


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    schema: str = "corpus.plan/1"
    preset: str
    gpu: str
    counts: _Counts
    mesh: Mesh
    rows: int
    length: int
    micro_batches: int
    """Micro-batches of `micro_rows` rows, per rank and step."""
    micro_rows: int
    recompute: str
    memory: _Memory
    memory_limit: float
    flops_per_position: float
    bubble: float
    """Share of time that pipeline stages wait."""
    mfu: float
    step_s: float
    steps: float
    days: float
    positions_per_s: float
    hours_per_hour: float
    """Hours of two-way audio trained on per hour."""
    exchange_s: float
    """Time to send one micro-batch's rows to the experts of one layer, one way."""
    layer_s: float
    """Time to compute that layer forward, for comparison."""
    notes: tuple[str, ...]


def count(config: ModelConfig) -> _Counts:
    """Count the parameters of a model without allocating it."""
    with torch.device("meta"):
        model = InteractionModel(config)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    routed = sum(size for name, size in sizes.items() if ".experts." in name)
    total = sum(sizes.values())
    tables = 0 if config.tied else sizes["embed.text"]
    return _Counts(
        total=total, experts=routed, active=total - tables - routed + routed * config.top_k // config.experts
    )


def plan(
    name: str,
    gpus: int,
    gpu: str,
    *,
    stages: int | None = None,
    expert_ranks: int | None = None,
    mfu: float = MFU,
    positions: float | None = None,
) -> Plan:
    """Calculate a preset's training run. Stages and expert ranks are searched for if they are not given.

    Raises:
        UsageError: no such GPU, a mesh that does not divide the model or the GPUs, or too little memory.
    """
    run = preset(name)
    if gpu.lower() not in GPUS:
        raise UsageError(f"no GPU {gpu!r}", where="--gpu", todo=f"one of {', '.join(GPUS)}")
    if not 0 < mfu <= 1:
        raise UsageError(f"an MFU of {mfu}", where="--mfu", todo="give a share, such as 0.28")
    if positions is not None and not 0 < positions < float("inf"):
        raise UsageError(f"{positions} positions", where="--positions", todo="above 0, such as 1e12")
    if gpus < 1:
        raise UsageError(f"{gpus} GPUs", where="--gpus", todo="at least 1")
    counts = count(run.model)
    fullest = None
    for mesh in meshes(run, gpus, GPUS[gpu.lower()].node, stages, expert_ranks):
        if refusal(run, mesh) is not None:
            continue
        candidate = _planned(run, gpu.lower(), counts, mesh, mfu, positions)
        if candidate.memory.total <= candidate.memory_limit:
            return candidate
        if fullest is None or candidate.memory.total < fullest.memory.total:
            fullest = candidate
    if fullest is None:
        # The named values fail even with the smallest values of the others, so report that reason.
        named = {"stages": stages, "expert_ranks": expert_ranks}
        least = Mesh(gpus=gpus, **{key: 1 if value is None else value for key, value in named.items()})
        refused = refusal(run, least)
        if refused is not None and any(value is not None for value in named.values()):
            raise UsageError(refused[0], where="mesh", todo=refused[1])
        raise UsageError(
            f"{gpus} GPUs cannot be divided for {name}: {run.model.layers} layers, {run.model.experts} "
            f"experts, {run.data.rows} rows",
            where="mesh",
            todo="take a number of GPUs that divides the rows, or name --stages and --expert-ranks",
        )
    raise UsageError(
        f"{fullest.memory.total / 1e9:.0f} GB a GPU needed, {fullest.memory_limit / 1e9:.0f} usable "
        f"({fullest.mesh})",
        where="memory",
        todo="take more GPUs, or larger ones",
    )


def _planned(
    run: RunConfig, gpu_name: str, counts: _Counts, mesh: Mesh, mfu: float, positions: float | None
) -> Plan:
    gpu, model = GPUS[gpu_name], run.model
    length, rows = run.data.length, run.data.rows
    micro_rows = _micro_rows(run, mesh)
    micro = rows // mesh.data_ranks // micro_rows
    per_position = training(model, _typical(model, length)).needed / length
    bubble = (mesh.stages - 1) / (micro + mesh.stages - 1)
    rate = mesh.gpus * gpu.bf16_flops * mfu * (1 - bubble) / per_position
    step = rows * length / rate
    steps = run.steps if positions is None else positions / (rows * length)
    link = gpu.node_bytes_per_s if mesh.expert_ranks <= gpu.node else gpu.network_bytes_per_s
    leaves = 1 - 1 / mesh.expert_ranks
    exchange = length * model.top_k * model.width * 2 * leaves / link
    return Plan(
        preset=run.preset,
        gpu=gpu_name,
        counts=counts,
        mesh=mesh,
        rows=rows,
        length=length,
        micro_batches=micro,
        micro_rows=micro_rows,
        recompute=run.recompute,
        memory=_memory(run, counts, mesh),
        memory_limit=gpu.memory_bytes * USABLE,
        flops_per_position=per_position,
        bubble=bubble,
        mfu=mfu,
        step_s=step,
        steps=steps,
        days=step * steps / 86_400,
        positions_per_s=rate,
        hours_per_hour=rate * 3600 / POSITIONS_PER_HOUR,
        exchange_s=exchange,
        layer_s=per_position * length / 3 / model.layers / (gpu.bf16_flops * mfu),
        notes=_notes(mesh, gpu),
    )


def _typical(model: ModelConfig, length: int) -> Work:
    """The work of a full row that is one document."""
    seen = length * (length + 1) / 2
    if model.attention_window_turns is not None:
        widest = model.attention_window_turns * (model.audio_positions * 2 + 2)
        seen = min(seen, float(length) * widest)
    return Work(
        positions=length,
        pairs=seen,
        text_targets=TEXT_SHARE * length,
        audio_targets=AUDIO_SHARE * length,
        heard_targets=HEARD_SHARE * length * model.user_audio,
        cue_positions=CONTROL_SHARE * length * model.cues,
        sounds=0,
        patches=0,
    )


def _memory(run: RunConfig, counts: _Counts, mesh: Mesh) -> _Memory:
    model = run.model
    # There is a table of tokens at each end; no stage holds more than one of them and its layers.
    tables = model.vocab * model.width
    layers = counts.dense - tables * (1 if model.tied else 2)
    dense = layers / mesh.stages + tables * (1 if mesh.stages > 1 or model.tied else 2)
    experts = counts.experts / mesh.stages / mesh.expert_ranks
    moments = 2 if run.optim.optimizer == "adamw" else 1
    state = 4 * (1 + moments)
    positions = _micro_rows(run, mesh) * run.data.length
    shared = dataclasses.replace(run, expert_parallel=mesh.expert_ranks)
    return _Memory(
        weights=2 * experts + 2 * dense,
        gradients=2 * experts + 4 * dense / mesh.data_ranks,
        optimizer=state * (experts / mesh.copies + dense / mesh.data_ranks),
        # The first stage has its share of the layers and as many micro-batches in flight as there are stages.
        activations=positions * (trunk_bytes(shared) + ends_bytes(shared)),
        working=working_bytes(shared, positions, mesh.gpus),
    )


def _micro_rows(run: RunConfig, mesh: Mesh) -> int:
    """Rows of a micro-batch: as the preset accumulates, or one if there is a pipeline to fill."""
    return 1 if mesh.stages > 1 else max(1, run.data.rows // mesh.data_ranks // run.accumulate)


def _notes(mesh: Mesh, gpu: Gpu) -> tuple[str, ...]:
    notes = [
        f"MFU is assumed, not measured; {TEXT_SHARE:.0%} of positions predict text, {AUDIO_SHARE:.0%} sound",
        "expert gradients and activations in bf16",
    ]
    if mesh.stages > 1:
        notes.append("pipeline stages are calculated only: corpus train runs without them")
    if mesh.expert_ranks > gpu.node:
        notes.append(
            f"experts are spread over more than a node of {gpu.node}: the exchange crosses the network"
        )
    return tuple(notes)
