"""The tensors of an exported model under the names of `transformers`, and which of ours each is made of. No torch.

One table serves both directions: exporting takes pieces of our tensors, importing puts them together again.
"""

from __future__ import annotations

from typing import NamedTuple

from core.export.architectures import Architecture
from core.model.count import attention_widths, mlp_widths, tensor_shapes
from core.recipe.schema import Model


class TensorMapping(NamedTuple):
    """A tensor of an exported model."""

    name: str
    """In `transformers`, as in `model.layers.0.self_attn.q_proj.weight`."""
    size: tuple[int, ...]
    """Of the exported tensor."""
    source: str = ""
    """Our tensor that it is taken from; empty for a constant."""
    rows: tuple[int, int] | None = None
    """First row of `source` and the one after the last; None: all."""
    transposed: bool = False
    """Whether the exported matrix is (in, out), as in GPT-2's Conv1D, where ours is (out, in)."""
    scale: float = 1.0
    """Factor of every element, a power of two."""
    constant: float = 0.0
    """Every element, where there is no source: 0 for a bias, 1 for a norm that our model computes without weights."""


_GPT2_MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
_NORMS = {
    "apertus": ("attention_layernorm", "feedforward_layernorm"),
    "qwen3": ("input_layernorm", "post_attention_layernorm"),
}
"""Names of ln_1 and ln_2."""


def tensor_mappings(model: Model, vocab_size: int, architecture: Architecture) -> list[TensorMapping]:
    """Every tensor of `model` as `architecture`, in the order of the forward pass.

    vocab_size: entries of the vocabulary. Padding rows are left out: the exported logits are those of our model. A tied
    head has no tensor, as in the files of `transformers`.
    """
    return _gpt2(model, vocab_size) if architecture.name == "gpt2" else _rotary(model, vocab_size, architecture)


def _gpt2(model: Model, vocab_size: int) -> list[TensorMapping]:
    shapes = tensor_shapes(model, vocab_size)
    norms = {"ln_1": model.n_embd, "ln_2": model.n_embd}
    widths = norms | {name: shapes[f"h.0.{name}.weight"][0] for name in _GPT2_MATRICES}

    def pair(name: str, width: int, transposed: bool) -> list[TensorMapping]:
        """The weight and the bias, which is zero where ours has none."""
        size, bias = shapes[f"{name}.weight"], f"{name}.bias"
        return [
            TensorMapping(
                f"transformer.{name}.weight", size[::-1] if transposed else size, f"{name}.weight", None, transposed
            ),
            TensorMapping(f"transformer.{bias}", (width,), bias if bias in shapes else ""),
        ]

    found = [
        TensorMapping("transformer.wte.weight", (vocab_size, model.n_embd), "wte.weight", (0, vocab_size)),
        TensorMapping("transformer.wpe.weight", shapes["wpe.weight"], "wpe.weight"),
    ]
    for layer in range(model.n_layer):
        for name in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"):
            found += pair(f"h.{layer}.{name}", widths[name], name in _GPT2_MATRICES)
    return found + pair("ln_f", model.n_embd, False) + _head(model, vocab_size)


def _rotary(model: Model, vocab_size: int, architecture: Architecture) -> list[TensorMapping]:
    width, head_size = model.n_embd, model.n_embd // model.n_head
    queries, keys = attention_widths(model)
    expanded, activated = mlp_widths(model)
    norms = _NORMS[architecture.name]
    qkv_bias = model.bias if model.qkv_bias is None else model.qkv_bias
    found = [TensorMapping("model.embed_tokens.weight", (vocab_size, width), "wte.weight", (0, vocab_size))]
    for layer in range(model.n_layer):
        theirs, ours = f"model.layers.{layer}", f"h.{layer}"
        attention, mlp = f"{theirs}.self_attn", f"{theirs}.mlp"
        c_attn, c_fc = f"{ours}.attn.c_attn.weight", f"{ours}.mlp.c_fc.weight"
        found += [
            TensorMapping(f"{theirs}.{norms[0]}.weight", (width,), f"{ours}.ln_1.weight"),
            *_queries_keys_values(attention, c_attn, queries, keys, (width,)),
            *(_queries_keys_values(attention, f"{ours}.attn.c_attn.bias", queries, keys, ()) if qkv_bias else ()),
            # our QK-norm has no weights
            TensorMapping(f"{attention}.q_norm.weight", (head_size,), constant=1.0),
            TensorMapping(f"{attention}.k_norm.weight", (head_size,), constant=1.0),
            TensorMapping(f"{attention}.o_proj.weight", (width, queries), f"{ours}.attn.c_proj.weight"),
            *([TensorMapping(f"{attention}.o_proj.bias", (width,), f"{ours}.attn.c_proj.bias")] if model.bias else ()),
            TensorMapping(f"{theirs}.{norms[1]}.weight", (width,), f"{ours}.ln_2.weight"),
        ]
        if expanded > activated:  # the gate comes first, see `core.model.layers.swiglu`
            found.append(TensorMapping(f"{mlp}.gate_proj.weight", (activated, width), c_fc, (0, activated)))
        found += [
            TensorMapping(f"{mlp}.up_proj.weight", (activated, width), c_fc, (expanded - activated, expanded)),
            TensorMapping(f"{mlp}.down_proj.weight", (width, activated), f"{ours}.mlp.c_proj.weight"),
        ]
    return [*found, TensorMapping("model.norm.weight", (width,), "ln_f.weight"), *_head(model, vocab_size)]


def _queries_keys_values(
    attention: str, source: str, queries: int, keys: int, columns: tuple[int, ...]
) -> list[TensorMapping]:
    """The three tensors that c_attn has in one. columns: of a row; none for a bias."""
    kind, found, start = source.rpartition(".")[2], [], 0
    for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
        found.append(TensorMapping(f"{attention}.{name}.{kind}", (rows, *columns), source, (start, start + rows)))
        start += rows
    return found


def _head(model: Model, vocab_size: int) -> list[TensorMapping]:
    if model.tie_embeddings:
        return []
    return [TensorMapping("lm_head.weight", (vocab_size, model.n_embd), "lm_head.weight", (0, vocab_size))]
