"""The steps of a model from token ids to probabilities: name, details, formula, explanation of each, for a recipe."""

from __future__ import annotations

from typing import NamedTuple

from core.model.count import GATED_ACTIVATIONS, embedding_rows, mlp_widths
from core.plural import plural
from core.recipe.schema import Model


class ActivationText(NamedTuple):
    """What is said about an activation of the MLP."""

    title: str
    formula: tuple[str, ...]
    """Of the feed forward layer."""
    effect: str
    """What becomes of a vector; {width}: the width that it is expanded to."""


ACTIVATIONS = {
    "gelu": ActivationText(
        "GELU",
        ("W2 GELU(W1 x)    GELU(a) = a · Φ(a)",),
        "expanded to {width} numbers, each passed through GELU, a smooth max(a, 0), by its tanh formula",
    ),
    "relu2": ActivationText(
        "ReLU²",
        ("W2 ReLU(W1 x)²    ReLU(a) = max(a, 0)",),
        "expanded to {width} numbers, of which the negative become 0 and the others are squared",
    ),
    "swiglu": ActivationText(
        "SwiGLU",
        ("a, b = split(W1 x)", "W2 (SiLU(a) · b)    SiLU(a) = a / (1 + e^-a)"),
        "expanded to two vectors of {width} numbers, one of which gates the other",
    ),
}
NORMS = {"layer": "LayerNorm", "rms": "RMSNorm"}


class Step(NamedTuple):
    """One step of the forward pass."""

    name: str
    """`ids`, `logits`, `h` for a block as a whole, or the name of a part in `core.model.parts`."""
    title: str
    details: tuple[str, ...]
    """What this recipe makes of it, in a few words each."""
    formula: tuple[str, ...]
    explanation: str
    fields: tuple[str, ...]
    """Fields of [model] that change it; `size` is that of [tokenize]."""


def steps(model: Model, vocabulary: int, batch: int) -> tuple[Step, ...]:
    """The steps in the order of the forward pass; the block as a whole follows its parts, as in the picture.

    batch: sequences of a training step, the B of shapes.
    """
    found = [_ids(model, vocabulary, batch), _token_embedding(model, vocabulary)]
    if model.positions == "learned":
        found.append(_position_embedding(model))
    found += [
        _norm(model, "ln_1", "the attention"),
        _attention(model, batch),
        _norm(model, "ln_2", "the feed forward layer"),
        _feed_forward(model),
        _block(model),
        _norm(model, "ln_f", "the output layer"),
        _output(model, vocabulary),
        _logits(model, vocabulary, batch),
    ]
    return tuple(found)


def shape(*sizes: int) -> str:
    """A tensor's shape: `(8, 256, 128)`."""
    return f"({', '.join(f'{size:,}' for size in sizes)})"


def hidden_shape(model: Model, batch: int) -> str:
    """The shape (B, T, C) of the vectors that pass through the blocks."""
    return shape(batch, model.block_size, model.n_embd)


def _ids(model: Model, vocabulary: int, batch: int) -> Step:
    text = (
        f"The tokenizer splits a text into tokens and gives the id of each, a number below {vocabulary:,}. "
        f"A training step takes B = {plural(batch, 'sequence')} of T = {model.block_size:,} tokens; "
        "a prompt may be shorter, but not longer."
    )
    if model.objective == "masked":
        text += (
            f" Some ids are replaced by the mask token, id {vocabulary:,}, and the model has to find what was there."
        )
    sizes = shape(batch, model.block_size)
    return Step("ids", "token ids", (sizes,), (f"ids: (B, T) = {sizes}",), text, ("block_size", "size"))


def _token_embedding(model: Model, vocabulary: int) -> Step:
    rows = embedding_rows(model, vocabulary)
    text = (
        f"Each id selects a row of a table of {rows:,} rows: a vector of C = {model.n_embd:,} numbers, which training "
        "adjusts. Tokens that are used alike get similar vectors."
    )
    if model.tie_embeddings:
        text += " The output layer uses the same table (tied weights)."
    text += _rows_that_are_not_tokens(model, vocabulary)
    formula = f"x = W[ids]    W: {shape(rows, model.n_embd)}"
    return Step(
        "wte",
        "token embedding",
        (f"{rows:,} → {model.n_embd:,}",),
        (formula,),
        text,
        ("n_embd", "tie_embeddings", "positions", "pad_vocabulary_multiple"),
    )


