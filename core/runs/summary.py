"""The summary of a run's journal, used by the worker, the commands and the screens."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field, structs

from core.events import (
    STAGES,
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    CheckpointSaved,
    CleaningReport,
    CompressionBaseline,
    Evaluation,
    GeneratedSample,
    HardwareReading,
    Metric,
    ModelInfo,
    Note,
    Paused,
    Progress,
    Resumed,
    RungReached,
    StageFinished,
    StageSkipped,
    StageStarted,
    TrainingForecast,
)
from core.runs.journal_snapshot import JournalOffset

_STAGES = set(STAGES)

StageStatus = Literal["waiting", "working", "done", "skipped"]


class StageProgress(Struct, kw_only=True):
    """One stage of one run."""

    state: StageStatus = "waiting"
    artifact: str = ""
    facts: dict[str, int | float | str] = {}
    done: float = 0
    """In `unit`; for the train stage, the share of the nearest limit, of a total of 1."""
    total: float | None = None
    unit: str = ""
    rate: float = 0.0
    """Units per second, smoothed over the last 10 seconds; 0 before there are two readings."""

    @property
    def share(self) -> float | None:
        """0 to 1; None while the total is unknown."""
        if self.state in ("done", "skipped"):
            return 1.0
        return max(0.0, min(1.0, self.done / self.total)) if self.total and self.total > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds left at the current rate; None without a rate or a total."""
        if self.state != "working" or not self.total or self.rate <= 0:
            return None
        return max(0.0, self.total - self.done) / self.rate


