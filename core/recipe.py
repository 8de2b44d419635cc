"""What to build: one TOML file, typed. Every field explains itself, once, for the file, `--help` and the forms."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import tomli_w
from msgspec import Meta, Struct

from core.trouble import Usage

PRESETS = Path(__file__).parent / "recipes"


class BadRecipe(Usage):
    """A recipe with a wrong key, a wrong value or an impossible combination."""

    doing = "use this recipe"


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the text comes from."""

    corpus: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "'stdlib' (the standard library of this Python), or the path of a text file or a folder of them."
            ),
        ),
    ] = "stdlib"


class Preprocess(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the documents are cleaned and divided."""

    steps: Annotated[
        tuple[Literal["unicode_nfc", "control_characters", "trailing_space", "empty", "duplicates"], ...],
        Meta(description="Cleaning steps, applied in this order."),
    ] = ("unicode_nfc", "control_characters", "trailing_space", "empty", "duplicates")
    split: Annotated[
        Literal["auto", "document", "tail"],
        Meta(
            description=(
                "How text is held out for validation: whole documents, or the tail of the text. "
                "auto: documents where there are 20 or more."
            )
        ),
    ] = "auto"
    validation: Annotated[float, Meta(gt=0, le=0.5, description="Share of the text held out for validation.")] = 0.05
    seed: Annotated[int, Meta(ge=0, description="Chooses which documents are held out.")] = 1


class Tokenize(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How text becomes numbers."""

    vocabulary: Annotated[
        Literal["bpe", "gpt2"],
        Meta(description=("bpe: byte pairs learned from this corpus. gpt2: the 50,257 entries of GPT-2.")),
    ] = "bpe"
    size: Annotated[
        int,
        Meta(
            ge=257,
            le=1_000_000,
            description=("Entries of a learned vocabulary, the end-of-text mark included; not used by gpt2."),
        ),
    ] = 4096


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The shape of the Transformer, in GPT-2's words."""

    n_layer: Annotated[int, Meta(ge=1, le=1000, description="Transformer blocks, one after the other.")] = 3
    n_head: Annotated[int, Meta(ge=1, le=1000, description="Attention heads in each block.")] = 4
    n_embd: Annotated[int, Meta(ge=1, le=100_000, description="Width: numbers that represent one token.")] = 256
    block_size: Annotated[int, Meta(ge=1, le=1_000_000, description="Context: tokens the model sees at once.")] = 256
    positions: Annotated[
        Literal["learned", "rotary"],
        Meta(
            description="learned: a vector for each place, as in GPT-2. rotary: queries and keys turn with their place."
        ),
    ] = "rotary"
    norm: Annotated[
        Literal["layer", "rms"], Meta(description="layer: centred and scaled, as in GPT-2. rms: scaled only.")
    ] = "rms"
    activation: Annotated[
        Literal["gelu", "relu2"], Meta(description="What bends the feed-forward layer: GPT-2's GELU, or ReLU squared.")
    ] = "relu2"
    qk_norm: Annotated[bool, Meta(description="Scale queries and keys to one length before they meet.")] = True
    zero_init: Annotated[
        bool,
        Meta(description="Start the output of every block, and an untied head, at zero, and its embedding large."),
    ] = True
    dropout: Annotated[float, Meta(ge=0, lt=1, description="Share of activations dropped while training.")] = 0.0
    bias: Annotated[bool, Meta(description="Biases in the linear layers and norms, as in GPT-2.")] = False
    tied_head: Annotated[bool, Meta(description="Use the token embedding as the output layer too.")] = False


class Train(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the model learns, and for how long: the first limit reached ends it; with none given, 5 minutes."""

    steps: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many steps.")] = None
    tokens: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Stop after so many tokens.")] = None
    minutes: Annotated[
        Annotated[float, Meta(gt=0, le=1e7)] | None,
        Meta(description=("Stop after so many minutes of training; evaluations and samples count, pauses do not.")),
    ] = None
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000, description="Sequences in one forward pass.")] = 8
    accumulate: Annotated[int, Meta(ge=1, le=1_000_000, description="Forward passes that make one step.")] = 1
    optimizer: Annotated[
        Literal["adamw", "muon"],
        Meta(description="muon: turns the blocks' matrices by orthogonal steps, AdamW does the rest."),
    ] = "muon"
    lr: Annotated[float, Meta(gt=0, le=1, description="Peak learning rate of AdamW, reached after warm-up.")] = 8e-3
    muon_lr: Annotated[float, Meta(gt=0, le=1, description="Peak learning rate of Muon, where it is used.")] = 0.02
    muon_iterations: Annotated[
        int, Meta(ge=1, le=20, description="Newton-Schulz iterations of each Muon step: 5 are exact, 3 are cheaper.")
    ] = 3
    lr_final: Annotated[float, Meta(ge=0, le=1, description="Share of the peak learning rate left at the end.")] = 0.1
    warmup: Annotated[float, Meta(ge=0, lt=1, description="Share of the training that warms up.")] = 0.05
    weight_decay: Annotated[float, Meta(ge=0, le=10, description="Weight decay of matrices and embeddings.")] = 0.0
    beta1: Annotated[float, Meta(ge=0, lt=1, description="AdamW's average of gradients.")] = 0.9
    beta2: Annotated[float, Meta(ge=0, lt=1, description="AdamW's average of squared gradients.")] = 0.99
    clip: Annotated[float, Meta(ge=0, description="Largest gradient norm; 0 never clips.")] = 1.0
    evaluate_every: Annotated[int, Meta(ge=1, description="Steps between evaluations.")] = 50
    evaluate_tokens: Annotated[
        int,
        Meta(
            ge=1,
            description=(
                "Validation tokens each evaluation looks at, always the same; the last looks at up to 64 times as many."
            ),
        ),
    ] = 16_384
    sample_every: Annotated[int, Meta(ge=1, description="Steps between samples drawn while training.")] = 50
    checkpoint_every: Annotated[int, Meta(ge=1, description="Steps between checkpoints.")] = 100
    keep: Annotated[int, Meta(ge=2, le=1000, description="Newest checkpoints kept; the best is kept besides.")] = 3
    seed: Annotated[int, Meta(ge=0, description="Decides initial weights, batches and dropout.")] = 1
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Meta(description="Where the arithmetic happens.")] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Meta(
            description=(
                "Arithmetic of the matrix products; weights are kept in float32. auto: bfloat16 where it is fast."
            )
        ),
    ] = "auto"


class Sample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How text is drawn from the model."""

    prompts: Annotated[
        tuple[Annotated[str, Meta(max_length=100_000)], ...],
        Meta(min_length=1, description=("Beginnings the model goes on from; an empty one starts a new document.")),
    ] = ("",)
    tokens: Annotated[int, Meta(ge=1, le=1_000_000, description="Tokens drawn for each prompt.")] = 100
    temperature: Annotated[
        float,
        Meta(
            ge=0, le=100, description=("Below 1 more likely text, above 1 wilder; 0 always takes the likeliest token.")
        ),
    ] = 0.8
    top_k: Annotated[int, Meta(ge=0, description="Draw among the k likeliest tokens; 0 takes all.")] = 50
    top_p: Annotated[
        float, Meta(gt=0, le=1, description=("Draw among the likeliest tokens that together have this probability."))
    ] = 1.0
    seed: Annotated[int, Meta(ge=0, description="The same seed draws the same text.")] = 1


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides what a run builds."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z",
            description=("What the run is called: a-z, 0-9, dot, dash, underscore."),
        ),
    ] = "untitled"
    source: Source = Source()
    preprocess: Preprocess = Preprocess()
    tokenize: Tokenize = Tokenize()
    model: Model = Model()
    train: Train = Train()
    sample: Sample = Sample()