def _rows_that_are_not_tokens(model: Model, vocabulary: int) -> str:
    """A sentence about the rows of the embedding beyond the vocabulary; empty if there are none."""
    mask, rows = model.objective == "masked", embedding_rows(model, vocabulary)
    padding = rows - vocabulary - mask
    found = ["one row is the mask token"] if mask else []
    found += [f"{plural(padding, 'row')} of padding, for speed, {'is' if padding == 1 else 'are'} never used"]
    if not padding:
        found.pop()
    return f" Besides the {vocabulary:,} of the vocabulary, {' and '.join(found)}." if found else ""


def _position_embedding(model: Model) -> Step:
    return Step(
        "wpe",
        "positional embedding",
        (f"{model.block_size:,} → {model.n_embd:,}",),
        (f"x = x + P[0 … T-1]    P: {shape(model.block_size, model.n_embd)}",),
        (
            f"A second table has one vector for each of the {model.block_size:,} positions, which is added to that of "
            "the token. Attention alone does not know the order of tokens; with it the same token differs by its "
            "position."
        ),
        ("positions", "block_size"),
    )


def _block(model: Model) -> Step:
    return Step(
        "h",
        f"{model.n_layer:,} × block",
        (),
        ("x = x + attention(norm(x))", "x = x + feed_forward(norm(x))"),
        (
            f"{plural(model.n_layer, 'Transformer block')} of the same structure, each with weights of its own, one "
            "after the other. The sums ⊕ are shortcut connections (residuals): a block adds to the vectors instead of "
            "replacing them, so that gradients reach the first block undiminished."
        ),
        ("n_layer", "n_embd", "dropout"),
    )


def _norm(model: Model, name: str, of: str) -> Step:
    bias = model.bias and model.norm == "layer"
    if model.norm == "layer":
        formula = f"(x - mean(x)) / sqrt(var(x) + 1e-5) · w{' + b' if bias else ''}"
        what = "Each vector is shifted to mean 0 and scaled to variance 1"
    else:
        formula = "x / sqrt(mean(x²) + 1e-6) · w"
        what = "Each vector is divided by the root of its mean square"
    learned = f"w and b are {model.n_embd:,} learned numbers each" if bias else f"w is {model.n_embd:,} learned numbers"
    text = f"{what}, so that the input of {of} has the same scale whatever came before, which keeps training stable. "
    if name == "ln_f":
        text += f"It comes once, after the last block; {learned}."
        if model.objective == "masked":
            text += " Its output is moved on by one position: a token is predicted from the vector of the one before."
    else:
        text += f"The shortcut around it is not normalised (pre-norm); {learned}."
    title = NORMS[model.norm] + {"ln_1": " 1", "ln_2": " 2", "ln_f": ", final"}[name]
    shifted = ("shift by 1",) if name == "ln_f" and model.objective == "masked" else ()
    return Step(name, title, (f"{model.n_embd:,}", *shifted), (formula,), text, ("norm", "bias"))


def _attention(model: Model, batch: int) -> Step:
    heads, groups, size = model.n_head, model.n_kv_head or model.n_head, model.n_embd // model.n_head
    causal, length = model.objective == "causal", model.block_size
    details = [f"{plural(heads, 'head')} × {size:,}"]
    text = (
        "Each token compares its query with the keys of "
        + ("itself and the tokens before it; the mask hides those after it. " if causal else "all tokens, both sides. ")
        + "The products, through softmax, are the weights by which it averages their values. "
        + _heads_sentence(heads, model.n_embd)
    )
    if groups < heads:
        details.append(plural(groups, "KV head"))
        text += f" {plural(heads // groups, 'query head')} share a head of keys and values (grouped-query attention)."
    if model.positions == "rotary":
        details.append("RoPE")
        text += (
            " Queries and keys are rotated by an angle that grows with their position, so that their product depends "
            "on their distance (rotary position embedding, RoPE)."
        )
    if model.qk_norm:
        details.append("QK-norm")
        text += " First, queries and keys are divided by their root mean square (QK-norm)."
    if bias := _attention_bias(model):
        details.append(bias)
    if model.dropout:
        details.append(f"dropout {model.dropout:g}")
    keys = shape(batch, groups, length, size)
    return Step(
        "attn",
        "masked multi-head attention" if causal else "bidirectional attention",
        tuple(details),
        (
            f"softmax(q kᵀ / sqrt({size:,}){' + mask' if causal else ''}) v",
            f"q: {shape(batch, heads, length, size)}",
            f"k, v: {keys}",
        ),
        text,
        ("n_head", "n_kv_head", "qk_norm", "positions", "qkv_bias", "objective", "dropout"),
    )


