"""How text is generated from a model: settings shared by recipes, requests, command line and workbench. No torch.

To add a setting: a field of `Sampling` here and a processor in `core.sample.logits_processors`. Command-line option,
field of HTTP requests and slider of the workbench follow from the field's `Meta`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import fields as struct_fields

Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]
"""Number format of the weights during inference; auto: the fastest here, never int8."""

DENOISING_STEPS = 64
"""Default number of denoising steps per block of a masked model."""

UnmaskingOrder = Literal["random", "confidence", "entropy"]
"""Which positions a masked model unmasks first: any; where the sampled token is most likely; where the entropy is
lowest."""

LogitBias = Annotated[float, Meta(ge=-1000, le=1000)]


class Slider(NamedTuple):
    """Values of a setting that the workbench steps through: `values`, or multiples of `step` between two bounds."""

    label: str
    values: tuple[float, ...] = ()
    step: float = 1
    lowest: float = 0
    highest: float = float("inf")
    decimals: int = 0
    zero: str = ""
    """Text in place of 0."""


class Setting(NamedTuple):
    """A field of `Sampling`, as everything outside of `core.sample` uses it."""

    name: str
    type: Any
    """int, float, or a tuple or dict of them."""
    default: Any
    description: str
    transformers: str
    """Its name in `GenerationConfig` of transformers; empty: it has none."""
    http: str
    """The field of requests to the HTTP API, as OpenAI and vLLM name it; empty: there is none."""
    option: str
    """The command-line option, without dashes at its start."""
    slider: Slider | None


def _setting(
    description: str,
    *,
    transformers: str = "",
    http: str | None = None,
    option: str | None = None,
    slider: Slider | None = None,
    **bounds: float,
) -> Meta:
    """Metadata of a field. http, option: None: the field's own name."""
    extra = {"transformers": transformers, "http": http, "option": option, "slider": slider}
    meta: Meta = Meta(description=description, extra=extra, **bounds)  # type: ignore[call-overload]
    return meta


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From logits to a token, in the order of application, which `core.sample.logits_processors` implements."""

    tokens: Annotated[
        int,
        _setting(
            "Tokens to generate for each prompt.",
            transformers="max_new_tokens",
            http="max_tokens",
            slider=Slider("tokens", (20, 50, 100, 200, 400, 800, 1600)),
            ge=1,
            le=1_000_000,
        ),
    ] = 100
    logit_bias: Annotated[
        dict[int, LogitBias],
        _setting(
            "Added to the logits of tokens, by their ids: { 318 = -100 } forbids one.", transformers="sequence_bias"
        ),
    ] = {}
    repetition_penalty: Annotated[
        float,
        _setting(
            "Logits of tokens that prompt or text have are divided by this, negative ones multiplied.",
            transformers="repetition_penalty",
            slider=Slider("repetition", step=0.05, lowest=0.05, highest=100, decimals=2),
            ge=0.01,
            le=100,
        ),
    ] = 1.0
    presence_penalty: Annotated[
        float,
        _setting(
            "Subtracted from the logits of tokens that the text already has.",
            slider=Slider("presence", step=0.1, lowest=-100, highest=100, decimals=1),
            ge=-100,
            le=100,
        ),
    ] = 0.0
    frequency_penalty: Annotated[
        float,
        _setting(
            "Subtracted from a token's logit for each time the text already has it.",
            slider=Slider("frequency", step=0.1, lowest=-100, highest=100, decimals=1),
            ge=-100,
            le=100,
        ),
    ] = 0.0
    temperature: Annotated[
        float,
        _setting(
            "Divides the logits: below 1 more likely text, above 1 more varied; 0: greedy decoding.",
            transformers="temperature",
            slider=Slider("T", step=0.1, highest=5, decimals=1),
            ge=0,
            le=100,
        ),
    ] = 0.8
    top_k: Annotated[
        int,
        _setting(
            "Sample from the k most likely tokens; 0: from all.",
            transformers="top_k",
            slider=Slider("k", (0, 1, 5, 10, 20, 50, 100, 200, 500), zero="all"),
            ge=0,
        ),
    ] = 50
    top_p: Annotated[
        float,
        _setting(
            "Sample from the most likely tokens that together have this probability.",
            transformers="top_p",
            slider=Slider("p", step=0.05, lowest=0.05, highest=1, decimals=2),
            gt=0,
            le=1,
        ),
    ] = 1.0
    min_p: Annotated[
        float,
        _setting(
            "Remove tokens less likely than this share of the most likely one's.",
            transformers="min_p",
            slider=Slider("min p", step=0.01, highest=1, decimals=2),
            ge=0,
            le=1,
        ),
    ] = 0.0
    typical_p: Annotated[
        float,
        _setting(
            "Sample from the tokens closest to the expected information content, up to this probability.",
            transformers="typical_p",
            slider=Slider("typical p", step=0.05, lowest=0.05, highest=1, decimals=2),
            gt=0,
            le=1,
        ),
    ] = 1.0
    seed: Annotated[
        int,
        _setting("Random seed: the same seed gives the same text.", slider=Slider("seed"), ge=0, le=2**62),
    ] = 1
    stop: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=1000)], ...],
        _setting("The text ends before any of these strings.", transformers="stop_strings", max_length=16),
    ] = ()
    stop_tokens: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...],
        _setting(
            "The text ends before any of these token ids; at the end-of-text token always.",
            transformers="eos_token_id",
            http="",
            option="stop-token",
            max_length=256,
        ),
    ] = ()


def sampling_fields() -> Iterator[Setting]:
    """All fields of `Sampling`, in order."""
    hints = get_type_hints(Sampling, include_extras=True)
    for field in struct_fields(Sampling):
        hint = hints[field.name]
        meta: Meta = hint.__metadata__[0]
        extra = meta.extra or {}
        yield Setting(
            name=field.name,
            type=hint.__origin__,
            default=field.default_factory() if field.default is NODEFAULT else field.default,
            description=meta.description or "",
            transformers=extra["transformers"],
            http=field.name if extra["http"] is None else extra["http"],
            option=extra["option"] or field.name.replace("_", "-"),
            slider=extra["slider"],
        )
