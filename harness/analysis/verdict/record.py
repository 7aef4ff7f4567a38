"""The records of verdicts.json as types: what each entry is. docs/reference/verdicts.schema.json is made from these."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from harness.analysis.verdict.rules import Answer, Shape

SCHEMA_VERSION = 1  # of a record: raised when an entry is renamed, removed or gets another meaning
STRICT = ConfigDict(extra="forbid")
Interval = tuple[float, float]  # 95%


@dataclass(frozen=True, config=STRICT)
class Third:
    """Slope per decade of a third of the window."""

    slope: float
    ci: Interval | None


@dataclass(frozen=True, config=STRICT)
class Band:
    """Mean accuracy over replicates and its 95% band at each budget x."""

    x: list[float]
    mean: list[float]
    low: list[float | None]
    high: list[float | None]


@dataclass(frozen=True, config=STRICT)
class LawFit:
    """A fitted law. intervals: of each parameter, or "not identified". aicc: only differences mean anything.
    held_out_error: of the last factor of four of x, as a share of the gain. fitted: values at the budgets."""

    parameters: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None] | Literal["not identified"]]
    chi2: float | None
    aicc: float | None
    at_bound: bool
    converged: bool
    held_out_error: float | None
    fitted: list[float | None]


@dataclass(frozen=True, config=STRICT)
class LineFit:
    """Goodness of fit of a line; deviation: the largest, as a share of the gain."""

    chi2: float
    p: float
    deviation: float
    rejects: bool


@dataclass(frozen=True, config=STRICT)
class LineWindow:
    """The widest window in which a line stands."""

    decades: float
    x_first: float
    x_last: float
    accuracy_first: float
    accuracy_last: float


@dataclass(frozen=True, config=STRICT)
class Extrapolation:
    """Hidden last budgets, predicted by a line, by the last value and by the last slope: errors as shares of the gain,
    and the three comparisons that make up `passed`. Null where too few budgets stay visible."""

    hidden: int
    line: float | None
    last_value: float | None
    last_slope: float | None
    covers: bool | None
    beats_last_value: bool | None
    loses_to_last_slope: bool | None
    passed: bool | None


@dataclass(frozen=True, config=STRICT)
class ControlContrast:
    """A control's own rise, and the arm's slope minus the control's."""

    slope_difference: float | None
    slope_difference_ci: Interval | None
    rise: float | None
    rise_ci: Interval | None


@dataclass(frozen=True, config=STRICT)
class WouldDecide:
    """What would settle an undecided curve, each alone; null where it would not do."""

    seeds: float | None
    problems_factor: float | None
    decades: float | None
    unit: Literal["seeds", "bases"]


@dataclass(frozen=True, config=STRICT)
class Mixture:
    """Whether a line is only the sum of cells that are no lines."""

    cells: int
    linear_cells: int
    reproduces_pool: bool
    flag: bool


@dataclass(frozen=True, config=STRICT)
class RebuiltPool:
    """The pool rebuilt from steps at the learning times; deviation: the largest, as a share of the gain."""

    mean: list[float]
    slope: float
    slope_measured: float
    deviation: float | None


@dataclass(frozen=True, config=STRICT)
class CellTimes:
    """x of each replicate at half and at nine tenths of a cell's rise; null: not within the window."""

    task: str
    difficulty: str
    setting: str
    x_half: list[float | None]
    x_ninety: list[float | None]
    early: list[bool]


@dataclass(frozen=True, config=STRICT)
class LearningTimes:
    """When the cells of a pool are learned."""

    cells: int
    replicates: int
    observed: int
    early: int
    late: int
    spread_decades: float | None
    log_uniform_distance: float | None
    predicted_slope: float | None
    rebuilt: RebuiltPool
    by_cell: list[CellTimes]
    sentence: str


@dataclass(frozen=True, config=STRICT)
class Mean:
    """A mean over replicates with its 95% interval."""

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, config=STRICT)
class TestedMean(Mean):
    """With p of "it is 0" and the number of replicates."""

    p: float | None
    n: int


@dataclass(frozen=True, config=STRICT)
class DifficultyScaling:
    """gamma of T = T_1 D^gamma, T the x at which accuracy reaches the threshold, over the difficulties used."""

    task: str
    setting: str
    threshold: float
    difficulties: list[float]
    used: list[float]
    gamma: TestedMean | None
    x: list[float]
    largest_solved: list[float]


@dataclass(frozen=True, config=STRICT)
class GainOfCell:
    """A cell's success before RL, its gain, and the share of groups that can carry signal."""

    task: str
    difficulty: str
    setting: str
    base_success: float
    gain: Mean
    signal_share: float | None


@dataclass(frozen=True, config=STRICT)
class LeftOutTasks:
    """The pool's shape without each task; error of the others' mean slope as a prediction of the one left out."""

    shapes: dict[str, str]
    slope_rmse: float | None


@dataclass(frozen=True, config=STRICT)
class LeftOutSize:
    """A model size's slope, and as the other sizes predict it."""

    predicted_slope: float
    slope: float


@dataclass(frozen=True, config=STRICT)
class TaskShares:
    """Share of the tasks with each verdict, as observed and corrected for the errors of verdicts."""

    tasks: int
    observed: dict[str, float] | None
    corrected: dict[str, float] | None


@dataclass(frozen=True, config=STRICT)
class VerdictRecord:
    """A verdict on the curve of an arm on a task, or on the pool of its tasks in a role (task `all`).
    docs/reference/verdicts-json.md explains the entries; what only pools have is null elsewhere."""

    schema_version: int
    arm: str
    task: str
    role: Literal["verified", "unverified", "placebo"]
    model_params: int | None
    rises: Answer
    is_log_linear: Answer
    verdict: Shape
    rule: int
    reason: str
    slope_per_decade: float | None
    slope_ci: Interval | None
    rise: float | None
    rise_ci: Interval | None
    thirds: list[Third]
    r0: float | None
    r0_ci: Interval | None
    accuracy_first: float
    accuracy_last: float
    x_first: float
    x_last: float
    decades: float
    n_budgets: int
    curve: Band
    n_seeds: int
    n_bases: int
    given: str
    share_of_gain: float | None
    laws: dict[str, LawFit]
    line_fit: LineFit | None
    line_window: LineWindow | None
    rejections: dict[str, float] | None
    extrapolation: dict[str, Extrapolation]
    p_rise: float | None
    p_claim: float | None
    p_rise_holm: float | None
    p_claim_holm: float | None
    would_decide: WouldDecide | None
    power: float | None
    warmup_cuts: dict[str, str] | None
    scales: dict[str, str]
    mixture: Mixture | None
    collapsed_share: float
    notes: list[str]
    controls: dict[str, ControlContrast] | None
    withheld: bool
    withheld_reason: str | None
    sentences: list[str]
    learning_times: LearningTimes | None = None
    difficulty_scaling: list[DifficultyScaling] | None = None
    gain_by_base_success: list[GainOfCell] | None = None
    leave_one_task_out: LeftOutTasks | None = None
    leave_one_size_out: LeftOutSize | None = None
    task_shares: TaskShares | None = None


def typed_records(records: Sequence[dict[str, Any]]) -> list[VerdictRecord]:
    """The records of a verdicts.json, typed. Raises ValidationError for a file of another schema."""
    return TypeAdapter(list[VerdictRecord]).validate_python(records)