def _attention_bias(model: Model) -> str:
    """Which of the linear layers of attention have a bias, in words; empty: none."""
    if model.bias if model.qkv_bias is None else model.qkv_bias:
        return "bias" if model.bias else "QKV bias"
    return "bias, not of QKV" if model.bias else ""


def _heads_sentence(heads: int, width: int) -> str:
    if heads == 1:
        return f"A matrix projects the result to C = {width:,}."
    return f"{heads:,} heads do so at once, each in its own way; side by side they are C = {width:,} wide again."


def _feed_forward(model: Model) -> Step:
    expanded, activated = mlp_widths(model)
    width, activation = model.n_embd, ACTIVATIONS[model.activation]
    gated = model.activation in GATED_ACTIVATIONS
    details = [f"{width:,} → {f'2 × {activated:,}' if gated else f'{expanded:,}'} → {width:,}"]
    if gated:
        details.append("gated")
    if model.bias:
        details.append("bias")
    if model.dropout:
        details.append(f"dropout {model.dropout:g}")
    effect = activation.effect.format(width=f"{activated:,}")
    text = (
        f"Each vector by itself is {effect}, and projected back to {width:,}. Without the activation between them, two "
        "matrices would do no more than one. In most models it has more weights than attention."
    )
    sizes = f"W1: {shape(expanded, width)}, W2: {shape(width, activated)}"
    return Step(
        "mlp",
        f"feed forward, {activation.title}",
        tuple(details),
        (*activation.formula, sizes),
        text,
        ("activation", "n_embd", "bias", "dropout"),
    )


def _output(model: Model, vocabulary: int) -> Step:
    rows = embedding_rows(model, vocabulary)
    text = (
        f"Each vector is compared with {rows:,} rows by a dot product: one score, the logit, for every token. "
        + (
            "The rows are those of the token embedding, which counts once (tied weights)."
            if model.tie_embeddings
            else ""
        )
        + ("" if model.tie_embeddings else "The rows are learned besides those of the token embedding (untied).")
        + _rows_that_are_not_tokens(model, vocabulary)
    )
    return Step(
        "lm_head",
        "linear output, tied" if model.tie_embeddings else "linear output",
        (f"{model.n_embd:,} → {rows:,}",),
        (f"logits = x Wᵀ    W: {shape(rows, model.n_embd)}",),
        text,
        ("tie_embeddings", "pad_vocabulary_multiple"),
    )


def _logits(model: Model, vocabulary: int, batch: int) -> Step:
    sizes = shape(batch, model.block_size, vocabulary)
    if model.objective == "masked":
        text = (
            f"Softmax turns the {vocabulary:,} logits of a position into probabilities of the token there. Only masked "
            "positions have a loss: minus the logarithm of the right token's probability. A text is generated by "
            "unmasking the positions in turns."
        )
    else:
        text = (
            f"Softmax turns the {vocabulary:,} logits of a position into probabilities of the next token. The loss is "
            "minus the logarithm of the probability of the token that did come, averaged over all positions. To "
            "generate, the last row is sampled and the token appended."
        )
    return Step(
        "logits",
        "logits",
        (sizes,),
        ("p = e^logit / sum of e^logits", f"logits: (B, T, V) = {sizes}"),
        text,
        ("objective",),
    )
