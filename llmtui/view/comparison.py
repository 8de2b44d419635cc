"""A comparison of runs: which differ only in the seed, their order, and their differences to one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from core.recipe.overrides import value_of
from core.runs.artifacts import FOLDERS
from core.runs.comparison import Spread, SpreadDifference, difference, differing_fields, seed_groups
from core.runs.origin import Origin
from llmtui.view import run_text
from llmtui.view.run_results import RESULTS, Result
from llmtui.view.run_snapshot import RunSnapshot
from llmtui.view.sanitize import shown

MAX_RUNS = 12
"""Runs compared at once."""

NUMBERS = "123456789abc"
"""What stands for each run in charts and tables, where its colour alone would not do."""


class ComparedRun(NamedTuple):
    """One run of a comparison."""

    number: int
    """From 1 on; it stays while other runs come and go."""
    snapshot: RunSnapshot
    origin: Origin

    @property
    def glyph(self) -> str:
        return NUMBERS[self.number - 1]


class RunGroup(NamedTuple):
    """One run, or several that differ only in the seed."""

    runs: tuple[ComparedRun, ...]
    name: str
    """Sanitised; of runs of the same name with the end of the id."""

    @property
    def key(self) -> str:
        """Identifies it: the id of a single run, another text of several."""
        run_id = self.runs[0].snapshot.run.id
        return run_id if len(self.runs) == 1 else f"group {run_id}"

    @property
    def number(self) -> int:
        return self.runs[0].number

    @property
    def glyph(self) -> str:
        return self.runs[0].glyph

    def seeds(self, count: int) -> str:
        """ "3 seeds", or "3 runs" if two have the same. count: of its runs with a result."""
        distinct = len({run.snapshot.run.recipe.train.seed for run in self.runs}) == len(self.runs)
        return f"{count} {'seeds' if distinct else 'runs'}"

    def spread(self, result: Result) -> Spread | None:
        """Of `result` over the runs that have it."""
        return result.spread(run.snapshot for run in self.runs)

    @property
    def held_out(self) -> str:
        """Name of the artifact with its held-out text; empty before it is known."""
        return self.runs[0].origin.data[tuple(FOLDERS).index("preprocess")]

    @property
    def bound(self) -> bool:
        """Whether its losses are upper bounds."""
        evaluations = (run.snapshot.summary.evaluation for run in self.runs)
        return any(evaluation is not None and evaluation.bound for evaluation in evaluations)


SORT = "best"
"""The column by which the table is sorted at first."""


class Comparison:
    """Runs beside one another. Immutable; made again when anything changes.

    Raises ValueError without runs.
    """

    def __init__(
        self,
        runs: Sequence[ComparedRun],
        *,
        baseline: str = "",
        sort: str = SORT,
        reverse: bool = False,
    ) -> None:
        """
        baseline: id of the run, or of one of the group, to which differences are given; by default the first run.
        sort: a name in `RESULTS`, or of a field that differs.
        """
        if not runs:
            raise ValueError("nothing to compare")
        self.runs = sorted(runs, key=lambda run: run.number)
        recipes = [run.snapshot.run.recipe for run in self.runs]
        self.fields = differing_fields(recipes)
        """Of the recipe, in its order."""
        grouped = seed_groups(recipes, [(run.origin.data, run.origin.parent) for run in self.runs])
        self.groups = [self._group([self.runs[index] for index in indices]) for indices in grouped]
        self.baseline = next((group for group in self.groups if _has(group, baseline)), self.groups[0])
        known = {*RESULTS, *(field.key for field in self.fields)}
        self.sort = sort if sort in known else SORT
        self.measure = RESULTS.get(self.sort, RESULTS[SORT])
        """The result whose differences are given."""
        self.groups = sorted(self.groups, key=self._sort_key, reverse=reverse)
        # groups without a value stay last
        self.groups.sort(key=lambda group: self._sort_key(group) is _LAST)

    def _group(self, runs: Sequence[ComparedRun]) -> RunGroup:
        name = runs[0].snapshot.run.name
        numbers = [run.number for run in runs]
        elsewhere = any(run.snapshot.run.name == name for run in self.runs if run.number not in numbers)
        return RunGroup(tuple(runs), _with_id(runs[0]) if elsewhere else run_text.name(runs[0].snapshot))

    def name(self, run: ComparedRun) -> str:
        """The name of `run`, with the end of its id if another one has the same; sanitised."""
        twice = sum(other.snapshot.run.name == run.snapshot.run.name for other in self.runs) > 1
        return _with_id(run) if twice else run_text.name(run.snapshot)

    def alone(self, run: ComparedRun) -> RunGroup:
        """`run` without those that differ only in the seed."""
        return RunGroup((run,), self.name(run))

    def found(self, key: str) -> RunGroup | None:
        """The group, or the run by itself, with that key; None if there is none."""
        groups = (*self.groups, *map(self.alone, self.runs))
        return next((group for group in groups if group.key == key), None)

    # -- order ----------------------------------------------------------------------------------------------------

    def _sort_key(self, group: RunGroup) -> tuple[int, float, str]:
        if self.sort in RESULTS:
            spread = group.spread(RESULTS[self.sort])
            if spread is None:
                return _LAST
            return 0, -spread.mean if RESULTS[self.sort].best == "highest" else spread.mean, ""
        field = next(field for field in self.fields if field.key == self.sort)
        value = value_of(group.runs[0].snapshot.run.recipe, field)
        if value is None:
            return _LAST
        return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))

    def best(self, result: Result) -> RunGroup | None:
        """The group with the best mean; None if another one's is the same as far as it is shown."""
        known = [(spread.mean, group) for group in self.groups if (spread := group.spread(result))]
        if not result.best or len(known) < 2:
            return None
        known.sort(key=lambda pair: pair[0], reverse=result.best == "highest")
        return known[0][1] if result.text(known[0][0]) != result.text(known[1][0]) else None

    # -- differences ----------------------------------------------------------------------------------------------

    def difference(self, group: RunGroup) -> SpreadDifference | None:
        """Of `measure`, to the baseline; None for the baseline and without values."""
        one, other = group.spread(self.measure), self.baseline.spread(self.measure)
        return difference(one, other) if one and other and group.key != self.baseline.key else None


_LAST = (2, math.inf, "")
"""The place of a group without a value."""


def _with_id(run: ComparedRun) -> str:
    return f"{run_text.name(run.snapshot)} {shown(run.snapshot.run.id[-4:])}"


def _has(group: RunGroup, run_id: str) -> bool:
    return any(run.snapshot.run.id == run_id for run in group.runs)
