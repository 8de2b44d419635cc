"""[source]: where the text comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the text comes from, and how much of it is used."""

    corpus: Annotated[
        str,
        Meta(
            min_length=1,
            description=(
                "'stdlib' (the standard library of this Python), 'stories' (generated from a seed), "
                "'hf:NAME[@REVISION]' (a data set of the Hugging Face hub), an https URL, or the path of a file, a "
                "folder or a pattern."
            ),
        ),
    ] = "stdlib"
    config: Annotated[str, Meta(description="Configuration of a hub data set, where it has several.")] = ""
    split: Annotated[
        str, Meta(min_length=1, description="Split of a hub data set, or of one that was saved with several.")
    ] = "train"
    column: Annotated[
        str,
        Meta(
            description=(
                "Column or field with the text, in tables, JSON and hub data sets; empty: detected. "
                "Dots lead into objects and lists: 'data.text', 'messages.content', 'turns.0'."
            )
        ),
    ] = ""
    header: Annotated[
        bool | None,
        Meta(description="Whether the first row of a CSV or TSV has the names of its columns; left out: detected."),
    ] = None
    encoding: Annotated[
        str,
        Meta(
            description=(
                "Encoding of files without a byte order mark, such as cp1250 or utf-16; empty: detected for each file."
            )
        ),
    ] = ""
    max_bytes: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Bytes of text to take, approximately; of 'stories' 16 MiB when left out."),
    ] = None
    max_documents: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Documents to take.")] = None
    take: Annotated[
        Literal["first", "sample"],
        Meta(description="Which documents of a larger corpus: the first, or a sample spread over all of it."),
    ] = "first"
    seed: Annotated[
        int, Meta(ge=0, le=2**63 - 1, description="Random seed of the sample, and of the text of 'stories'.")
    ] = 1
    max_invalid_records: Annotated[
        int, Meta(ge=0, description="Records that cannot be read, such as invalid JSON lines, skipped at most.")
    ] = field(default=100, name="max_broken")
