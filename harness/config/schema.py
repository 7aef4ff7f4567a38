"""The configuration: YAML owns every default, this file owns the types, harness/config/validate.py the advice.

After Hydra has composed the YAML the container is parsed here, once, into frozen dataclasses. Which part of it names a
run is decided in harness/config/identity.py.
"""

import importlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter
from pydantic.dataclasses import dataclass as schema

from harness.core.errors import UserError
from harness.launch.jobs import LauncherConfig
from harness.run.tracker import TrackerConfig

_forbid = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]


@schema(frozen=True, config=_forbid)
class ModelConfig:
    """Shape of a policy. width = heads x head width (even, for RoPE); context in tokens.

    base_width: with muP, the width at which initialisation and learning rate are those of the configuration; they are
    scaled at every other width, so that one learning rate serves all (arXiv 2203.03466). Width then grows by heads of
    the same width. null: no scaling.
    """

    name: str
    layers: PositiveInt
    width: PositiveInt
    heads: PositiveInt
    mlp: PositiveInt
    context: PositiveInt
    norm: Literal["rmsnorm", "layernorm", "none"]
    norm_position: Literal["pre", "post"]
    qk_norm: bool
    rope_base: PositiveFloat
    init_std: PositiveFloat
    base_width: PositiveInt | None
    vocab: Literal[112]

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def has_final_norm(self) -> bool:
        """Whether the stream is normalised before the head; after the blocks of a post-norm policy it already is."""
        return self.norm != "none" and self.norm_position == "pre"

    @property
    def wider(self) -> float:
        """Width over muP's base width; 1 without muP."""
        return 1.0 if self.base_width is None else self.width / self.base_width


@schema(frozen=True, config=_forbid)
class OptimConfig:
    """AdamW (arXiv 1711.05101), or Muon for the matrices of the blocks and AdamW for the rest; beta1 is Muon's momentum
    too. grad_clip bounds each seed's gradient norm. minibatches: optimizer steps of one pass over a batch of
    rollouts; epochs: passes. micro_batch: groups of one forward pass (0: all); it changes memory, and the gradient by
    no more than rounding."""

    name: Literal["adamw", "muon"]
    lr: NonNegativeFloat
    beta1: Share
    beta2: Share
    eps: PositiveFloat
    weight_decay: NonNegativeFloat
    grad_clip: PositiveFloat
    minibatches: PositiveInt
    epochs: PositiveInt
    micro_batch: NonNegativeInt


@schema(frozen=True, config=_forbid)
class ScheduleConfig:
    """Warm-up, stable, then over the last decay_share of the steps a decay to 0: linear (wsd, and linear, whose share
    is 1) or as half a cosine wave; constant has none."""

    name: Literal["constant", "wsd", "linear", "cosine"]
    warmup: NonNegativeInt
    decay_share: Share

    @property
    def has_horizon(self) -> bool:
        """Whether the number of steps changes the learning rate before the last step, and so the weights."""
        return self.name != "constant"


@schema(frozen=True, config=_forbid)
class TasksConfig:
    """Roles of a study, as names or patterns such as "*.symbolic". Training draws from `verified` alone: each task with
    the weight of the first entry that stands for it (`weights`, one an entry; none: all alike), difficulty d of it with
    weight difficulty_decay ** (d - 1). With a target_success, more where the policy succeeds about so often. A
    problem whose pass rate in a step reached retire_at is not drawn again. `longer`: difficulties of the verified tasks
    that are never trained, only evaluated, as unverified tasks of their own."""

    verified: tuple[str, ...]
    unverified: tuple[str, ...]
    difficulties: tuple[PositiveInt, ...]
    longer: tuple[PositiveInt, ...]
    difficulty_decay: PositiveFloat
    weights: tuple[PositiveFloat, ...]
    target_success: Annotated[float, Field(gt=0, lt=1)] | None
    retire_at: Annotated[float, Field(gt=0, le=1)] | None


