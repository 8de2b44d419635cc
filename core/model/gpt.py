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


class Norm(nn.Module):
    """Brings every vector to one scale: LayerNorm as in GPT-2, or RMSNorm (Zhang & Sennrich 2019), which does not
    centre and has no bias."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.layer = shape.norm == "layer"
        self.weight = nn.Parameter(torch.ones(shape.n_embd))
        self.bias = nn.Parameter(torch.zeros(shape.n_embd)) if shape.bias and self.layer else None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype)
        if not self.layer:
            return F.rms_norm(x, weight.shape, weight)
        return F.layer_norm(x, weight.shape, weight, None if self.bias is None else self.bias.to(x.dtype), 1e-5)


class Rotary(nn.Module):
    """Turns pairs of numbers by an angle that grows with the place (Su et al. 2021, arXiv 2104.09864).

    What queries and keys make of each other then depends on their distance alone.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, size: int, length: int, base: float = 10_000.0) -> None:
        super().__init__()
        # on the CPU even where a model is laid out without memory: these tables are in no file
        places, pairs = (torch.arange(0, end, step, device="cpu").float() for end, step in ((length, 1), (size, 2)))
        angles = torch.outer(places, base ** -(pairs / size))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, n_head, T, size), turned by the places 0 to T - 1."""
        cos, sin = (table[: x.shape[2]].to(x.dtype) for table in (self.cos, self.sin))
        left, right = x.chunk(2, dim=-1)
        return torch.cat([left * cos - right * sin, left * sin + right * cos], dim=-1)


class CausalSelfAttention(nn.Module):
    """Every token gathers from those before it what its query finds in their keys."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.n_head, self.dropout, self.qk_norm = shape.n_head, shape.dropout, shape.qk_norm
        self.c_attn = Linear(shape.n_embd, 3 * shape.n_embd, bias=shape.bias)
        self.c_proj = Linear(shape.n_embd, shape.n_embd, bias=shape.bias)
        self.resid_dropout = nn.Dropout(shape.dropout)
        rotary = shape.positions == "rotary"
        self.rotary = Rotary(shape.n_embd // shape.n_head, shape.block_size) if rotary else None

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        # (B, T, 3C) -> three of (B, n_head, T, C / n_head)
        q, k, v = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head).permute(2, 0, 3, 1, 4).unbind(0)
        if self.qk_norm:
            q, k = F.rms_norm(q, q.shape[-1:]), F.rms_norm(k, k.shape[-1:])
        if self.rotary is not None:
            q, k = self.rotary(q), self.rotary(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=self.dropout if self.training else 0.0)
        y = y.transpose(1, 2).reshape(B, T, C)
        out: Tensor = self.resid_dropout(self.c_proj(y))
        return out


class MLP(nn.Module):
    """Every token thinks for itself: four times wider, bent, and back."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.relu2 = shape.activation == "relu2"
        self.c_fc = Linear(shape.n_embd, 4 * shape.n_embd, bias=shape.bias)
        self.c_proj = Linear(4 * shape.n_embd, shape.n_embd, bias=shape.bias)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        # ReLU² is Primer's (arXiv 2109.08668); GPT-2's weights were trained with the tanh form of GELU
        x = F.relu(x).square() if self.relu2 else F.gelu(x, approximate="tanh")
        out: Tensor = self.dropout(self.c_proj(x))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each added to what it was given."""

    def __init__(self, shape: Model) -> None:
        super().__init__()
        self.ln_1 = Norm(shape)
        self.attn = CausalSelfAttention(shape)
        self.ln_2 = Norm(shape)
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
        self.wpe = nn.Embedding(shape.block_size, shape.n_embd) if shape.positions == "learned" else None
        self.drop = nn.Dropout(shape.dropout)
        self.h = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.ln_f = Norm(shape)
        self.lm_head = Linear(shape.n_embd, vocabulary, bias=False)
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

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    def hidden(self, ids: Tensor) -> Tensor:
        """What the blocks make of `ids` (B, T): vectors (B, T, n_embd), normalised, ready for the last layer."""
        x = self.wte(ids)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        x = self.drop(x).to(self.dtype)
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
