"""Memory and time of trainings on 1 to 64 GPUs, predicted by the formulas of the plan: `python -m benchmarks.scaling`.

Prints the tables of docs/scaling.md. Nothing is measured: memory is that of `core.model.cluster_plan` on GPUs of 80
GiB, half a million tokens in each step. Time is tokens times FLOPs per token, divided by the rate of the GPUs' bfloat16
products (989 TFLOPS) and an assumed utilisation (40 %). Published figures stand beside those of the same formulas.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from core.model.cluster_plan import plan_cluster
from core.model.count import flops_per_token, parameters
from core.model.memory import memory
from core.recipe.file import load
from core.recipe.schema import Recipe

GPUS = (1, 2, 4, 8, 16, 32, 64)
GPU_BYTES = 80 * 2**30
PEAK = 989e12
"""bfloat16 FLOP/s of an H100 or H200, dense."""
UTILISATION = 0.4
TOKENS_PER_PARAMETER = 20
"""arXiv 2203.15556, table 3."""
STEP_TOKENS = 2**19
VOCABULARY = 50_257

SHAPES = {
    "124M": (12, 12, 768, 1024),
    "350M": (24, 16, 1024, 1024),
    "1.5B": (48, 25, 1600, 1024),
    "7B": (32, 32, 4096, 2048),
}
"""Layers, heads, width, context."""


def recipe(name: str, optimizer: str) -> Recipe:
    layers, heads, width, block = SHAPES[name]
    shape = {"n_layer": layers, "n_head": heads, "n_embd": width, "block_size": block}
    overrides = [f"model.{field}={value}" for field, value in shape.items()]
    overrides += [f"train.batch_size={STEP_TOKENS // block}", f"train.optimizer={optimizer}", "train.steps=1000"]
    return load(overrides=[*overrides, "model.dropout=0", "model.pad_vocabulary_multiple=64"])


def memory_rows(optimizer: str) -> Iterator[list[str]]:
    yield ["model", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS)]
    for name in SHAPES:
        row = [name]
        for gpus in GPUS:
            plan = plan_cluster(recipe(name, optimizer), VOCABULARY, gpus, GPU_BYTES)
            kind = "sharded" if plan.sharded else "whole"
            fits = f"{plan.memory.peak / 2**30:.0f} GiB, {kind}, {plan.micro_batch} at a time"
            row.append(fits if plan.micro_batch else "does not fit")
        yield row


def time_rows() -> Iterator[list[str]]:
    yield ["model", "parameters", "tokens", *(f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS)]
    for name in SHAPES:
        model = recipe(name, "muon").model
        count = parameters(model, VOCABULARY).total
        tokens = TOKENS_PER_PARAMETER * count
        seconds = tokens * flops_per_token(model, VOCABULARY).training / (PEAK * UTILISATION)
        yield [name, f"{count / 1e6:,.0f}M", f"{tokens / 1e9:.1f}B", *(_duration(seconds / gpus) for gpus in GPUS)]


def published_rows() -> Iterator[list[str]]:
    yield ["figure", "source", "published", "by the formulas"]
    flops = flops_per_token(load(preset="gpt2").model, VOCABULARY).training
    rate = 0.3714 * 312e12 / flops
    what = "tokens/s of GPT-2 124M on one A100 (312 TFLOPS) at 37.14 %"
    yield [what, "nanoGPT, transformer_sizing.ipynb: 100 × 1,024 tokens in 755 ms", "135,600", f"{rate:,.0f}"]
    book = load(preset="book", overrides=["model.block_size=1024", "model.dropout=0", "train.batch_size=64"])
    for sequences, gigabytes in ((8, 5.89), (32, 22.5)):
        peak = memory(book, VOCABULARY, micro_batch=sequences, itemsize=2, gpu=True).peak / 1e9
        what = f"GB of the book's GPT-2 163M on one A100, bfloat16, {sequences} × 1,024 tokens"
        source = "Raschka, LLMs from scratch, ch05/10_llm-training-speed; weights in bfloat16, here in float32"
        yield [what, source, f"{gigabytes}", f"{peak:.1f}"]


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _print(rows: Iterator[list[str]]) -> None:
    for number, row in enumerate(rows):
        sys.stdout.write("| " + " | ".join(row) + " |\n")
        if number == 0:
            sys.stdout.write("|" + "---|" * len(row) + "\n")
    sys.stdout.write("\n")


def main() -> int:
    for optimizer in ("adamw", "muon"):
        sys.stdout.write(f"Memory of each GPU, {optimizer}, predicted:\n\n")
        _print(memory_rows(optimizer))
    sys.stdout.write(f"Time for {TOKENS_PER_PARAMETER} tokens per parameter, predicted:\n\n")
    _print(time_rows())
    sys.stdout.write("The formula beside published figures:\n\n")
    _print(published_rows())
    return 0


if __name__ == "__main__":
    sys.exit(main())
