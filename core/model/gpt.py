"""A decoder-only Transformer with GPT-2's module names, as in "Build a Large Language Model (From Scratch)", chapter 4.

Token ids (B, T) are embedded (B, T, n_embd), pass through `n_layer` pre-norm blocks of self-attention and MLP, and a
final norm and linear head turn each vector into logits (B, T, vocab_size). B: sequences, T: tokens of each,
C: n_embd. The form follows GPT-2 or, by the recipe's [model] section, its successors: rotary positions, RMSNorm,
QK-norm, grouped-query attention, ReLU² or SwiGLU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from core.model.attention import attend, attend_cached, causal_mask
from core.model.count import embedding_rows, flops_per_token, mlp_widths, parameters
from core.model.kv_cache import KeyValues, KVCache
from core.model.layers import ACTIVATIONS, Linear, Norm, RotaryEmbedding, dropout, rms_norm
from core.model.loss import Loss, head_loss
from core.recipe.schema import Model


class SelfAttention(nn.Module):
    """Multi-head self-attention (arXiv 1706.03762), causal or bidirectional by the objective.

    With n_kv_head < n_head, groups of query heads share keys and values (grouped-query attention, arXiv 2305.13245).
    """

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.n_head, self.n_kv_head = config.n_head, config.n_kv_head or config.n_head
        self.head_size = config.n_embd // config.n_head
        self.causal, self.dropout, self.qk_norm = config.objective == "causal", config.dropout, config.qk_norm
        bias = config.bias if config.qkv_bias is None else config.qkv_bias
        # queries, keys and values of all heads in one product
        self.c_attn = Linear(config.n_embd, (self.n_head + 2 * self.n_kv_head) * self.head_size, bias=bias)
        self.c_proj = Linear(config.n_embd, config.n_embd, bias=config.bias)
        rotary = config.positions == "rotary"
        self.rotary = RotaryEmbedding(self.head_size, config.block_size) if rotary else None

    def qkv(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Project `x` (B, T, C), whose first token is at position `start`.

        Returns queries (B, n_head, T, head_size), keys and values (B, n_kv_head, T, head_size).
        """
        B, T, _ = x.shape
        heads = self.c_attn(x).view(B, T, -1, self.head_size).transpose(1, 2)  # (B, q + k + v heads, T, head_size)
        qk, v = heads.split((self.n_head + self.n_kv_head, self.n_kv_head), dim=1)
        if self.qk_norm:
            qk = rms_norm(qk)
        if self.rotary is not None:
            qk = self.rotary(qk, start)
        q, k = qk.split((self.n_head, self.n_kv_head), dim=1)
        return q, k, v

    def forward(self, x: Tensor, cache: KeyValues | None = None) -> Tensor:
        """(B, T, C) to (B, T, C). cache: keys and values of the positions before `x`; those of `x` are appended."""
        B, T, C = x.shape
        q, k, v = self.qkv(x, 0 if cache is None else cache.length)
        if cache is None:
            y = attend(q, k, v, causal=self.causal, dropout=self.dropout if self.training else 0.0)
        else:
            empty = cache.length == 0
            k_all, v_all = cache.update(k, v)
            y = attend(q, k, v, causal=True) if empty else attend_cached(q, k_all, v_all)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, n_head, T, head_size) -> (B, T, C)
        return dropout(self.c_proj(y), self.dropout, self.training)


