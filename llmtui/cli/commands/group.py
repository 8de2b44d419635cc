"""A group of commands that says which one may have been meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from core.errors import did_you_mean


class Commands(click.Group):
    """Where click, which knows the nearest command from 8.3 on, has nothing to say, what there is."""

    def resolve_command(self, context: click.Context, args: list[str]) -> tuple[Any, Any, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            name, what = args[0], error.format_message()
            if name.startswith("-") or "Did you mean" in what:
                raise
            there = self.list_commands(context)
            hint = did_you_mean(name, there) or f"there is {', '.join(there)}"
            if context.parent is None and ("/" in name or Path(name).suffix or Path(name).is_dir()):
                hint = f"`llmtui run {name}` trains on it"
            raise click.UsageError(f"{what.rstrip('.')}; {hint}", context) from None