@schema(frozen=True, config=_forbid)
class BaseConfig:
    """How the base is pretrained. `contexts` are the weights of contexts in the corpus: exposure. `worked`: share of
    documents that show the steps in a scratchpad before the answer. `folder`: an exported policy (scripts/export.py) to
    take instead; the rest of this section then counts for nothing, but for the corpus of continued pretraining, and for
    `worked`, which says whether the policy thinks."""

    folder: str | None
    seed: NonNegativeInt
    steps: PositiveInt
    documents: PositiveInt
    tasks: tuple[str, ...]
    contexts: Mapping[str, NonNegativeFloat]
    difficulties: tuple[PositiveInt, ...]
    difficulty_decay: PositiveFloat
    wrong_answers: Share
    worked: Share
    optim: OptimConfig
    schedule: ScheduleConfig


@schema(frozen=True, config=_forbid)
class RLSizes:
    """One step samples problems x group_size completions; a run takes `steps`. The weights that sample are `lag` steps
    behind those that are trained, as where sampling and training overlap."""

    steps: PositiveInt
    problems: PositiveInt
    group_size: PositiveInt
    lag: NonNegativeInt


@schema(frozen=True, config=_forbid)
class SamplingConfig:
    """max_tokens of an answer, its stop token included; null: the longest answer of the tasks, plus one. thinking: the
    tokens that a policy which thinks may draw before its answer; then ANSWER is forced, and takes no gradient."""

    temperature: PositiveFloat
    max_tokens: PositiveInt | None
    thinking: NonNegativeInt


@schema(frozen=True, config=_forbid)
class CriticConfig:
    """What values are of and how they are learned: rewards t tokens later count discount^t, estimates over t tokens
    gae_lambda^t; the critic learns lr_factor times as fast as the policy; value_clip bounds how far from its value
    before the step a token's value is still pulled (null: no bound)."""

    discount: Share
    gae_lambda: Share
    lr_factor: PositiveFloat
    value_clip: PositiveFloat | None


@schema(frozen=True, config=_forbid)
class AlgoConfig:
    """An entry of the algorithm table (harness/train/algorithms.py) and its numbers.

    scale: which standard deviation advantages are divided by. aggregation: the loss is a mean over tokens, over samples
    of their token means, over prompts of their token means, or (constant) over samples of their token sums over the
    longest completion allowed. denominator: of all scorable rollouts, or of those kept, whose advantage is not zero.
    The ratio is clipped to [1 - clip_low, 1 + clip_high]. kl: divergence from the base, in the reward (k1) or as a term
    of the loss (k2, k3). Together with an entropy bonus these act on every group, so that none is left out. A critic
    learns from every group too.
    """

    name: Literal[
        "reinforce",
        "reinforce_pp",
        "rloo",
        "grpo",
        "dr_grpo",
        "dapo",
        "cispo",
        "gspo",
        "ppo",
        "expert_iteration",
        "sft",
    ]
    scale: Literal["none", "group", "batch"]
    aggregation: Literal["token", "sample", "prompt", "constant"]
    denominator: Literal["all", "kept"]
    clip_low: PositiveFloat
    clip_high: PositiveFloat
    kl: Literal["none", "k1", "k2", "k3"]
    kl_coefficient: NonNegativeFloat
    entropy_bonus: NonNegativeFloat
    critic: CriticConfig | None

    @property
    def acts_on_silence(self) -> bool:
        """Whether a group without signal still has something to say."""
        return self.kl != "none" or self.entropy_bonus > 0 or self.critic is not None


@schema(frozen=True, config=_forbid)
class LearnedConfig:
    """A reward model's training: `steps` updates at a constant `lr` on the pairs of one RL step's completions each, of
    which a share `noise` is labelled the wrong way round."""

    steps: PositiveInt
    lr: PositiveFloat
    noise: Annotated[float, Field(ge=0, le=0.5)]


