"""The GPT of "Build a Large Language Model (From Scratch)", chapter 4, with GPT-2's names.

Read it from the bottom: text comes in as token ids, each id becomes a vector, the blocks let the vectors look at
one another, and the last layer turns each vector into a score for every token that could come next.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.model.attention import attend, attend_kept, mask
from core.model.cache import Cache, Kept
from core.model.count import embedding_rows, feed_forward_widths, parameters, work
from core.model.layers import Linear, Norm, Rotary, dropped, relu2, rms
from core.model.loss import Loss, head_loss
from core.recipe.schema import Model


class SelfAttention(nn.Module):
    """Every token gathers from the others what its query finds in their keys: from those before it, or from all."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.n_head, self.n_kv_head = shape.n_head, shape.n_kv_head or shape.n_head
        self.size = shape.n_embd // shape.n_head
        self.causal, self.dropout, self.qk_norm = shape.objective == "causal", shape.dropout, shape.qk_norm
        bias = shape.bias if shape.qkv_bias is None else shape.qkv_bias
        self.c_attn = Linear(shape.n_embd, (self.n_head + 2 * self.n_kv_head) * self.size, bias=bias)
        self.c_proj = Linear(shape.n_embd, shape.n_embd, bias=shape.bias)
        self.rotary = Rotary(self.size, shape.block_size) if shape.positions == "rotary" else None

    def heads(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, n_head, T, size), keys and values (B, n_kv_head, T, size) of `x`, which begins at `start`."""
        B, T, _ = x.shape
        # (B, T, queries + keys + values) -> (B, heads, T, size)
        heads = self.c_attn(x).view(B, T, -1, self.size).transpose(1, 2)
        both, v = heads.split((self.n_head + self.n_kv_head, self.n_kv_head), dim=1)
        if self.qk_norm:
            both = rms(both)
        if self.rotary is not None:
            both = self.rotary(both, start)
        q, k = both.split((self.n_head, self.n_kv_head), dim=1)
        return q, k, v

    def forward(self, x: Tensor, kept: Kept | None = None) -> Tensor:
        """kept: keys and values of the places before, to which those of `x` are added."""
        B, T, C = x.shape
        q, k, v = self.heads(x, 0 if kept is None else kept.length)
        if kept is None:
            y = attend(q, k, v, causal=self.causal, dropout=self.dropout if self.training else 0.0)
        else:
            first = kept.length == 0
            past = kept.extend(k, v)
            y = attend(q, k, v, causal=True) if first else attend_kept(q, *past)
        return dropped(self.c_proj(y.transpose(1, 2).reshape(B, T, C)), self)


class MLP(nn.Module):
    """Every token thinks for itself: wider, bent, and back."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.activation = shape.activation
        first, second = feed_forward_widths(shape)
        self.c_fc = Linear(shape.n_embd, first, bias=shape.bias)
        self.c_proj = Linear(second, shape.n_embd, bias=shape.bias)
        self.dropout = shape.dropout

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        if self.activation == "relu2":
            x = relu2(x)
        elif self.activation == "swiglu":  # arXiv 2002.05202
            gate, x = x.chunk(2, dim=-1)
            x = F.silu(gate) * x
        else:  # the tanh form: GPT-2's weights were trained with it
            x = F.gelu(x, approximate="tanh")
        return dropped(self.c_proj(x), self)


