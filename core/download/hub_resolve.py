"""Resolves a data set of the hub to a commit, its data files and their text column, by the rules of `datasets`."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from msgspec.structs import replace

from core.download.arrow_types import is_binary_type, is_text_type
from core.download.hub_client import HubSession
from core.download.hub_errors import HubError, to_hub_error
from core.download.hub_files import DataFile, column_types
from core.download.text_column import COMMON_NAMES
from core.errors import did_you_mean
from core.events import Event, Note
from core.sources.corpora import EXPORT, CorpusLocation


class Plan(NamedTuple):
    """What is read of a data set."""

    location: CorpusLocation
    """With the configuration and column resolved."""
    commit: str
    files: tuple[DataFile, ...]
    builder: Any
    """The `datasets.DatasetBuilder` for the format of the files."""


def make_plan(location: CorpusLocation, session: HubSession, commit: str = "") -> Generator[Event, None, Plan]:
    """Resolve what to read at `location`; yields Notes about choices that the recipe leaves open.

    commit: its hash, if an earlier attempt resolved it. Raises HubError.
    """
    try:
        return (yield from _plan(location, session, commit))
    except HubError:
        raise
    except Exception as error:  # of any kind: the libraries raise what they like for an unexpected response
        raise to_hub_error(error, location) from None


def _plan(location: CorpusLocation, session: HubSession, commit: str) -> Generator[Event, None, Plan]:
    from huggingface_hub import HfApi

    resolved = bool(commit)
    info = HfApi().dataset_info(location.repository, revision=commit or location.revision, files_metadata=True)
    commit = str(info.sha)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    session.sizes |= {f"{commit}/{path}": size for path, size in sizes.items() if size}
    _check_cards(location, commit, sizes)
    # `datasets` writes a lock and a folder for each builder, and would reuse older copies from the cache
    with tempfile.TemporaryDirectory(prefix="llmtui-") as scratch:
        if location.revision == EXPORT:
            location, builder = yield from _from_parquet_branch(location, commit, sizes, scratch)
        else:
            location, builder = yield from _from_card(location, commit, scratch)
    urls = [str(url) for url in builder.config.data_files[location.split]]
    prefix = f"hf://datasets/{location.repository}@{commit}/"
    for url in urls:
        if not url.startswith(prefix) or url.removeprefix(prefix) not in sizes:
            raise _outside_error(location, url)
    paths = [url.removeprefix(prefix) for url in urls]
    files = tuple(DataFile(path, url, sizes[path]) for path, url in zip(paths, urls, strict=True))
    if not resolved:
        column = yield from _choose_column(location, column_types(builder, location.split, files[0]))
        location = replace(location, column=column)
    return Plan(location, commit, files, builder)


def _check_cards(location: CorpusLocation, commit: str, paths: Iterable[str]) -> None:
    """Raise HubError if a card lists data files outside of the repository, before they are requested: their URLs may
    point into a private network."""
    from huggingface_hub import RepoCard, hf_hub_download

    for name in {"README.md", ".huggingface.yaml"}.intersection(paths):
        path = hf_hub_download(location.repository, name, repo_type="dataset", revision=commit)
        content = Path(path).read_text("utf-8", "replace")
        card = content if name == "README.md" else f"---\n{content}\n---\n"
        for text in _strings(RepoCard(card, ignore_metadata_errors=True).data.get("configs")):
            if "::" in text or "://" in text:
                raise _outside_error(location, text)


def _strings(value: object) -> Iterator[str]:
    """Every string in a value parsed from YAML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


def _outside_error(location: CorpusLocation, where: str) -> HubError:
    todo = "read those files by themselves: an https URL or a path as source.corpus"
    return HubError(
        "choice", f"some of its data files lie outside of it ({where})", where=location.repository, todo=todo
    )