@schema(frozen=True, config=_forbid)
class RewardConfig:
    """Which reward, and its shaping: length_penalty times the share of the token limit that a completion took, and
    truncation_penalty for one that reached the limit, are taken off."""

    name: Literal[
        "true_reward",
        "random_reward",
        "shuffled_within_group",
        "format_reward",
        "length_reward",
        "learned_reward",
        "process_reward",
    ]
    length_penalty: NonNegativeFloat
    truncation_penalty: NonNegativeFloat
    learned: LearnedConfig | None


@schema(frozen=True, config=_forbid)
class EvaluationConfig:
    """`problems` of each task and difficulty, `samples` completions of each; pass@k at each of `ks`. A policy that
    thinks is scored at each of the `thinking` budgets, a setting of its own in the run table."""

    split: Literal["train", "validation", "test"]
    problems: PositiveInt
    samples: PositiveInt
    ks: tuple[PositiveInt, ...]
    thinking: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    temperature: PositiveFloat
    seed: NonNegativeInt
    rows: PositiveInt  # at once: memory, never results


@schema(frozen=True, config=_forbid)
class SaveConfig:
    """Checkpoints to resume from every `seconds`, the last `keep` of them; weights at budgets are always kept."""

    seconds: PositiveFloat
    keep: PositiveInt


@schema(frozen=True, config=_forbid)
class Config:
    """All of one run. `budgets`: steps at which it is evaluated, or "log2" for 0, 1, 2, 4 … rl.steps."""

    objective: Literal["rl", "continued_pretraining", "frozen"]
    seed: NonNegativeInt
    model: ModelConfig
    base: BaseConfig
    tasks: TasksConfig
    rl: RLSizes
    sampling: SamplingConfig
    algo: AlgoConfig
    reward: RewardConfig
    optim: OptimConfig
    schedule: ScheduleConfig
    evaluation: EvaluationConfig
    budgets: tuple[NonNegativeInt, ...] | Literal["log2"]
    precision: Literal["fp32", "bf16"]
    device: Literal["auto", "cpu", "cuda"]
    backend: Literal["auto", "eager", "native", "cuda_graphs"]
    save: SaveConfig
    tracker: TrackerConfig
    launcher: LauncherConfig
    imports: tuple[str, ...]
    out: str
    plan: bool

    def __post_init__(self) -> None:
        from harness.config.validate import check

        for module in self.imports:
            _import(module)
        check(self)

    @property
    def thinks(self) -> bool:
        """Whether the policy knows scratchpads, so that ANSWER stands before each of its answers."""
        return self.base.worked > 0

    @property
    def thinking(self) -> int | None:
        """The thinking budget of training; None for a policy that does not think."""
        return self.sampling.thinking if self.thinks else None

    @property
    def evaluated_thinking(self) -> tuple[int | None, ...]:
        """Those of the evaluation; (None,) for a policy that does not think."""
        return self.evaluation.thinking if self.thinks else (None,)

    def budget_steps(self) -> tuple[int, ...]:
        """Ascending steps at which a run is evaluated, its last step among them."""
        last = self.rl.steps
        if self.budgets == "log2":
            return (0, *(2**i for i in range(last.bit_length()) if 2**i < last), last)
        return tuple(sorted({b for b in self.budgets if b <= last} | {last}))


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"imports={module}", f"no module is called {error.name!r}", "install it, or add its folder to PYTHONPATH"
        ) from None


def plain(container: Any) -> dict[str, Any]:
    """A composed Hydra configuration as plain, resolved Python."""
    from omegaconf import OmegaConf

    return cast(dict[str, Any], OmegaConf.to_container(container, resolve=True))


def parse(container: Mapping[str, Any]) -> Config:
    """A composed, resolved container as a Config. Raises UserError or pydantic's ValidationError."""
    return TypeAdapter(Config).validate_python(container)


def dump(config: Config) -> dict[str, Any]:
    """The plain container: parse(dump(config)) == config."""
    return TypeAdapter(Config).dump_python(config, mode="json")
