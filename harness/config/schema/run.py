"""All of one run, with the sections `tasks` and `evaluation`."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass as schema

from harness.config.schema.execution import LauncherConfig, SaveConfig, TrackerConfig
from harness.config.schema.training import (
    FORBID_EXTRA,
    AlgoConfig,
    BaseConfig,
    ModelConfig,
    OptimConfig,
    RewardConfig,
    RLConfig,
    SamplingConfig,
    ScheduleConfig,
)


@schema(frozen=True, config=FORBID_EXTRA)
class WeightDistribution:
    """Weights spread over the verified tasks in their order, from 1 down over so many decades (envs/mixture.py)."""

    name: Literal["uniform", "log_uniform", "two_clusters"]
    decades: NonNegativeFloat


@schema(frozen=True, config=FORBID_EXTRA)
class TasksConfig:
    """Roles of a study's tasks, and how RL draws problems.

    verified, unverified: names, or patterns such as "*.symbolic". RL draws from verified tasks alone.
    difficulties, difficulty_decay: of verified tasks; difficulty d is drawn with weight difficulty_decay ** (d - 1).
    held_out_difficulties: of verified tasks, never trained, evaluated as unverified tasks of their own.
    weights: of the entries of verified, the first that matches a task counts; none: all alike.
    weight_distribution: weights over the tasks in order, instead.
    target_success: draw more where the success of the policy is near this.
    retire_at: a problem whose pass rate in a step reached this is not drawn again.
    distinct_problems: size of a fixed pool to draw from with replacement; pools of a seed are prefixes of each other.
    pool_exponent: within a task and difficulty the pool's i-th problem has weight i ** -pool_exponent.
    sequence: train the entries of verified in order, a phase of equally many steps each; the last takes the rest.
    replay: share of draws that come from earlier phases, all alike.
    """

    verified: tuple[str, ...]
    unverified: tuple[str, ...]
    difficulties: tuple[PositiveInt, ...]
    difficulty_decay: PositiveFloat
    weights: tuple[PositiveFloat, ...] = ()
    weight_distribution: WeightDistribution | None = None
    held_out_difficulties: tuple[PositiveInt, ...] = ()
    target_success: Annotated[float, Field(gt=0, lt=1)] | None = None
    retire_at: Annotated[float, Field(gt=0, le=1)] | None = None
    distinct_problems: PositiveInt | None = None
    pool_exponent: NonNegativeFloat = 0.0
    sequence: bool = False
    replay: Annotated[float, Field(ge=0, lt=1)] = 0.0


@schema(frozen=True, config=FORBID_EXTRA)
class EvaluationConfig:
    """`problems` of each task and difficulty, `samples` completions of each; pass@k at each of `ks`. A policy with a
    scratchpad is scored at each of the `thinking` budgets, a setting of its own in the run table. `documents`: so many
    validation documents of the base's corpus, the same for all runs, whose mean next-token loss is measured too."""

    split: Literal["train", "validation", "test"]
    problems: PositiveInt
    samples: PositiveInt
    ks: tuple[PositiveInt, ...]
    temperature: PositiveFloat
    seed: NonNegativeInt
    batch_size: PositiveInt  # completions at once: memory, never results
    thinking: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    documents: NonNegativeInt = 0


@schema(frozen=True, config=FORBID_EXTRA)
class Config:
    """All of one run. `objective`: what trains it; pretraining takes the section `base` alone, from initialisation, for
    base.steps steps. `name`: what it is called where no study names it. `budgets`: steps at which it is evaluated, or
    "log2" for 0, 1, 2, 4 … its last step; the end of each phase of a sequence is one too. `backend`: which
    implementation computes; backends agree to rounding, so it is no part of a run's identity. `objective_metric`: the
    metric at the last budget that a sweeper which optimises is given."""

    objective: Literal["rl", "continued_pretraining", "pretraining", "frozen"]
    seed: NonNegativeInt
    model: ModelConfig
    base: BaseConfig
    tasks: TasksConfig
    rl: RLConfig
    sampling: SamplingConfig
    algo: AlgoConfig
    reward: RewardConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    evaluation: EvaluationConfig
    budgets: tuple[int, ...] | Literal["log2"]
    precision: Literal["fp32", "bf16"]
    device: Literal["auto", "cpu", "cuda"]
    save: SaveConfig
    tracker: TrackerConfig
    launcher: LauncherConfig
    imports: tuple[str, ...]
    out: str
    plan: bool
    backend: Literal["auto", "eager", "native", "cuda_graphs"] = "auto"
    objective_metric: str = "eval/verified/mean@1"
    name: str | None = None

    @property
    def has_scratchpad(self) -> bool:
        """Whether the policy was pretrained with scratchpads, so that ANSWER stands before each of its answers."""
        return self.base.has_scratchpad

    @property
    def thinking(self) -> int | None:
        """The thinking budget of training; None for a policy without a scratchpad."""
        return self.sampling.thinking if self.has_scratchpad else None

    @property
    def evaluated_thinking(self) -> tuple[int | None, ...]:
        """Those of the evaluation; (None,) for a policy without a scratchpad."""
        return self.evaluation.thinking if self.has_scratchpad else (None,)

    @property
    def steps(self) -> int:
        """Of its training; a frozen run stands at those of the run that it is compared with."""
        return self.base.steps if self.objective == "pretraining" else self.rl.steps

    @property
    def trained_schedule(self) -> ScheduleConfig:
        """The learning rate's over these steps."""
        return self.base.schedule if self.objective == "pretraining" else self.schedule

    @property
    def has_horizon(self) -> bool:
        """Whether the number of steps changes the weights before the last step."""
        return self.trained_schedule.has_horizon or bool(self.phase_ends)

    @property
    def phase_ends(self) -> tuple[int, ...]:
        """The last step of each phase of a sequence; () without one."""
        phases = len(self.tasks.verified) if self.tasks.sequence and self.objective != "pretraining" else 0
        return (*((i + 1) * (self.rl.steps // phases) for i in range(phases - 1)), self.rl.steps) if phases else ()

    def of_generation(self, generation: int) -> "Config":
        """The same with the base of another generation; 0 is pretrained on the corpus, whatever the later ones read."""
        synthetic = self.base.synthetic
        if synthetic is not None:
            synthetic = replace(synthetic, generation=generation) if generation else None
        return replace(self, base=replace(self.base, synthetic=synthetic))

    @property
    def generations(self) -> tuple["Config", ...]:
        """One for each base that this one's base needs, from generation 0 to its own."""
        return tuple(map(self.of_generation, range(self.base.generation + 1)))

    def budget_steps(self) -> tuple[int, ...]:
        """Ascending steps at which a run is evaluated, its last step and the ends of phases among them."""
        last = self.steps
        powers = (0, *(2**i for i in range(last.bit_length()) if 2**i < last))
        given = powers if self.budgets == "log2" else self.budgets
        return tuple(sorted({*given, *self.phase_ends, last}))