class Field(NamedTuple):
    """One line of a recipe as help, forms and saved files show it."""

    section: str
    """Empty for the recipe's own `name`."""
    name: str
    description: str
    allowed: str
    default: Any

    @property
    def key(self) -> str:
        """The dotted name that `--set` takes."""
        return f"{self.section}.{self.name}" if self.section else self.name


def _fields_of(struct: type[Struct], section: str) -> Iterator[Field]:
    for field in msgspec.inspect.type_info(struct).fields:  # type: ignore[attr-defined]
        if isinstance(_bare(field.type), msgspec.inspect.StructType):
            continue
        description = field.type.extra_json_schema["description"]
        yield Field(section, field.name, description, allowed(field.type), field.default)


def fields() -> list[Field]:
    """Every field of a recipe, in the order of the file."""
    sections = {
        name: type(default) for name, default in msgspec.structs.asdict(Recipe()).items() if isinstance(default, Struct)
    }
    return [*_fields_of(Recipe, ""), *(f for name, struct in sections.items() for f in _fields_of(struct, name))]


def _bare(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    return _bare(kind.type) if isinstance(kind, msgspec.inspect.Metadata) else kind


def allowed(kind: msgspec.inspect.Type) -> str:
    """What a field takes, in words: "a number above 0, at most 1"."""
    kind = _bare(kind)
    match kind:
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(allowed(t) for t in types if not isinstance(t, msgspec.inspect.NoneType))
        case msgspec.inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(v) for v in values)
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"a list, each {allowed(item)}"
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.StrType(pattern=pattern):
            return "a-z, 0-9, dot, dash, underscore, at most 64 characters" if pattern else "text"
        case msgspec.inspect.IntType() | msgspec.inspect.FloatType():
            what = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
            bounds = {"above": kind.gt, "at least": kind.ge, "below": kind.lt, "at most": kind.le}
            limits = [f"{word} {limit:,}" for word, limit in bounds.items() if limit is not None]
            return " ".join([what, ", ".join(limits)]).strip()
    raise TypeError(f"no words for {kind!r}")