def _from_card(
    location: CorpusLocation, commit: str, scratch: str
) -> Generator[Event, None, tuple[CorpusLocation, Any]]:
    """The builder of the configuration, as the card or the folders of the data set define it."""
    import datasets

    try:
        builder = datasets.load_dataset_builder(
            location.repository, location.config or None, revision=commit, cache_dir=scratch
        )
    except ValueError:
        names = datasets.get_dataset_config_names(location.repository, revision=commit)
        if location.config and location.config not in names:
            raise _unknown_name_error("configuration", location.config, names, location) from None
        if not location.config and len(names) > 1:
            raise _ambiguous_error(names, location) from None
        raise
    if location.split not in builder.config.data_files:
        raise _unknown_name_error("split", location.split, map(str, builder.config.data_files), location)
    names = list(builder.builder_configs)
    if not location.config and len(names) > 1:
        text = f"{location.repository}: configuration {builder.config.name!r} of {len(names):,}; source.config chooses"
        yield Note(text=text)
        location = replace(location, config=builder.config.name)
    return location, builder


def _from_parquet_branch(
    location: CorpusLocation, commit: str, paths: Iterable[str], scratch: str
) -> Generator[Event, None, tuple[CorpusLocation, Any]]:
    """The same for the hub's Parquet branch, which has no card: files are CONFIGURATION/SPLIT/NNNN.parquet."""
    import datasets

    folders: dict[str, dict[str, set[str]]] = {}
    for config, split, name in (path.split("/") for path in paths if path.count("/") == 2):
        if name.endswith(".parquet"):
            folders.setdefault(config, {}).setdefault(split.removeprefix("partial-"), set()).add(split)
    if not folders:
        raise HubError("missing", "there are no Parquet files in it", where=location.repository)
    names = sorted(folders)
    if location.config and location.config not in names:
        raise _unknown_name_error("configuration", location.config, names, location)
    if not location.config and len(names) > 1 and "default" not in names:
        raise _ambiguous_error(names, location)
    config = location.config or ("default" if "default" in names else names[0])
    if location.split not in folders[config]:
        raise _unknown_name_error("split", location.split, folders[config], location)
    split_folders = sorted(folders[config][location.split])
    if any(folder.startswith("partial-") for folder in split_folders):
        yield Note(level="warning", text=f"{location.repository}: the hub keeps only the beginning of it as Parquet")
    builder = datasets.load_dataset_builder(
        location.repository,
        revision=commit,
        data_files={location.split: [f"{config}/{folder}/*.parquet" for folder in split_folders]},
        cache_dir=scratch,
    )
    return replace(location, config=config), builder


def _choose_column(location: CorpusLocation, types: dict[str, pa.DataType]) -> Generator[Event, None, str]:
    """The name of the text column. Raises HubError if it is missing or ambiguous."""
    good = [name for name, kind in types.items() if is_text_type(kind)]
    # strings that were written as plain bytes
    good = good or [name for name, kind in types.items() if is_binary_type(kind)]
    todo = f"say which: --set source.column=NAME, one of {', '.join(good)}" if good else "name another data set"
    if location.column:
        if location.column in good:
            return location.column
        if location.column in types:
            what = f"its column {location.column!r} holds {types[location.column]}, not text"
            raise HubError("choice", what, where=location.repository, todo=todo)
        hint = did_you_mean(location.column, good)
        what = f"it has no column {location.column!r}"
        raise HubError("choice", what, where=location.repository, todo=f"{hint}; {todo}" if hint else todo)
    if len(good) == 1:
        return good[0]
    for common in COMMON_NAMES:
        if common in good:
            others = ", ".join(name for name in good if name != common)
            yield Note(text=f"{location.repository}: taking the column {common!r}; there are {others} besides")
            return common
    what = "several of its columns hold text" if good else f"no column of it holds text (there are {', '.join(types)})"
    raise HubError("choice", what, where=location.repository, todo=todo)


def _unknown_name_error(what: str, name: str, names: Iterable[str], location: CorpusLocation) -> HubError:
    names = list(names)
    hint = did_you_mean(name, names)
    listed = f"there are {', '.join(names)}" if len(names) != 1 else f"there is only {names[0]}"
    return HubError(
        "choice",
        f"it has no {what} {name!r}",
        where=location.repository,
        todo=f"{hint + '; ' if hint else ''}{listed}",
    )


def _ambiguous_error(names: list[str], location: CorpusLocation) -> HubError:
    todo = f"say which: --set source.config=NAME, one of {', '.join(names)}"
    return HubError("choice", "it has several configurations", where=location.repository, todo=todo)
