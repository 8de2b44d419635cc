"""The actions of the workbench by screen, from which `llmtui.tui.actions` makes bindings, footer and help."""

from __future__ import annotations

from llmtui.tui.action_table.action import OVER_CHAT, Action, Scope
from llmtui.tui.action_table.charts import CHARTS, COMPARE
from llmtui.tui.action_table.chat import CHAT, XRAY
from llmtui.tui.action_table.data import BATCH, CLEANING, DATA, DOCUMENTS, SHOW_VIEW, TOKENS
from llmtui.tui.action_table.everywhere import EVERYWHERE, SHOW_SCREEN
from llmtui.tui.action_table.model import MODEL
from llmtui.tui.action_table.runs import FORM, LOGS, RUN_LIST, RUNS
from llmtui.tui.action_table.study import STUDY

__all__ = ["ACTIONS", "OVER_CHAT", "Action", "Scope"]

ACTIONS = (
    *SHOW_SCREEN,
    *RUNS,
    *RUN_LIST,
    *FORM,
    *COMPARE,
    *STUDY,
    *CHARTS,
    *MODEL,
    *SHOW_VIEW,
    *DATA,
    *DOCUMENTS,
    *CLEANING,
    *TOKENS,
    *BATCH,
    *CHAT,
    *XRAY,
    *LOGS,
    *EVERYWHERE,
)
"""In the order of the help."""
