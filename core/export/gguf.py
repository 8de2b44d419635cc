"""A GGUF file, which llama.cpp and the programs made of it load: weights, configuration and vocabulary in one.

Written by the library `gguf`, one tensor in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from core.events import Event, Note
from core.export.chat_template import chat_template
from core.export.config import LAYER_NORM_EPS, RMS_NORM_EPS, ROPE_THETA
from core.export.gguf_vocabulary import gguf_vocabulary
from core.export.mappings import TensorMapping
from core.export.request import ExportError
from core.export.xielu import XIELU, scaled_for_xielu
from core.model.count import mlp_widths
from core.processes.progress import ProgressMeter

if TYPE_CHECKING:
    from core.export.source import ExportSource

FLOAT16_MAX: Final = 65504.0


class _WrittenTensor(NamedTuple):
    mapping: TensorMapping
    name: str
    """In GGUF."""
    type: Any
    """A `gguf.GGMLQuantizationType`."""


def write_gguf(source: ExportSource, folder: Path) -> Iterator[Event]:
    """Write model-DTYPE.gguf into `folder`; yields Progress in bytes, and Notes about what llama.cpp does otherwise.

    Raises ExportError, TokenizerExportError, OSError.
    """
    gguf = _load_gguf()
    file = folder / f"model-{source.request.dtype}.gguf"
    writer = gguf.GGUFWriter(file, source.architecture.name)
    try:
        _add_configuration(gguf, writer, source)
        yield from _add_vocabulary(writer, source)
        tensors = list(_tensors(gguf, source))
        sizes = [_add_info(gguf, writer, tensor) for tensor in tensors]
        yield from _warn_of_float16(source)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        meter = ProgressMeter(float(sum(sizes)))
        for tensor, size in zip(tensors, sizes, strict=True):
            writer.write_tensor_data(gguf.quantize(_values(gguf, source, tensor), tensor.type))
            yield from meter.advance(size)
        yield meter.report()
    finally:
        writer.close()


def _load_gguf() -> Any:
    try:
        import gguf
    except ImportError:
        raise ExportError("the library gguf is not installed", todo='pip install "llmtui[export]"') from None
    return gguf


def _add_configuration(gguf: Any, writer: Any, source: ExportSource) -> None:
    model = source.model
    head_size = model.n_embd // model.n_head
    writer.add_type("model")
    writer.add_name(source.request.name)
    writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[source.request.dtype]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(model.n_layer)
    writer.add_context_length(model.block_size)
    writer.add_embedding_length(model.n_embd)
    writer.add_feed_forward_length(mlp_widths(model)[1])
    writer.add_head_count(model.n_head)
    writer.add_vocab_size(source.vocabulary.size)
    if source.architecture.name == "gpt2":
        writer.add_layer_norm_eps(LAYER_NORM_EPS)
        return
    writer.add_head_count_kv(model.n_kv_head or model.n_head)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(RMS_NORM_EPS)
    writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(ROPE_THETA)
    if source.architecture.name == "apertus":
        for name, value in XIELU.items():
            getattr(writer, f"add_xielu_{name}")([value] * model.n_layer)


_FILE_TYPES: Final = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}
"""`general.file_type` by number format."""


def _add_vocabulary(writer: Any, source: ExportSource) -> Iterator[Note]:
    vocabulary = gguf_vocabulary(source.vocabulary)
    writer.add_tokenizer_model(vocabulary.model)
    if vocabulary.splitter:
        writer.add_tokenizer_pre(vocabulary.splitter)
        writer.add_token_merges(vocabulary.merges)
    writer.add_token_list(vocabulary.entries)
    writer.add_token_types(vocabulary.types)
    end = source.vocabulary.end_of_text
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_add_bos_token(False)  # llama.cpp's default for llama-bpe is True
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(chat_template(source.request.chat))
    if vocabulary.differs:
        yield Note(
            level="warning",
            text=f"llama.cpp has no pre-tokenizer that splits words as the vocabulary {source.vocabulary.name} does; "
            f"with {vocabulary.splitter}, the nearest, it has other tokens than in training for: {vocabulary.differs}",
        )


def _tensors(gguf: Any, source: ExportSource) -> Iterator[_WrittenTensor]:
    """The tensors of the file, in the order of the forward pass."""
    architecture = getattr(gguf.MODEL_ARCH, source.architecture.name.upper())
    names = gguf.get_tensor_name_map(architecture, source.model.n_layer)
    kind = getattr(gguf.GGMLQuantizationType, source.request.dtype.upper())
    apertus = source.architecture.name == "apertus"
    for mapping in scaled_for_xielu(source.mappings) if apertus else source.mappings:
        # nn.Linear and ggml alike have (out, in)
        plain = mapping._replace(size=mapping.size[::-1], transposed=False) if mapping.transposed else mapping
        name = names.get_name(mapping.name, try_suffixes=(".weight", ".bias"))
        yield _WrittenTensor(plain, name, _type(gguf, name, plain.size, kind))
    embedding = next(mapping for mapping in source.mappings if mapping.source == "wte.weight")
    if apertus and source.model.tie_embeddings:  # it has no tied head there
        yield _WrittenTensor(embedding, "output.weight", _type(gguf, "output.weight", embedding.size, kind))


def _type(gguf: Any, name: str, size: tuple[int, ...], kind: Any) -> Any:
    """The number format of a tensor: llama.cpp adds vectors and positions in float32 only."""
    if len(size) == 1 or name == "position_embd.weight":
        return gguf.GGMLQuantizationType.F32
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    return kind if size[-1] % block == 0 else gguf.GGMLQuantizationType.F16


def _add_info(gguf: Any, writer: Any, tensor: _WrittenTensor) -> int:
    """Announce `tensor`; returns its size in bytes."""
    shape = gguf.quant_shape_to_byte_shape(tensor.mapping.size, tensor.type)
    size: int = math.prod(shape)
    writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), size, raw_dtype=tensor.type)
    return size


def _values(gguf: Any, source: ExportSource, tensor: _WrittenTensor) -> NDArray[np.float32]:
    """Float32 values of a tensor. Raises ExportError where its number format cannot hold them."""
    values = source.tensor(tensor.mapping, torch.float32)
    if tensor.type == gguf.GGMLQuantizationType.F16 and values.abs().max() > FLOAT16_MAX:
        raise ExportError(
            f"{tensor.mapping.source} has numbers that f16 cannot hold",
            where=source.request.checkpoint,
            todo="--dtype f32 or bf16 has a wider range",
        )
    array: NDArray[np.float32] = values.numpy()
    return array


def _warn_of_float16(source: ExportSource) -> Iterator[Note]:
    """Blocks whose squared activations may leave the range of float16, to which llama.cpp rounds the input of a matrix
    in float16. By the Cauchy-Schwarz inequality: after RMSNorm the vector has the norm sqrt(n_embd) at most."""
    if source.request.dtype != "f16" or source.architecture.name != "apertus":
        return
    found = []
    for layer in range(source.model.n_layer):
        rows, weight = (
            source.tensor(next(each for each in source.mappings if each.source == f"h.{layer}.{name}"), torch.float32)
            for name in ("mlp.c_fc.weight", "ln_2.weight")
        )
        bound = source.model.n_embd * (rows * weight).square().sum(1).max().item()
        if bound > FLOAT16_MAX:
            found.append(f"h.{layer}.mlp ({bound:,.0f})")
    if found:
        yield Note(
            level="warning",
            text=f"activations may exceed {FLOAT16_MAX:,.0f}, the most that float16 can hold, in {', '.join(found)}: "
            "bf16 has a wider range",
        )
