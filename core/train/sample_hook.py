"""Texts that the model writes while it is trained."""

from __future__ import annotations

import msgspec

from core.events import GeneratedSample
from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.recipe.schema import Recipe
from core.sample.stream import write
from core.tokenize.vocabulary import Vocabulary
from core.train.commands import Draw


def wanted(recipe: Recipe, step: int, draw: Draw) -> GeneratedSample:
    """What to draw at `step`, still without its text: what `draw` leaves open is the recipe's, prompts in turn."""
    usual = recipe.sample
    prompt = usual.prompts[(step // recipe.train.sample_every) % len(usual.prompts)]
    return GeneratedSample(
        step=step,
        prompt=prompt if draw.prompt is None else draw.prompt,
        text="",
        temperature=usual.temperature if draw.temperature is None else draw.temperature,
        top_k=usual.top_k if draw.top_k is None else draw.top_k,
        top_p=usual.top_p if draw.top_p is None else draw.top_p,
        seed=usual.seed if draw.seed is None else draw.seed,
    )


def drawn(model: GPT, vocabulary: Vocabulary, sample: GeneratedSample, usual: Sampling) -> GeneratedSample:
    """`sample` with its text, which continues its prompt; what it does not say of the drawing is as `usual`."""
    said = {name: getattr(sample, name) for name in ("temperature", "top_k", "top_p", "seed")}
    sampling = msgspec.structs.replace(usual, **said)
    return msgspec.structs.replace(sample, text=write(model, vocabulary, sample.prompt, sampling))
