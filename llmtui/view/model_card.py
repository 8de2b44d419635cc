"""The model card of an exported checkpoint: README.md in the Markdown of the Hugging Face hub."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from msgspec import structs

from core.export.architectures import Architecture
from core.plural import plural
from core.recipe.file import to_toml
from core.recipe.schema import Recipe
from core.runs.curves import Curves
from core.runs.directory import Run
from core.runs.origin import origin_of
from core.sources.catalog import kind_of, redact_url
from core.sources.corpora import corpus_locations, known_corpus
from llmtui.view.plan_text import shape
from llmtui.view.units import cost, count, duration

CURVE_ROWS = 12
"""Points of the curves at most."""


def model_card(run: Run, curves: Curves, step: int, architecture: Architecture) -> str:
    """The card of the checkpoint of `step`. Of paths on this machine only the last component is in it."""
    return "\n".join(_lines(run, curves, step, architecture))


def _lines(run: Run, curves: Curves, step: int, architecture: Architecture) -> Iterator[str]:
    recipe = _shareable(run.recipe)
    known = kind_of(run.recipe.source.corpus) == "hub"
    yield from ("---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [llmtui]")
    if known:
        yield f"datasets: [{corpus_locations(run.recipe.source.corpus)[0].repository}]"
    yield from ("---", "", f"# {run.name}", "")
    yield f"A {architecture.class_name} trained from scratch with llmtui, exported at step {step:,}."
    if recipe.model.init:
        yield f"Its weights were initialised from {_code(recipe.model.init)}."
    yield from ("", "```python", "from transformers import AutoModelForCausalLM, AutoTokenizer", "")
    yield from ('model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")',)
    yield from ('tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")', "```", "")
    yield from _model(recipe, curves)
    yield from _data(recipe, run)
    yield from _training(recipe, curves, step)
    yield from ("## Recipe", "", "```toml")
    yield from (line for line in to_toml(recipe).strip().splitlines() if line and not line.startswith("#"))
    yield from ("```", "", "## Versions", "")
    origin = origin_of(run, curves.summary, curves.newest())
    versions = [("llmtui", origin.version), ("commit", origin.commit), ("PyTorch", origin.torch)]
    yield from _table([*versions, ("trained on", origin.device)])


def _model(recipe: Recipe, curves: Curves) -> Iterator[str]:
    model, info = recipe.model, curves.summary.shape
    yield from ("## Model", "")
    rows = [("shape", f"{shape(model)}, context {model.block_size:,} tokens")]
    if info:
        rows += [("parameters", f"{info.parameters:,}")]
    yield from _table([*rows, ("vocabulary", recipe.tokenize.vocabulary)])


def _data(recipe: Recipe, run: Run) -> Iterator[str]:
    yield from ("## Data", "", f"Trained on {_code(recipe.source.corpus)}.")
    corpus = known_corpus(run.recipe.source.corpus)
    if corpus:
        yield f"{corpus.about} Licence of the text: {corpus.licence}."
        if corpus.notice:
            yield from ("", f"> {corpus.notice}")
    else:
        yield "Its licence is not recorded: find it out before you publish this model."
    yield ""


def _training(recipe: Recipe, curves: Curves, step: int) -> Iterator[str]:
    metric, evaluation = curves.summary.metric, curves.summary.headline_evaluation
    yield from ("## Training", "")
    rows = []
    if metric:
        trained = f"{plural(metric.step, 'step')}, {count(metric.tokens)} tokens, {duration(metric.seconds)}"
        rows.append(("the whole run", trained))
    if evaluation and math.isfinite(evaluation.loss):
        figures = f"{cost(evaluation.loss)} nats per token, {cost(evaluation.bits_per_byte)} bits per byte"
        rows.append((f"held-out text, step {evaluation.step:,}", figures))
    rows += [("optimizer", recipe.train.optimizer), ("seed", f"{recipe.train.seed}")]
    yield from _table(rows)
    points = [point for point in curves.val.means() if point[0] <= step]
    if points:
        yield from ("| step | held-out loss, nats per token |", "|---:|---:|")
        for at, loss in _thinned(points):
            yield f"| {at:,.0f} | {cost(loss)} |"
        yield ""


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `CURVE_ROWS` of `points`, evenly spread, with the first and the last."""
    number = min(len(points), CURVE_ROWS)
    return [points[round(n * (len(points) - 1) / max(1, number - 1))] for n in range(number)]


def _table(rows: list[tuple[str, str]]) -> Iterator[str]:
    yield from ("| | |", "|---|---|")
    yield from (f"| {name} | {_plain(text)} |" for name, text in rows if text)
    yield ""


def _shareable(recipe: Recipe) -> Recipe:
    """`recipe` without what is private: folders of this machine, and what a URL has besides its address."""
    corpus, init = recipe.source.corpus, recipe.model.init
    kind = kind_of(corpus)
    corpus = Path(corpus).name if kind == "path" else redact_url(corpus) if kind == "url" else corpus
    init = init if init.startswith(("hf:", "run:")) else Path(init).name
    return structs.replace(
        recipe,
        source=structs.replace(recipe.source, corpus=corpus),
        model=structs.replace(recipe.model, init=init),
    )


def _plain(text: str) -> str:
    """`text` in a cell of a table."""
    return " ".join(text.replace("|", "/").split())


def _code(text: str) -> str:
    """`text` as it is, whatever is in it."""
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"
