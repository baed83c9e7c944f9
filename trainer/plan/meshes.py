"""The meshes of GPUs that a plan may try: pipeline stages x expert ranks x the rest."""

from __future__ import annotations

from dataclasses import dataclass

from corpus.trainer.config import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    gpus: int
    stages: int
    expert_ranks: int

    @property
    def data_ranks(self) -> int:
        """GPUs of a stage; each gets its own rows."""
        return self.gpus // self.stages

    @property
    def copies(self) -> int:
        return self.data_ranks // self.expert_ranks

    def __str__(self) -> str:
        return f"{self.stages} stages x {self.expert_ranks} expert ranks x {self.copies} copies"


def meshes(run: RunConfig, gpus: int, node: int, stages: int | None, expert_ranks: int | None) -> list[Mesh]:
    """Meshes to try: fewest stages first, then experts spread widest within a node of `node` GPUs."""
    stage_choices = [stages] if stages is not None else [s for s in range(1, gpus + 1) if gpus % s == 0]
    rank_choices = [expert_ranks] if expert_ranks is not None else range(min(node, gpus), 0, -1)
    return [
        Mesh(gpus=gpus, stages=s, expert_ranks=e)
        for s in stage_choices
        for e in rank_choices
        if s <= run.model.layers or stages is not None
    ]


def refusal(run: RunConfig, mesh: Mesh) -> tuple[str, str] | None:
    """Why a mesh is impossible, and what to do about it; None if it is possible."""
    model = run.model
    if min(mesh.stages, mesh.expert_ranks) < 1 or mesh.gpus % (mesh.stages * mesh.expert_ranks):
        what = f"{mesh.stages} stages times {mesh.expert_ranks} expert ranks do not divide {mesh.gpus} GPUs"
        return what, "take divisors"
    if model.layers % mesh.stages:
        return f"{mesh.stages} stages do not divide {model.layers} layers", "take a divisor of the layers"
    if model.experts % mesh.expert_ranks:
        what = f"{mesh.expert_ranks} expert ranks do not divide {model.experts} experts"
        return what, "take a divisor of the experts"
    if run.data.rows % mesh.data_ranks:
        what = f"{run.data.rows} rows do not divide among {mesh.data_ranks} data ranks"
        return what, "take more stages, or another number of GPUs"
    return None
