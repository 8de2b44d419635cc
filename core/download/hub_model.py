"""The weights of a model of the Hugging Face hub, in the hub's own cache: fetched once, good without a network."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from core.download import hub_client
from core.download.hub_client import DownloadStoppedError, Line
from core.download.hub_errors import LATER, HubError, offline, told
from core.events import Event, Progress
from core.processes.threads import iterate_in_thread
from core.recipe.model_config import INDEX, InitError, no_weights, weight_files
from core.recipe.safetensors_header import Kept, beginning_of, contents
from core.sources.corpora import Place
from core.storage.files import sha256
from core.storage.workspace import free_bytes

T = TypeVar("T")

CONFIG = "config.json"
_ATTEMPTS = 3
"""Broken connections in a row, without a byte between them."""


def download_weights(repository: str, revision: str) -> Generator[Event, None, Path]:
    """The folder with config.json and the safetensors of a model, and nothing else that is fetched.

    Yields Progress in bytes; closing it leaves what came to be gone on with. Raises HubError, InitError.
    """
    return _kept(repository, revision) or (yield from _asked(repository, revision, _all_files))


def weight_headers(repository: str, revision: str) -> Generator[Event, None, tuple[Path, dict[str, Kept]]]:
    """What `download_weights` would come to: the folder with config.json, and what the safetensors say they hold.

    Of weights that are not here only the beginnings are fetched. Otherwise as `download_weights`.
    """
    kept = _kept(repository, revision)
    if kept is not None:
        return kept, contents(weight_files(kept))
    return (yield from _asked(repository, revision, _beginnings))


def _asked(repository: str, revision: str, work: Callable[[_Count, Place], T]) -> Generator[Event, None, T]:
    """What `work`, which asks the hub, returns; it is done in a thread, and its bytes are told."""
    line, count = Line(), _Count()
    begun = time.monotonic()
    place = Place(repository=repository, revision=revision)
    with contextlib.closing(iterate_in_thread(_answered(line, count, place, work), line.close)) as items:
        for item in items:
            if item is not None:
                return item
            yield Progress(done=count.done, total=count.total, unit="bytes")
            # looking up a name cannot be bounded otherwise
            if not line.answered and line.opened and time.monotonic() - begun > hub_client.CONTACT + hub_client.CONNECT:
                raise _without(offline("no answer"))
    raise AssertionError("the thread ends with a folder or an error")


class _Count:
    """Bytes of the files at hand."""

    done = 0.0
    total: float | None = None

    def bar(self) -> type[Any]:
        """What `huggingface_hub` takes for a progress bar."""
        count = self

        class Bar:
            def __init__(self, initial: int = 0, **_: object) -> None:
                count.done += initial

            def update(self, size: int) -> None:
                count.done += size

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *_: object) -> None: ...

        return Bar


def _kept(repository: str, revision: str) -> Path | None:
    """The folder in the cache that has all of it."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, CONFIG, revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    try:
        return folder if all(path.is_file() for path in weight_files(folder)) else None
    except InitError:
        return None


def _answered(line: Line, count: _Count, place: Place, work: Callable[[_Count, Place], T]) -> Generator[T, None, None]:
    try:
        line.open()
        yield work(count, place)
    except (DownloadStoppedError, InitError):
        raise
    except HubError as trouble:
        raise _without(trouble) from None
    except Exception as error:  # whatever these libraries make of an answer that they did not expect
        raise _without(told(error, place, model=True)) from None
    finally:
        with contextlib.suppress(ImportError):
            line.release()


class _Listed(NamedTuple):
    """What the hub says of a model."""

    folder: Path
    """In the cache, with its JSON."""
    commit: str
    weights: dict[str, Any]
    """What is known of each safetensors file."""


def _listed(count: _Count, place: Place) -> _Listed:
    """Raises HubError, InitError where there are no weights, or no room for them."""
    from huggingface_hub import HfApi, constants

    info = HfApi().model_info(place.repository, revision=place.revision, files_metadata=True)
    there = {each.rfilename: each for each in info.siblings or ()}
    for name in (CONFIG, INDEX):
        if name in there:
            folder = _file(count, place.repository, name, str(info.sha)).parent
        elif name == CONFIG:
            raise HubError("missing", f"there is no {CONFIG} in it", where=place.repository)
    names = ["model.safetensors"] if "model.safetensors" in there else []
    if not names and INDEX in there:
        names = [path.name for path in weight_files(folder)]
    if not names or not set(names) <= set(there):
        raise no_weights(there, place.repository)
    count.done, count.total = 0.0, float(sum(there[name].size or 0 for name in names))
    cache = Path(constants.HF_HUB_CACHE)
    if free_bytes(cache) < count.total:
        what = f"its weights take {count.total:,.0f} bytes, and the disk has less"
        raise HubError("failing", what, where=str(cache), todo="free some space or move the cache by HF_HOME")
    return _Listed(folder, str(info.sha), {name: there[name] for name in names})


def _beginnings(count: _Count, place: Place) -> tuple[Path, dict[str, Kept]]:
    from huggingface_hub import HfFileSystem, constants

    listed = _listed(count, place)
    found: dict[str, Kept] = {}
    for name, file in listed.weights.items():
        path = f"{place.repository}@{listed.commit}/{name}"
        with HfFileSystem(endpoint=constants.ENDPOINT).open(path, "rb", cache_type="none", size=file.size) as raw:

            def read(first: int, last: int, raw: BinaryIO = raw) -> bytes:
                raw.seek(first)
                return raw.read(last - first)

            found |= beginning_of(name, place.repository, file.size or 0, read)
    return listed.folder, found


def _all_files(count: _Count, place: Place) -> Path:
    listed = _listed(count, place)
    for name, file in listed.weights.items():
        path = _file(count, place.repository, name, listed.commit)
        large = file.lfs
        if large is not None and sha256(path) != large.sha256:
            path.resolve().unlink()
            path.unlink()
            raise HubError("failing", f"{name} is not what the hub's listing says", where=place.repository, todo=LATER)
    _file(count, place.repository, CONFIG, place.revision)  # lets the cache know which commit the revision names
    return listed.folder


def _file(count: _Count, repository: str, name: str, revision: str) -> Path:
    """The file in the cache; a connection that breaks is made again, and goes on where the last one ended."""
    import httpx2
    from huggingface_hub import hf_hub_download

    broken = 0
    while True:
        before = count.done
        try:
            return Path(hf_hub_download(repository, name, revision=revision, tqdm_class=count.bar()))
        except httpx2.TransportError:
            broken = 0 if count.done > before else broken + 1
            count.done = before
            if broken == _ATTEMPTS:
                raise


def _without(trouble: HubError) -> HubError:
    """The same, with what else a model can begin with."""
    if trouble.kind in ("offline", "switched off"):
        trouble.todo = "connect to the internet and resume, or name a folder that has the weights as model.init"
    return trouble
