"""Downloads the weights of a model of the Hugging Face hub into the cache of `huggingface_hub`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from core.download import hub_client
from core.download.hub_client import DownloadStoppedError, HubSession
from core.download.hub_errors import RESUME_LATER, HubError, to_hub_error, unreachable
from core.events import Event, Progress
from core.init.config import INDEX, no_weights, weight_files
from core.init.safetensors_header import TensorInfo, parse_header, read_headers
from core.init.spec import InitError
from core.plural import size_text
from core.processes.threads import iterate_in_thread
from core.sources.corpora import CorpusLocation
from core.storage.files import sha256
from core.storage.workspace import free_bytes

T = TypeVar("T")

CONFIG = "config.json"
_ATTEMPTS = 3
"""Consecutive broken connections without a byte received after which a download fails."""


def download_weights(repository: str, revision: str) -> Generator[Event, None, Path]:
    """Download config.json and the safetensors files of a model, unless they are cached; returns their folder.

    Yields Progress in bytes. Closing the generator stops it; complete files stay cached. Raises HubError, InitError.
    """
    return _cached(repository, revision) or (yield from _run(repository, revision, _download_files))


def weight_headers(repository: str, revision: str) -> Generator[Event, None, tuple[Path, dict[str, TensorInfo]]]:
    """The folder with config.json, and the headers of the safetensors files.

    Of weights that are not cached only the headers are downloaded. Otherwise as `download_weights`.
    """
    folder = _cached(repository, revision)
    if folder is not None:
        return folder, read_headers(weight_files(folder))
    return (yield from _run(repository, revision, _download_headers))


def _run(repository: str, revision: str, work: Callable[[_ByteCount, CorpusLocation], T]) -> Generator[Event, None, T]:
    """Run `work` in a thread with a `HubSession` and return its result, yielding Progress meanwhile."""
    session, count = HubSession(), _ByteCount()
    started = time.monotonic()
    location = CorpusLocation(repository=repository, revision=revision)
    limit = hub_client.FIRST_RESPONSE_SECONDS + hub_client.CONNECT_TIMEOUT
    with contextlib.closing(iterate_in_thread(_in_session(session, count, location, work), session.close)) as items:
        for item in items:
            if item is not None:
                return item
            yield Progress(done=count.done, total=count.total, unit="bytes")
            # a name lookup has no timeout of its own
            if session.opened and not session.responded and time.monotonic() - started > limit:
                raise _with_advice(unreachable("no answer"))
    raise AssertionError("the thread ends with a result or an error")


class _ByteCount:
    """Bytes downloaded so far, and in total."""

    done = 0.0
    total: float | None = None

    def progress_bar(self) -> type[Any]:
        """A class for `tqdm_class` of `hf_hub_download` that counts here."""
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


def _cached(repository: str, revision: str) -> Path | None:
    """The folder in the cache, if it has all files."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, CONFIG, revision=revision)
    if not isinstance(found, str):
        return None
    folder = Path(found).parent
    try:
        return folder if all(path.is_file() for path in weight_files(folder)) else None
    except InitError:
        return None


def _in_session(
    session: HubSession, count: _ByteCount, location: CorpusLocation, work: Callable[[_ByteCount, CorpusLocation], T]
) -> Generator[T, None, None]:
    try:
        session.open()
        yield work(count, location)
    except (DownloadStoppedError, InitError):
        raise
    except HubError as error:
        raise _with_advice(error) from None
    except Exception as error:  # of any kind: the libraries raise what they like for an unexpected response
        raise _with_advice(to_hub_error(error, location, model=True)) from None
    finally:
        with contextlib.suppress(ImportError):
            session.release()


class _Listing(NamedTuple):
    """The files of a model on the hub."""

    folder: Path
    """Folder in the cache with the JSON files."""
    commit: str
    weights: dict[str, Any]
    """`huggingface_hub.RepoSibling` (size, digest) of each safetensors file, by name."""


def _list_files(count: _ByteCount, location: CorpusLocation) -> _Listing:
    """List the weights and download the JSON files. Raises InitError without weights, HubError without disk space."""
    from huggingface_hub import HfApi, constants

    info = HfApi().model_info(location.repository, revision=location.revision, files_metadata=True)
    siblings = {each.rfilename: each for each in info.siblings or ()}
    for name in ("vocabulary.json", CONFIG, INDEX):  # the first is in what `llmtui export` writes
        if name in siblings:
            folder = _download_file(count, location.repository, name, str(info.sha)).parent
        elif name == CONFIG:
            raise HubError("missing", f"there is no {CONFIG} in it", where=location.repository)
    names = ["model.safetensors"] if "model.safetensors" in siblings else []
    if not names and INDEX in siblings:
        names = [path.name for path in weight_files(folder)]
    if not names or not set(names) <= set(siblings):
        raise no_weights(siblings, location.repository)
    count.done, count.total = 0.0, float(sum(siblings[name].size or 0 for name in names))
    cache = Path(constants.HF_HUB_CACHE)
    if free_bytes(cache) < count.total:
        what = f"its weights take {size_text(count.total)}, and the disk has less"
        raise HubError("failing", what, where=str(cache), todo="free some space or move the cache by HF_HOME")
    return _Listing(folder, str(info.sha), {name: siblings[name] for name in names})


def _download_headers(count: _ByteCount, location: CorpusLocation) -> tuple[Path, dict[str, TensorInfo]]:
    from huggingface_hub import HfFileSystem, constants

    listing = _list_files(count, location)
    headers: dict[str, TensorInfo] = {}
    for name, file in listing.weights.items():
        path = f"{location.repository}@{listing.commit}/{name}"
        with HfFileSystem(endpoint=constants.ENDPOINT).open(path, "rb", cache_type="none", size=file.size) as raw:

            def read(first: int, last: int, raw: BinaryIO = raw) -> bytes:
                raw.seek(first)
                return raw.read(last - first)

            headers |= parse_header(name, location.repository, file.size or 0, read)
    return listing.folder, headers


def _download_files(count: _ByteCount, location: CorpusLocation) -> Path:
    listing = _list_files(count, location)
    for name, file in listing.weights.items():
        path = _download_file(count, location.repository, name, listing.commit)
        if file.lfs is not None and sha256(path) != file.lfs.sha256:
            path.resolve().unlink()
            path.unlink()
            raise HubError(
                "failing", f"{name} is not what the hub's listing says", where=location.repository, todo=RESUME_LATER
            )
    # by its revision, so that the cache records the commit
    _download_file(count, location.repository, CONFIG, location.revision)
    return listing.folder


def _download_file(count: _ByteCount, repository: str, name: str, revision: str) -> Path:
    """Download a file into the cache, with retries after broken connections, and return its path."""
    import httpx2
    from huggingface_hub import hf_hub_download

    broken = 0
    while True:
        before = count.done
        try:
            return Path(hf_hub_download(repository, name, revision=revision, tqdm_class=count.progress_bar()))
        except httpx2.TransportError:
            broken = 0 if count.done > before else broken + 1
            count.done = before
            if broken == _ATTEMPTS:
                raise


def _with_advice(error: HubError) -> HubError:
    """`error` with advice that fits a model."""
    if error.kind in ("unreachable", "offline mode"):
        error.todo = "connect to the internet and resume, or name a folder that has the weights as model.init"
    return error
