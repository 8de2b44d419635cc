"""The command that serves models over an OpenAI-compatible HTTP API."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import secrets
import socket

import click

from core.errors import UsageError
from core.storage.workspace import Workspace
from llmtui.cli.commands.lookup import run_with_checkpoint
from llmtui.cli.commands.options import NAME, run_argument
from llmtui.cli.console import print_message, print_output


class ApiTokenError(UsageError):
    doing = "serve"


class _StandardError(logging.Handler):
    """Writes log records to standard error, sanitised, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        print_message(
            record.getMessage().strip().splitlines()[0] + (f": {type(error).__name__}: {error}" if error else "")
        )


@click.command(short_help="Serve models over an OpenAI-compatible HTTP API.")
@run_argument(nargs=-1)
@click.option(
    "--host",
    type=NAME,
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; the default is reachable from this machine only.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any free port.")
@click.option(
    "--token",
    type=NAME,
    envvar="LLMTUI_TOKEN",
    show_envvar=True,
    help="API key that clients must send; random by default. Other users of this machine can see options.",
)
def serve(run_name: tuple[str, ...], host: str, port: int, token: str | None) -> None:
    """Serve /v1/completions, /v1/chat/completions and /v1/models for each RUN, or for all runs that have checkpoints.

    The model name RUN selects the newest checkpoint of a run, RUN@STEP a certain one. Settings that a request does not
    give are those of the run's recipe. Serves until Ctrl-C, also while runs train.
    """
    if token is not None and not re.fullmatch(r"[!-~]{8,512}", token):
        raise ApiTokenError(
            "the token has to be 8 to 512 letters, digits or signs, without spaces", todo="or leave it out"
        )
    workspace = Workspace()
    from llmtui.server.registry import ModelRegistry
    from llmtui.server.server import bind_socket
    from llmtui.server.server import serve as serve_requests

    registry = ModelRegistry(workspace, [run_with_checkpoint(workspace, name).id for name in run_name])
    first = next(registry.all(), None)
    server = bind_socket(host, port)
    bound_host, port = server.getsockname()[:2]
    address = ipaddress.ip_address(bound_host)
    name = socket.gethostname() if address.is_unspecified else f"[{bound_host}]" if address.version == 6 else bound_host
    url = f"http://{name}:{port}/v1"
    if not address.is_loopback:
        print_message(
            "the server is reachable from other machines; the token and all texts are sent over the network unencrypted"
        )
    api_key = token or secrets.token_urlsafe(24)
    print_output(f"export OPENAI_BASE_URL={url}")
    key = api_key
    if token is not None:  # a token from the environment or a file is not printed
        source = click.get_current_context().get_parameter_source("token")
        key = "$LLMTUI_TOKEN" if source is click.core.ParameterSource.ENVIRONMENT else "YOUR-TOKEN"
    print_output(f'export OPENAI_API_KEY="{key}"' if key != api_key else f"export OPENAI_API_KEY={api_key}")
    model = first.id if first else "RUN"
    print_output(
        f"curl {url}/completions -H 'content-type: application/json' -H \"authorization: Bearer {key}\" "
        f'-d \'{{"model": "{model}", "prompt": "Once"}}\''
    )
    for logger, level in (("llmtui.server", logging.INFO), ("uvicorn", logging.WARNING)):
        log = logging.getLogger(logger)
        log.handlers, log.propagate = [_StandardError()], False
        log.setLevel(level)
    waiting = "" if first else "no run has a checkpoint yet; the first one saved will be served. "
    print_message(f"{waiting}Ctrl-C stops the server")
    try:
        asyncio.run(serve_requests(workspace, registry, server, host, api_key))
    except KeyboardInterrupt:  # click would write a line first, which fails if standard error is closed
        raise click.Abort from None
