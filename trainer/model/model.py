"""The interaction model: all that is heard, seen, read and said is one sequence; it predicts text and sound.

# B batch rows, L positions, T positions with a target, D width, V vocabulary, E experts

    tokens, mel bytes, patches -> Embed -> blocks (attention, experts) -> norm -> hidden_BLD
    hidden where text follows  -> text head  -> cross entropy          (cross_entropy.py)
    hidden where sound follows -> audio head -> dmel, flow or depth    (heads.py)
    hidden before heard sound  -> its own dmel head, in training only and if `loss.user_audio` is set

Training runs over packed rows. A session runs its next positions through the same layers (incremental.py);
the two agree to rounding (tests/trainer/session/test_stream.py). compile.py compiles the blocks for GPUs, and
prepare.py shards the model over ranks.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import nn

from corpus.schemas.errors import SettingsError
from corpus.trainer.config import LossConfig, ModelConfig, Recompute
from corpus.trainer.data.control import Weighting
from corpus.trainer.data.noise import NoiseKey
from corpus.trainer.data.sequence import Batch
from corpus.trainer.data.text import BYTES
from corpus.trainer.model.attention import Attention, KeyStore
from corpus.trainer.model.attention_mask import BatchMask, Sight
from corpus.trainer.model.batch_stats import spoken, text_sums
from corpus.trainer.model.cross_entropy import cross_entropy_sum
from corpus.trainer.model.embed import Embed, masked_sound
from corpus.trainer.model.heads import DmelHead
from corpus.trainer.model.initial_values import fill
from corpus.trainer.model.layers import Norm, linear, parameter, wide
from corpus.trainer.model.loss_sums import Denominators, LossSums, heard_targets, real_targets
from corpus.trainer.model.moe import Dense, MixtureOfExperts
from corpus.trainer.model.rope import places
from corpus.trainer.model.router import Router, RouterStats

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

    from corpus.trainer.model.cue_head import CueHead
    from corpus.trainer.model.depth_head import DepthHead
    from corpus.trainer.model.flow_head import FlowHead


class Block(nn.Module):
    """One layer. Attention and feed-forward are separate modules, so that they can be sharded separately.

    A session's step (with a store, without `spoken_BL`) keeps no statistics of the router.
    """

    def __init__(self, config: ModelConfig, *, dense: bool) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed = Dense(config) if dense else MixtureOfExperts(config)

    def forward(
        self,
        x_BLD: torch.Tensor,
        place_3BL: torch.Tensor,
        mask: torch.Tensor | BlockMask,
        valid_BL: torch.Tensor,
        store: KeyStore | None = None,
        spoken_BL: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, RouterStats | None]:
        x_BLD = x_BLD + self.attention(x_BLD, place_3BL, mask, store)
        added, stats = self.feed(x_BLD, valid_BL, spoken_BL)
        return x_BLD + added, stats


class InteractionModel(nn.Module):
    """A model ready to use, with initial values from `seed`; without values on the meta device."""

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.compute: torch.dtype | None = None
        """Type of activations, if parameters are wider (fp32 masters, bf16 compute)."""
        self.recompute: Recompute = "none"
        self.tokenizer = BYTES
        """The tokenizer of its text, set where a trained model is loaded."""
        self.weighting = Weighting()
        """How the loss weights shifted the odds; set where a trained model is loaded, before a session."""
        self.embed = Embed(config)
        self.blocks = nn.ModuleList(
            [Block(config, dense=layer < config.dense_layers) for layer in range(config.layers)]
        )
        self.norm = Norm(config.width, config.norm_eps)
        self.text_head = None if config.tied else parameter(config.vocab, config.width)
        self.audio_head = audio_head(config)
        self.user_audio_head = DmelHead(config) if config.user_audio else None
        self.cue_head = _cue_head(config)
        mixtures = config.layers - config.dense_layers
        self.register_buffer(
            "load_NE", torch.zeros(mixtures, config.experts, dtype=torch.int64), persistent=False
        )
        self.sight = Sight.of(config)
        self._mask = BatchMask(self.sight)
        if not self.embed.stream.is_meta:
            self.initialise(seed)

    load_NE: torch.Tensor
    """Tokens that each expert received in training since the last `update_router_bias`."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of activations."""
        return self.compute or self.embed.stream.dtype

    @classmethod
    def unset(cls, config: ModelConfig, device: torch.device | str = "meta") -> InteractionModel:
        """A model with uninitialised parameters, to be filled with values from elsewhere."""
        with torch.device("meta"):
            model = cls(config)
        return model if torch.device(device).type == "meta" else model.to_empty(device=device)

    def keep_to(self, windows: int) -> None:
        """Attend to no more windows than training showed at once; the model does not know greater distances.

        Call before a session is opened.
        """
        own = self.sight.window_turns
        self.see(dataclasses.replace(self.sight, window_turns=windows if own is None else min(own, windows)))

    def see(self, sight: Sight) -> None:
        """Set how far back to attend, regardless of training."""
        self.sight = sight
        self._mask = BatchMask(sight)

    def initialise(self, seed: int) -> None:
        """Set every parameter (or this rank's part of it) to values that depend only on the seed."""
        for name, parameter_ in self.named_parameters():
            fill(parameter_, seed=seed, name=name, config=self.config)

    def to_empty(self, *, device: torch.device | str | int | None, recurse: bool = True) -> InteractionModel:
        """Allocate parameters without setting them; buffers are reset.

        Raises: SettingsError if there is no memory for them.
        """
        try:
            super().to_empty(device=device, recurse=recurse)
        except RuntimeError as error:
            if "allocate memory" not in str(error):
                raise
            count = sum(parameter_.numel() for parameter_ in self.parameters())
            what = f"no memory for a model of {count:,} parameters"
            raise SettingsError(what, where="model", todo="take a smaller one, or more processes") from error
        # `to_empty` leaves buffers uninitialised; these count from zero.
        for module in self.modules():
            if isinstance(module, Router):
                module.bias_E.zero_()
        self.load_NE.zero_()
        return self

    def hidden(self, batch: Batch) -> torch.Tensor:
        """(B, L, D), normed: the input of both heads."""
        return self._trunk(batch)[0]

    def _trunk(
        self, batch: Batch, masked_A: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[RouterStats]]:
        x_BLD = self.embed(
            batch.token_BL,
            batch.stream_BL,
            (batch.audio_at_A, batch.audio_ARM),
            (batch.patch_at_P, batch.patch_PHWC),
            self.dtype,
            masked_A,
        )
        coordinates = (batch.time_BL, batch.row_BL, batch.column_BL)
        place_3BL = places(self.config.rope, *coordinates, batch.stream_BL)
        mask = self._mask(batch, self.dtype)
        # Padding is not routed; windows in which the model speaks have router statistics of their own.
        valid_BL, spoken_BL = batch.segment_BL >= 0, spoken(batch)
        stats = []
        for block in self.blocks:
            x_BLD, stat = block(x_BLD, place_3BL, mask, valid_BL, None, spoken_BL)
            if stat is not None:
                stats.append(stat)
        # Not in a recomputed or evaluated pass, which would count tokens twice or never clear them.
        if stats and self.training and torch.is_grad_enabled():
            self.load_NE += torch.stack([stat.count_E for stat in stats])
        return self.norm(x_BLD), stats

    def forward(
        self,
        batch: Batch,
        weights: LossConfig,
        key: NoiseKey | None = None,
        row_B: torch.Tensor | None = None,
    ) -> LossSums:
        """Loss sums of a micro-batch. All noise follows from `key` and the rows' global numbers."""
        key = key or NoiseKey()
        # On one rank with one micro-batch the rows' numbers here are those of the whole batch.
        row_B = torch.arange(batch.shape[0], device=batch.token_BL.device) if row_B is None else row_B
        share = self.config.sound_masked if self.training else 0.0
        hidden_BLD, stats = self._trunk(batch, masked_sound(batch, share, key, row_B) if share else None)
        hidden_ND = hidden_BLD.flatten(0, 1)
        count = Denominators.of(batch)
        audio = self.audio_losses(hidden_ND, batch, key, row_B)
        real = real_targets(batch)
        # Fill after weighting: padding may hold NaN, and NaN times 0 is NaN.
        audio_sum = (audio * batch.audio_weight_T.to(audio.dtype)).masked_fill(~real, 0).sum()
        zero = wide(hidden_ND).new_zeros(())
        balance = torch.stack([stat.balance for stat in stats]).mean() if stats else zero
        router_z = torch.stack([stat.router_z for stat in stats]).mean() if stats else zero
        text_sum, nats_N = self._text_losses(hidden_ND, batch)
        listens = self.user_audio_head is not None
        return LossSums(
            text_sum=text_sum,
            text_weight=count.text_weight,
            audio_sum=audio_sum,
            audio_weight=count.audio_weight,
            user_audio_sum=self.user_audio_losses(hidden_ND, batch)[1].sum() if listens else zero,
            user_audio_weight=count.user_audio_weight,
            cues_sum=self._cue_sum(hidden_ND, batch, weights),
            cues_weight=count.cues_weight,
            balance=balance,
            router_z=router_z,
            positions=count.positions,
            load_NE=torch.stack([stat.count_E for stat in stats]) if stats else self.load_NE,
            spoken_NE=torch.stack([stat.spoken_E for stat in stats]) if stats else self.load_NE,
            margin_N=torch.stack([stat.margin for stat in stats]) if stats else zero.new_zeros(0),
            text_S=text_sums(batch, batch.text_at_S, nats_N),
            nats_N=nats_N.detach(),
            weights=weights,
        )

    def _text_losses(self, hidden_ND: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Only positions that predict text are multiplied with the vocabulary."""
        at = batch.text_at_S
        target_N, weight_N = (sheet.reshape(-1)[at] for sheet in (batch.text_target_BL, batch.text_weight_BL))
        return cross_entropy_sum(hidden_ND[at], self.text_table, target_N, weight_N)

    def _cue_sum(self, hidden_ND: torch.Tensor, batch: Batch, weights: LossConfig) -> torch.Tensor:
        if self.cue_head is None:
            return wide(hidden_ND).new_zeros(())
        return self.cue_head.weighted_sum(hidden_ND, batch, weights)

    def audio_losses(
        self, hidden_ND: torch.Tensor, batch: Batch, key: NoiseKey, row_B: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(T,): the audio head's loss at every target, padding included."""
        rows, length = batch.shape
        at_T = batch.audio_target_at_T.long()
        row_B = torch.arange(rows, device=at_T.device) if row_B is None else row_B.to(at_T.device)
        # Spread padding over positions: gradients into a single one would be added one after the other.
        apart_T = torch.arange(len(at_T), device=at_T.device) % (rows * length)
        inside_T = torch.where(at_T < rows * length, at_T, apart_T)
        # The target's place in the global batch: noise must not depend on ranks or micro-batches.
        position_T = row_B.long()[inside_T // length] * length + inside_T % length
        return self.audio_head.losses(hidden_ND[inside_T], batch.audio_target_TRM, key, position_T)

    def user_audio_losses(self, hidden_ND: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Which heard sound is predicted from the position before it, and the nats per bin of each.

        A linear head of its own predicts it: a flow would be wasted on sound that is never played.
        """
        assert self.user_audio_head is not None
        chosen_T = heard_targets(batch).nonzero()[:, 0]
        before_T = batch.audio_at_A[chosen_T].long() - 1
        target_TRM = batch.audio_ARM[chosen_T]
        return chosen_T, self.user_audio_head.losses(hidden_ND[before_T], target_TRM, NoiseKey(), before_T)

    @property
    def text_table(self) -> torch.Tensor:
        return self.embed.text if self.text_head is None else self.text_head

    def text_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., V) in fp32 or wider, for sampling and small batches; training never holds all of them."""
        return wide(linear(hidden, self.text_table))

    @torch.no_grad()
    def update_router_bias(self) -> None:
        """Make experts with less than their share a little more likely; called once an optimiser step.

        `load_NE` must have been summed over all ranks.
        """
        routers = [module for module in self.modules() if isinstance(module, Router)]
        for router, load_E in zip(routers, self.load_NE, strict=True):
            # Only the sign counts: one unbalanced batch cannot swing the routing. Centred, so no drift.
            short = torch.sign(load_E.float().mean() - load_E.float())
            router.bias_E += self.config.balance_rate * (short - short.mean())
        self.load_NE.zero_()


def _cue_head(config: ModelConfig) -> CueHead | None:
    """The head for cues, imported only if the model has it."""
    if not config.cues:
        return None
    from corpus.trainer.model.cue_head import CueHead

    return CueHead(config)


def blocks_of(model: InteractionModel) -> list[Block]:
    """The layers, typed."""
    return [block for block in model.blocks if isinstance(block, Block)]


def audio_head(config: ModelConfig) -> DmelHead | FlowHead | DepthHead:
    """The head that the settings name; the others are not imported."""
    match config.audio_head:
        case "dmel":
            return DmelHead(config)
        case "flow":
            from corpus.trainer.model.flow_head import FlowHead

            return FlowHead(config)
        case "depth":
            from corpus.trainer.model.depth_head import DepthHead

            return DepthHead(config)
