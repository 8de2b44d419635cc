"""Texts that the model generates during training."""

from __future__ import annotations

import msgspec

from core.events import GeneratedSample
from core.model.gpt import GPT
from core.recipe.sampling import Sampling
from core.recipe.schema import Recipe
from core.sample.stream import generate_text
from core.tokenize.vocabulary import Vocabulary
from core.train.commands import GenerateSample


def resolve_sample(recipe: Recipe, step: int, request: GenerateSample) -> GeneratedSample:
    """The sample to generate at `step`, without its text: missing fields of `request` are taken from the recipe.

    The prompts of the recipe are taken in turn.
    """
    defaults = recipe.sample
    prompt = defaults.prompts[(step // recipe.train.sample_every) % len(defaults.prompts)]
    return GeneratedSample(
        step=step,
        prompt=prompt if request.prompt is None else request.prompt,
        text="",
        temperature=defaults.temperature if request.temperature is None else request.temperature,
        top_k=defaults.top_k if request.top_k is None else request.top_k,
        top_p=defaults.top_p if request.top_p is None else request.top_p,
        seed=defaults.seed if request.seed is None else request.seed,
    )


def generate_sample(model: GPT, vocabulary: Vocabulary, sample: GeneratedSample, defaults: Sampling) -> GeneratedSample:
    """`sample` with a text that continues its prompt. defaults: settings that a Sample does not have."""
    settings = {name: getattr(sample, name) for name in ("temperature", "top_k", "top_p", "seed")}
    sampling = msgspec.structs.replace(defaults, **settings)
    return msgspec.structs.replace(sample, text=generate_text(model, vocabulary, sample.prompt, sampling))