class MLP(nn.Module):
    """Position-wise MLP: expand, activate, project back."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        if config.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {config.activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        self.activation = ACTIVATIONS[config.activation]
        expanded, activated = mlp_widths(config)
        self.c_fc = Linear(config.n_embd, expanded, bias=config.bias)
        self.c_proj = Linear(activated, config.n_embd, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        return dropout(self.c_proj(self.activation(self.c_fc(x))), self.dropout, self.training)


class Block(nn.Module):
    """Pre-norm Transformer block: attention and MLP, each with a residual connection."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.ln_1 = Norm(config)
        self.attn = SelfAttention(config)
        self.ln_2 = Norm(config)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cache: KeyValues | None = None) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        x = x + self.attn(self.ln_1(x), cache)
        x = x + self.mlp(self.ln_2(x))
        return x


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, vocab_size).

    Causal models predict the token after each position, masked models the token at each position.

    A masked model computes the logits of position t from the hidden state of position t - 1, as DiffuLLaMA does (arXiv
    2410.17891) to start from causal weights: the hidden state then begins with the token before, which attention need
    not find. Computed at the masked positions, where all inputs are the same embedding, training learned little but
    token frequencies for hundreds of steps. Position 0 is computed from the last position, which predicts nothing else.

    vocab_size: entries of the vocabulary, the end-of-text token included. A masked model has one more, its mask token.
    dtype: type of the activations and matrix products; parameters stay float32.
    """

    def __init__(self, config: Model, vocab_size: int, *, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.vocab_size, self.dtype = config, vocab_size, dtype
        self.mask_token_id = vocab_size if config.objective == "masked" else None
        rows = embedding_rows(config, vocab_size)
        self.wte = nn.Embedding(rows, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd) if config.positions == "learned" else None
        self._compiled: list[Callable[[Tensor], Tensor]] = []
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = Norm(config)
        self.lm_head = Linear(config.n_embd, rows, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.wte.weight
        self._init_weights()

    def _init_weights(self) -> None:
        """GPT-2's initialisation: normal with std 0.02, residual projections divided by sqrt(2 · n_layer).

        With zero_init, residual projections and an untied head start at zero, so that each block starts as the
        identity; other matrices have std n_embd^-0.5, which keeps the norm of a vector, and an untied embedding has
        std 0.5, so that what the blocks add is small beside it at first.
        """
        config = self.config
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() < 2:
                continue
            elif config.zero_init and (name.endswith("c_proj.weight") or name == "lm_head.weight"):
                nn.init.zeros_(parameter)
            elif config.zero_init and name.startswith("h."):
                nn.init.normal_(parameter, std=config.n_embd**-0.5)
            elif config.zero_init and name == "wte.weight" and not config.tie_embeddings:
                nn.init.normal_(parameter, std=0.5)
            else:
                residual = name.endswith("c_proj.weight")
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * config.n_layer) if residual else 1))

    def compile_blocks(self) -> None:
        """Compile each block with torch.compile at its first use in training; parameter names do not change.

        Only training uses the compiled blocks, since each new sequence length would be compiled again. What cannot be
        compiled runs eagerly.
        """
        torch._dynamo.config.suppress_errors = True
        # not a decorator: it imports dynamo
        torch.compiler.assume_constant_result(causal_mask)  # type: ignore[no-untyped-call]
        self._compiled = [torch.compile(block, dynamic=False) for block in self.h]

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    def embed(self, ids: Tensor, start: int = 0) -> Tensor:
        """Input of the first block (B, T, C) for `ids` (B, T), whose first token is at position `start`."""
        x = self.wte(ids)
        if self.wpe is not None:
            x = x + self.wpe(torch.arange(start, start + ids.shape[1], device=ids.device))
        return dropout(x, self.config.dropout, self.training).to(self.dtype)

    def hidden_states(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Input of the head (B, T, C) for `ids` (B, T).

        cache: of a causal model in inference mode; `ids` follow the cached positions and are appended to it.
        """
        x = self.embed(ids, 0 if cache is None else cache.length)
        if cache is None:
            for block in self._compiled if self.training and self._compiled else self.h:
                x = block(x)
        else:
            for block, layer in zip(self.h, cache.layers, strict=True):
                x = block(x, layer)
        return self.final_norm(x)

    def final_norm(self, x: Tensor) -> Tensor:
        """Output of the last block (B, T, C) to input of the head; in a masked model shifted by one position."""
        out: Tensor = self.ln_f(x)
        return out if self.mask_token_id is None else out.roll(1, dims=1)

    def logits(self, hidden_states: Tensor) -> Tensor:
        """The head: (..., C) to float32 logits (..., vocab_size); padding rows and the mask token are left out."""
        return self.lm_head(hidden_states)[..., : self.vocab_size].float()  # type: ignore[no-any-return]

    def forward(self, ids: Tensor) -> Tensor:
        """Float32 logits (B, T, vocab_size) of `ids` (B, T), T ≤ block_size."""
        return self.logits(self.hidden_states(ids))

    def loss(
        self,
        ids: Tensor,
        targets: Tensor,
        *,
        weights: Tensor | None = None,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
    ) -> Loss:
        """Cross-entropy of predicting `targets` (B, T) from `ids` (B, T), summed; see `core.model.loss.head_loss`.

        weights: (B, T), of each position's loss; None: 1.
        """
        return head_loss(
            self.hidden_states(ids).flatten(0, 1),  # (B, T, C) -> (B * T, C)
            self.lm_head.weight,
            targets.flatten(),
            vocab_size=self.vocab_size,
            weights=None if weights is None else weights.flatten(),
            label_smoothing=label_smoothing,
            z_loss=z_loss,
        )

    def parameter_count(self) -> int:
        """Trainable parameters; a tied head counts once."""
        return parameters(self.config, self.vocab_size).total

    def flops_per_token(self) -> int:
        """FLOPs of forward and backward pass at full context; see `core.model.count.TokenFlops`."""
        return flops_per_token(self.config, self.vocab_size).training
