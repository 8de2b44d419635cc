"""Each field of `Sampling` has a logits processor, a command-line option, a field of HTTP requests and a slider, or a
reason why not."""

from __future__ import annotations

import inspect

import click
import pytest

from core.recipe.sampling import Setting, sampling_fields
from core.sample.logits_processors import PROCESSORS
from llmtui.cli.commands.options import sampling_options
from llmtui.server.schema import ChatCompletionRequest, CompletionRequest, SamplingFields
from llmtui.view.sampler_settings import SamplerSettings, rows, stepped

NO_PROCESSOR = {
    "tokens": "ends the text",
    "stop": "ends the text",
    "stop_tokens": "ends the text",
    "seed": "of the random generator",
}
NO_HTTP_FIELD = {"stop_tokens": "OpenAI's interface has none"}
HTTP_FIELD_OF_OWN = {
    "tokens": "two fields of OpenAI's: max_tokens and max_completion_tokens",
    "stop": "a string or several, added to those of the chat template",
    "seed": "random if absent, and negative ones are allowed",
}
NO_SLIDER = {
    "logit_bias": "not a number",
    "stop": "not a number",
    "stop_tokens": "not a number",
}

each_field = pytest.mark.parametrize("field", list(sampling_fields()), ids=lambda field: field.name)


@each_field
def test_each_setting_has_a_logits_processor(field: Setting) -> None:
    assert ([each.setting for each in PROCESSORS].count(field.name) == 1) != (field.name in NO_PROCESSOR)


def test_processors_apply_in_the_order_of_the_fields() -> None:
    names = [field.name for field in sampling_fields()]
    order = [names.index(processor.setting) for processor in PROCESSORS]
    assert order == sorted(order)


@each_field
def test_each_setting_has_a_command_line_option(field: Setting) -> None:
    command = sampling_options(click.command()(lambda **given: None))
    (option,) = [each for each in command.params if each.name == field.name]  # type: ignore[attr-defined]
    assert option.opts == [f"--{field.option}"]
    assert option.help.startswith(field.description)


@each_field
def test_each_setting_has_a_field_of_http_requests(field: Setting) -> None:
    for request in (CompletionRequest, ChatCompletionRequest):
        assert (field.http in request.__struct_fields__) != (field.name in NO_HTTP_FIELD)
    derived = field.name in SamplingFields.__struct_fields__
    assert derived != (field.name in NO_HTTP_FIELD or field.name in HTTP_FIELD_OF_OWN)


@each_field
def test_each_setting_has_a_slider(field: Setting) -> None:
    assert (field.slider is not None) != (field.name in NO_SLIDER)


def test_sliders_stay_within_the_bounds_of_their_settings() -> None:
    for direction in (-1, 1):
        settings = SamplerSettings()
        for row in rows(masked=True):
            for _ in range(60):
                settings = stepped(settings, row.name, direction)  # raises for a value out of bounds


@pytest.mark.heavy
@each_field
def test_names_in_transformers_exist(field: Setting) -> None:
    config = pytest.importorskip("transformers").GenerationConfig
    source = inspect.getsource(config)
    assert not field.transformers or field.transformers in source