class Summary(Struct, kw_only=True):
    """The newest event of each kind, and what is derived from them. `absorb` takes every event in order."""

    attempt: int = 0
    device: str = ""
    started_at: float = 0.0
    stage: str = ""
    """The running stage, or the last one that ran."""
    stages: dict[str, StageProgress] = {}
    paused: bool = False
    activity: str = ""
    """What the training does between two steps: `Progress.of`; empty during a step."""
    shape: ModelInfo | None = None
    plan: TrainingForecast | None = None
    """The forecast; the actual figures are in `metric` and `peak`."""
    peak: int = 0
    """Peak memory on the training device, in bytes, over all attempts."""
    report: CleaningReport | None = None
    evaluating: StageProgress | None = None
    """Progress of an evaluation before the first step or after the last one, when nothing else can be shown."""
    metric: Metric | None = None
    tokens_per_second: float = 0.0
    """Training speed, smoothed over the last 10 seconds of training time."""
    evaluation: Evaluation | None = None
    best: Evaluation | None = None
    sample: GeneratedSample | None = None
    saved: CheckpointSaved | None = None
    rungs: list[RungReached] = []
    """Of a trial of a study, those it has reached, the first one first."""
    reading: HardwareReading | None = None
    note: Note | None = None
    """The last warning or error."""
    compression_baselines: dict[str, float] = {}
    """Bits per byte by compressor."""
    yardsticks: dict[str, float] | UnsetType = UNSET
    """`compression_baselines` in files of older versions."""
    ended: AttemptEnded | None = None
    events: int = 0
    """Number of events absorbed; it does not change while the worker hangs."""
    journal_offset: JournalOffset | None = field(default=None, name="place")
    """Set when it is written to status.json."""
    _marks: list[tuple[float, float]] = []
    _token_marks: list[tuple[float, float]] = []

    def __post_init__(self) -> None:
        if self.stages.keys() != _STAGES:
            self.stages = {name: StageProgress() for name in STAGES} | self.stages
        if self.yardsticks is not UNSET:
            self.compression_baselines, self.yardsticks = self.yardsticks, UNSET

    @property
    def current_stage(self) -> StageProgress:
        """The running stage or the last one; during an evaluation that the training waits for, the evaluation."""
        return self.evaluating or self.stages.get(self.stage) or StageProgress()

    @property
    def waiting_rung(self) -> RungReached | None:
        """The rung at which it has stopped; None once it has trained further."""
        rung = self.rungs[-1] if self.rungs else None
        return rung if rung and (self.metric is None or self.metric.step <= rung.step) else None

    @property
    def step_seconds(self) -> float | None:
        """Usual seconds of a step in this attempt; None before the first one."""
        metric = self.metric
        if metric is None or metric.step <= 0 or not self.stages["train"].done:
            return None
        if self.tokens_per_second > 0:
            return metric.tokens / metric.step / self.tokens_per_second
        return metric.seconds / metric.step

    @property
    def headline_evaluation(self) -> Evaluation | None:
        """The evaluation to report: the final one once the training has finished, else the best so far.

        In a branch that has not got better than its parent was, there is no best one yet: the newest."""
        return self.evaluation if self.evaluation and self.evaluation.final else self.best or self.evaluation

    def absorb(self, event: AnyEvent) -> None:
        """Add one event."""
        self.events += 1
        self.paused = isinstance(event, Paused)
        if not isinstance(event, HardwareReading | Note | Paused):
            self.activity = event.of if isinstance(event, Progress) else ""
        if self.evaluating and not isinstance(event, Progress | HardwareReading | Note | Paused):
            self.evaluating, self._marks = None, []  # the marks of training are on another clock
        match event:
            case AttemptStarted():
                self._start(event)
            case StageStarted(stage=name):
                self.stage = name
                self.stages[name] = StageProgress(state="working")
                self._marks = []
            case StageSkipped(stage=name):
                self.stages[name] = StageProgress(state="skipped", artifact=event.artifact, facts=event.facts)
            case StageFinished(stage=name):
                stage = self.stages.setdefault(name, StageProgress())
                stage.state, stage.artifact, stage.facts = "done", event.artifact, event.facts
            case Progress():
                self._progress(event)
            case Metric():
                self._metric(event)
            case Evaluation():
                self.evaluation = event
                if event.best:
                    self.best = event
            case Resumed():
                self._forget_after(event.last, event.checkpoint)
            case Note():
                if event.level != "info":
                    self.note = event
            case ModelInfo():
                self.shape = event
            case TrainingForecast():
                self.plan = event
            case CleaningReport():
                self.report = event
            case GeneratedSample():
                self.sample = event
            case CheckpointSaved():
                self.saved = event
            case RungReached():
                self.rungs = [*(rung for rung in self.rungs if rung.share < event.share), event]
            case HardwareReading():
                self.reading, self.peak = event, max(self.peak, event.peak)
            case CompressionBaseline():
                self.compression_baselines[event.name] = event.bits_per_byte
            case AttemptEnded():
                self.ended = event
            case Paused():
                self._marks = []

    def _start(self, event: AttemptStarted) -> None:
        self.attempt, self.device, self.ended = event.attempt, event.device, None
        self.started_at = self.started_at or event.at
        self.tokens_per_second = 0.0
        self._marks, self._token_marks = [], []
        for name, stage in self.stages.items():
            if stage.state == "working":
                self.stages[name] = StageProgress()

    def _progress(self, event: Progress) -> None:
        stage = self.stages.get(self.stage)
        if event.of in ("sample", "checkpoint"):
            return
        if event.of:
            if self.metric is not None and event.of != "final evaluation":
                return  # short and frequent: the progress of the training is shown instead
            if self.evaluating is None:
                self.evaluating, self._marks = StageProgress(state="working"), []
            stage = self.evaluating
        if stage is None:
            return
        stage.done, stage.total, stage.unit = event.done, event.total, event.unit
        stage.rate = _rate(self._marks, event.tick, event.done)

    def _metric(self, event: Metric) -> None:
        if self.metric and event.step <= self.metric.step:
            self._forget_after(event.step - 1)  # restarted by a version that wrote no Resumed event
        self.metric = event
        self.tokens_per_second = _rate(self._token_marks, event.seconds, event.tokens)
        train = self.stages["train"]
        train.done, train.total = event.progress, 1.0
        train.rate = _rate(self._marks, event.seconds, event.progress)

    def _forget_after(self, step: int, checkpoint: str = "") -> None:
        """Discard what earlier attempts reported of later steps. checkpoint: the one the run was resumed from."""
        if self.metric and self.metric.step > step:
            self.metric = None
        if self.evaluation and self.evaluation.step > step:
            self.evaluation = None
        if self.best and self.best.step > step:
            self.best = None
        if self.sample and self.sample.step > step:
            self.sample = None
        if self.saved and self.saved.step > step:  # all checkpoints of a run are of one size
            self.saved = structs.replace(self.saved, step=step, path=checkpoint) if checkpoint else None
        self.rungs = [rung for rung in self.rungs if rung.step <= step]
        self.tokens_per_second = 0.0
        self._marks, self._token_marks = [], []


def _rate(marks: list[tuple[float, float]], now: float, done: float, window: float = 10.0) -> float:
    """Units per second over the last `window` seconds of readings, which `marks` collects; 0 before there are two."""
    if not marks or now - marks[-1][0] >= window / 40 or done < marks[-1][1]:
        marks.append((now, done))
    while len(marks) > 2 and now - marks[0][0] > window:
        marks.pop(0)
    start, before = marks[0]
    return max(0.0, (done - before) / (now - start)) if now > start else 0.0