def presets() -> dict[str, Path]:
    """The recipes that come with the program, by name."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.toml"))}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a recipe file. Raises BadRecipe, naming the file and the line."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadRecipe("there is no such file", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise BadRecipe(f"it is not UTF-8 text (byte {error.start})", where=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise BadRecipe(f"not TOML: {error}", where=str(path)) from None
    except OSError as error:
        raise BadRecipe((error.strerror or str(error)).lower(), where=str(path)) from None


def load(
    *,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    base: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe after all layers: default < preset < file < base < overrides.

    preset: a name from `presets()`. overrides: `section.field=value` strings, the value in TOML or a bare word.
    base: tables that the caller worked out itself, such as the source named on the command line.
    Raises BadRecipe that names the layer, the field, what it takes and the nearest right name.
    """
    tables: dict[str, Any] = {}
    if preset is not None:
        known = presets()
        if preset not in known:
            raise BadRecipe(
                f"there is no preset {preset!r}", todo=nearest(preset, known) or f"there is: {', '.join(known)}"
            )
        _merge(tables, _checked(read_toml(known[preset]), f"preset {preset}"))
    if file is not None:
        _merge(tables, _checked(read_toml(file), str(file)))
    _merge(tables, dict(base or {}))
    for override in overrides:
        _merge(tables, _checked(_override(override), f"--set {override}"))
    recipe = msgspec.convert(tables, Recipe)
    _check_together(recipe, str(file) if file else "")
    return recipe


def _override(text: str) -> dict[str, Any]:
    """`train.lr=3e-4` as tables."""
    key, equals, value = text.partition("=")
    if not equals:
        raise BadRecipe("--set needs FIELD=VALUE", where=f"--set {text}", todo="for example --set train.lr=3e-4")
    parsed: Any = value.strip()
    try:
        document = tomllib.loads(f"value = {value}")
        parsed = document["value"] if len(document) == 1 else parsed
    except tomllib.TOMLDecodeError:
        pass  # a bare word: --set tokenize.vocabulary=gpt2
    section, dot, name = key.strip().partition(".")
    return {section: {name: parsed}} if dot else {section: parsed}


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _checked(tables: dict[str, Any], where: str) -> dict[str, Any]:
    """The same tables, once every name and every value in them is known to be right."""
    known = {field.key: field for field in fields()}
    sections = {field.section for field in known.values()}
    for section, content in tables.items():
        if section in sections - {""}:
            if not isinstance(content, dict):
                raise BadRecipe(
                    f"{section!r} is a section, not a value", where=where, todo=f"write [{section}] above its fields"
                )
            names = [f"{section}.{name}" for name in content]
        else:
            names = [section]
        for key in names:
            if key not in known:
                raise BadRecipe(
                    f"unknown field {key!r}",
                    where=where,
                    todo=nearest(key, [*known, *(sections - {""})]) or "`llmtui recipe` prints them all",
                )
    for field in known.values():
        table = tables.get(field.section, {}) if field.section else tables
        if field.name in table:
            _check_value(field, table[field.name], where)
    return tables


def _check_value(field: Field, value: Any, where: str) -> None:
    struct = type(getattr(Recipe(), field.section)) if field.section else Recipe
    try:
        msgspec.convert({field.name: value}, struct)
    except msgspec.ValidationError:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise BadRecipe(
            f"{field.key} = {shown} is not {field.allowed}", where=where, todo=f"{field.key}: {field.description}"
        ) from None


def _check_together(recipe: Recipe, where: str) -> None:
    """What no single field can know."""
    width, heads = recipe.model.n_embd, recipe.model.n_head
    if recipe.model.positions == "rotary" and width % heads == 0 and width // heads % 2:
        raise BadRecipe(
            f"rotary positions turn pairs of numbers, and a head of {width // heads} is odd",
            where=where or "[model]",
            todo=f"nearest that works: n_embd = {width + heads}",
        )
    if width % heads:
        near = sorted({max(1, width // heads) * heads, (width // heads + 1) * heads})
        raise BadRecipe(
            f"model.n_embd {width} is not divisible by model.n_head {heads}",
            where=where or "[model]",
            todo=f"nearest that works: n_embd = {' or '.join(map(str, near))}",
        )


def nearest(name: str, names: Iterable[str]) -> str:
    """ "did you mean X?", or nothing when no name is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


def to_toml(recipe: Recipe) -> str:
    """The recipe as a file, each field under its description; what is None is left out but named."""
    lines = ["# A recipe of llmtui: `llmtui run THIS-FILE` builds it."]
    section = None
    for field in fields():
        if field.section != section:
            section = field.section
            lines += ["", f"[{section}]"] if section else [""]
        value = getattr(getattr(recipe, section) if section else recipe, field.name)
        lines.append(f"# {field.description} ({field.allowed})")
        lines.append(f"# {field.name} =" if value is None else tomli_w.dumps({field.name: _plain(value)}).rstrip())
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
