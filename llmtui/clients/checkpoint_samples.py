"""One prompt continued by every kept checkpoint of a run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec.structs import replace

from core.checkpoints import step_of
from core.events import GeneratedSample
from core.recipe.schema import Sample
from core.runs.directory import Run
from core.runs.remote_state import inference_checkpoints
from core.sample.protocol import Generate, TextDelta
from llmtui.clients.inference_client import InferenceClient

SETTINGS = ("temperature", "top_k", "top_p", "seed")
"""Of the sampling, that a `GeneratedSample` has."""


def sample_templates(recipe: Sample) -> list[GeneratedSample]:
    """A sample of each prompt of the recipe, without its text."""
    settings = {name: getattr(recipe, name) for name in SETTINGS}
    return [GeneratedSample(step=0, prompt=prompt, text="", **settings) for prompt in recipe.prompts]


async def sample_checkpoints(
    client: InferenceClient, run: Run, sample: GeneratedSample
) -> AsyncGenerator[GeneratedSample, None]:
    """`sample` with its prompt, settings and seed, as each kept checkpoint of `run` continues it, oldest first.

    Raises what `InferenceClient.stream` does.
    """
    settings = {name: getattr(sample, name) for name in SETTINGS}
    for checkpoint in await asyncio.to_thread(inference_checkpoints, run):
        request = Generate(
            id=0,
            checkpoint=str(checkpoint.path),
            prompt=sample.prompt,
            sampling=replace(run.recipe.sample.sampling(), **settings),
            cleaning=run.recipe.preprocess.steps,
        )
        text = ""
        async with aclosing(client.stream(request)) as replies:
            async for reply in replies:
                if isinstance(reply, TextDelta):
                    text += reply.text
        yield replace(sample, step=step_of(checkpoint.path), text=text)
