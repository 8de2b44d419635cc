"""The process that exports a model: `python -P -m core.export.job REQUEST`, an `ExportRequest` as JSON.

See `core.processes.child_job`. The folder is complete or absent.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from core.errors import DiskError
from core.events import Event
from core.export.request import ExportRequest, check_request
from core.parsing import parse_json
from core.processes.child_job import run_and_report
from core.storage.files import creating_directory, fsync_file, remove_unfinished


def export_model(request: ExportRequest) -> Iterator[Event]:
    """Write the folder that `request` names; yields Progress in bytes.

    Raises NotExportableError, ExportError, DamagedError, VocabularyError, DiskError.
    """
    from core.export.source import open_source  # torch

    format_ = check_request(request)
    folder = Path(request.to).resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(folder)
        with open_source(request) as source, creating_directory(folder) as staged:
            yield from format_.write(source, staged)
            for file in staged.iterdir():
                fsync_file(file)
    except OSError as error:
        refused = DiskError.from_oserror(error, folder, kept="the checkpoint is as it was, and nothing was exported")
        refused.todo = "free some space there, or name another folder"
        raise refused from None


if __name__ == "__main__":
    os.umask(0o077)
    request = parse_json(sys.argv[1], ExportRequest)
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(run_and_report(lambda: export_model(request)))
