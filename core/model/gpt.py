"""The GPT of "Build a Large Language Model (From Scratch)", chapter 4, with GPT-2's names.

Read it from the bottom: text comes in as token ids, each id becomes a vector, the blocks let the vectors look at
those before them, and the last layer turns each vector into a score for every token that could come next.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.recipe import Model


class Linear(nn.Linear):
    """A linear layer that computes in the type of its input while its weights stay in float32.

    Rounding a weight at each use costs little beside the product itself, and unlike autocast it keeps what flows
    between the layers in the short type too: a third faster on two cores (shape 6/6/384, batch 16 x 256).
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class LayerNorm(nn.Module):
    """Layer normalisation with an optional bias."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), bias, 1e-5)


class CausalSelfAttention(nn.Module):
    """Every token gathers from those before it what its query finds in their keys."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.n_head, self.dropout = shape.n_head, shape.dropout
        self.c_attn = Linear(shape.n_embd, 3 * shape.n_embd, bias=shape.bias)
        self.c_proj = Linear(shape.n_embd, shape.n_embd, bias=shape.bias)
        self.resid_dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        # (B, T, 3C) -> three of (B, n_head, T, C / n_head)
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        y = y.transpose(1, 2).reshape(B, T, C)
        out: Tensor = self.resid_dropout(self.c_proj(y))
        return out


class MLP(nn.Module):
    """Every token thinks for itself: four times wider, bent by GELU, and back."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.c_fc = Linear(shape.n_embd, 4 * shape.n_embd, bias=shape.bias)
        self.c_proj = Linear(4 * shape.n_embd, shape.n_embd, bias=shape.bias)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        # GPT-2's weights were trained with the tanh form
        out: Tensor = self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each added to what it was given."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(shape.n_embd, shape.bias)
        self.attn = CausalSelfAttention(shape)
        self.ln_2 = LayerNorm(shape.n_embd, shape.bias)
        self.mlp = MLP(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        x = x + self.mlp(self.ln_2(x))
        return x


class GPT(nn.Module):
    """Token ids (B, T) to scores (B, T, vocabulary) for the token that follows each.

    dtype: what the arithmetic between embedding and scores is done in; weights are float32 whatever it is.
    """

    def __init__(self, shape: Model, vocabulary: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shape, self.vocabulary, self.dtype = shape, vocabulary, dtype
        self.wte = nn.Embedding(vocabulary, shape.n_embd)
        self.wpe = nn.Embedding(shape.block_size, shape.n_embd)
        self.drop = nn.Dropout(shape.dropout)
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.ln_f = LayerNorm(shape.n_embd, shape.bias)
        self.lm_head = Linear(shape.n_embd, vocabulary, bias=False)
        if shape.tied_head:
            self.lm_head.weight = self.wte.weight
        self._initialise()

    def _initialise(self) -> None:
        """Weights as GPT-2's: small and normal, smaller where residual branches add up over the depth."""
        for name, parameter in self.named_parameters():
            if name.endswith("c_proj.weight"):
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.shape.n_layer))
            elif parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    def hidden(self, ids: Tensor) -> Tensor:
        """What the blocks make of `ids` (B, T): vectors (B, T, n_embd), normalised, ready for the last layer."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.drop(self.wte(ids) + self.wpe(positions)).to(self.dtype)
        for block in self.h:
            x = block(x)
        out: Tensor = self.ln_f(x)
        return out

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (B, T, vocabulary) in float32. T is at most block_size."""
        return self.lm_head(self.hidden(ids)).float()  # type: ignore[no-any-return]

    def loss(self, ids: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of `targets` (B, T) given `ids` (B, T); "sum" and "none" as in torch."""
        return F.cross_entropy(self(ids).view(-1, self.vocabulary), targets.reshape(-1), reduction=reduction)

    def parameter_count(self) -> int:
        """Numbers the model learns; a tied head counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self) -> int:
        """Forward and backward at full context: 6 per matrix parameter, 12·layers·width·context (PaLM, appendix B)."""
        shape = self.shape
        matrices = 12 * shape.n_layer * shape.n_embd**2 + self.vocabulary * shape.n_embd
        return 6 * matrices + 12 * shape.n_layer * shape.n_embd * shape.block_size