class Block(nn.Module):
    """Attention and feed-forward, each added to what it was given."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.ln_1 = Norm(shape)
        self.attn = SelfAttention(shape)
        self.ln_2 = Norm(shape)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor, kept: Kept | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), kept)
        x = x + self.mlp(self.ln_2(x))
        return x


class GPT(nn.Module):
    """Token ids (B, T) to scores (B, T, vocabulary): for the token that follows each, or, where the objective is
    masked, for the token that stands there.

    A masked model, too, works at each place on the token that follows (DiffuLLaMA, arXiv 2410.17891, does so to begin
    with causal weights): it then has what it needs first, the token before, without having to find it by attention. At
    the hidden places themselves all begin alike, and for hundreds of steps it learned little but which tokens are
    frequent. What comes first is left to the last place, after which nothing follows.

    vocabulary: entries, the end-of-text mark included. A masked model has one more for what is hidden, `mask`.
    dtype: what the arithmetic between embedding and scores is done in; weights are float32 whatever it is.
    """

    def __init__(self, shape: Model, vocabulary: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape, self.vocabulary, self.dtype, self.dropout = shape, vocabulary, dtype, shape.dropout
        self.mask = vocabulary if shape.objective == "masked" else None
        rows = embedding_rows(shape, vocabulary)
        self.wte = nn.Embedding(rows, shape.n_embd)
        self.wpe = nn.Embedding(shape.block_size, shape.n_embd) if shape.positions == "learned" else None
        self._compiled: list[Callable[[Tensor], Tensor]] = []
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.ln_f = Norm(shape)
        self.lm_head = Linear(shape.n_embd, rows, bias=False)
        if shape.tied_head:
            self.lm_head.weight = self.wte.weight
        self._initialise()

    def _initialise(self) -> None:
        """Weights as GPT-2's: small and normal, smaller where residual branches add up over the depth.

        With zero_init those branches and an untied head start at zero instead, so that each block begins by passing
        on what it was given; the other matrices start at the scale that keeps a vector's length, and an embedding of
        its own at half a unit, so that what the blocks add is at first small beside it.
        """
        shape = self.shape
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() < 2:
                continue
            elif shape.zero_init and (name.endswith("c_proj.weight") or name == "lm_head.weight"):
                nn.init.zeros_(parameter)
            elif shape.zero_init and name.startswith("h."):
                nn.init.normal_(parameter, std=shape.n_embd**-0.5)
            elif shape.zero_init and name == "wte.weight" and not shape.tied_head:
                nn.init.normal_(parameter, std=0.5)
            else:
                branch = name.endswith("c_proj.weight")
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * shape.n_layer) if branch else 1))

    def compile_blocks(self) -> None:
        """Let torch make one program of each block, when it is first used.

        For training only, where lengths stay the same: each new one would be compiled anew. Weights keep their names.
        What torch cannot compile runs as before.
        """
        torch._dynamo.config.suppress_errors = True
        torch.compiler.assume_constant_result(mask)  # type: ignore[no-untyped-call]  # not a decorator: imports dynamo
        self._compiled = [torch.compile(block, dynamic=False) for block in self.h]

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """What the blocks make of `ids` (B, T): vectors (B, T, n_embd), normalised, ready for the last layer.

        cache: of a causal model without gradients, what it has read already; `ids` go on from there and are added.
        """
        x = self.embedded(ids, 0 if cache is None else cache.length)
        if cache is None:
            for block in self._compiled if self.training and self._compiled else self.h:
                x = block(x)
        else:
            for block, kept in zip(self.h, cache.layers, strict=True):
                x = block(x, kept)
        return self.normalised(x)

    def embedded(self, ids: Tensor, start: int = 0) -> Tensor:
        """Vectors (B, T, n_embd) of `ids` (B, T), which begin at place `start`, as the first block gets them."""
        x = self.wte(ids)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(start, start + ids.shape[1], device=ids.device))
        return dropped(x, self).to(self.dtype)

    def normalised(self, x: Tensor) -> Tensor:
        """What the blocks left, ready for the last layer; in a masked model moved to the place that it speaks of."""
        out: Tensor = self.ln_f(x)
        return out if self.mask is None else out.roll(1, dims=1)

    def scores(self, hidden: Tensor) -> Tensor:
        """The last layer: vectors (..., n_embd) of `hidden` to scores (..., vocabulary) in float32."""
        return self.lm_head(hidden)[..., : self.vocabulary].float()  # type: ignore[no-any-return]

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (B, T, vocabulary) in float32. T is at most block_size."""
        return self.scores(self.hidden(ids))

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        *,
        weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
    ) -> Loss:
        """What predicting `targets` (B, T) from `ids` (B, T) costs; see `core.model.loss.head_loss`."""
        return head_loss(
            self.hidden(ids).flatten(0, 1),
            self.lm_head.weight,
            targets.flatten(),
            vocabulary=self.vocabulary,
            weights=None if weights is None else weights.flatten(),
            label_smoothing=label_smoothing,
            z_loss=z_loss,
        )

    def parameter_count(self) -> int:
        """Numbers the model learns; a tied head counts once."""
        return parameters(self.shape, self.vocabulary).total

    def flops_per_token(self) -> int:
        """Forward and backward at full context; see `core.model.count.Work`."""
        return work(self.shape, self.vocabulary).training
