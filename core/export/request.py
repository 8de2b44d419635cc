"""The formats a model can be exported in, and the request for an export. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from core.errors import UsageError
from core.events import Event
from core.recipe.schema import Chat

if TYPE_CHECKING:
    from core.export.source import ExportSource


class ExportError(UsageError):
    """An export that cannot be made as it was requested."""

    doing = "export the model"


class ExportRequest(Struct, frozen=True, kw_only=True):
    """What to export, and where to."""

    checkpoint: str
    """Directory of the checkpoint."""
    to: str
    """The folder to make; it does not exist, or is empty."""
    format: str
    """A name in `FORMATS`."""
    dtype: str
    """Number format of the weights, one of the format's `dtypes`."""
    name: str
    """Of the model, for the files that have one."""
    card: str = ""
    """The contents of README.md."""
    chat: Chat = Chat()
    """The recipe's chat templates."""


class Format(NamedTuple):
    """A format of exported models."""

    name: str
    about: str
    """One clause: what is written, and who reads it."""
    dtypes: tuple[str, ...]
    """Number formats of the weights, the default first."""
    write: Callable[[ExportSource, Path], Iterator[Event]]
    """Writes the files into an empty folder; yields Progress in bytes. Raises LlmtuiError, OSError."""


def _write_hf(source: ExportSource, folder: Path) -> Iterator[Event]:
    from core.export.hf import write_hf

    return write_hf(source, folder)


def _write_gguf(source: ExportSource, folder: Path) -> Iterator[Event]:
    from core.export.gguf import write_gguf

    return write_gguf(source, folder)


def _write_mlx(source: ExportSource, folder: Path) -> Iterator[Event]:
    from core.export.mlx import write_mlx

    return write_mlx(source, folder)


FORMATS = {
    each.name: each
    for each in (
        Format(
            "hf",
            "a folder of safetensors and JSON, for transformers, vLLM, lm-eval",
            ("float32", "bfloat16", "float16"),
            _write_hf,
        ),
        Format(
            "gguf",
            "one file for llama.cpp, Ollama, LM Studio; needs llmtui[export]",
            ("f32", "bf16", "f16", "q8_0"),
            _write_gguf,
        ),
        Format(
            "mlx",
            "the folder of hf as mlx-lm reads it, on Apple's processors",
            ("float32", "bfloat16", "float16"),
            _write_mlx,
        ),
    )
}
"""By the name that `llmtui export --format` takes; the writers import torch when they are called."""


def format_named(name: str) -> Format:
    """The format of that name. Raises ExportError."""
    if name not in FORMATS:
        raise ExportError(f"there is no format {name!r}", todo=f"one of {', '.join(FORMATS)}")
    return FORMATS[name]


def check_request(request: ExportRequest) -> Format:
    """The format of `request`, whose folder can be written. Raises ExportError."""
    format_ = format_named(request.format)
    if request.dtype not in format_.dtypes:
        raise ExportError(
            f"the format {format_.name} has no weights in {request.dtype!r}", todo=f"one of {', '.join(format_.dtypes)}"
        )
    check_folder(Path(request.to))
    return format_


def check_folder(folder: Path) -> None:
    """Raises ExportError where `folder` is a file, or has something in it."""
    try:
        filled = next(folder.iterdir(), None) is not None
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise ExportError("there is a file of that name", where=str(folder), todo="name another folder") from None
    except OSError as error:
        raise ExportError((error.strerror or str(error)).lower(), where=str(folder)) from None
    if filled:
        raise ExportError(
            "the folder is not empty", where=str(folder), kept="nothing in it was changed", todo="name another folder"
        )
