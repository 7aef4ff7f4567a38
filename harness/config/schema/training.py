"""A policy and its training: the sections `model`, `base`, `rl`, `sampling`, `algo`, `reward`, `optim`, `schedule`."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass as schema

FORBID_EXTRA = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]


@schema(frozen=True, config=FORBID_EXTRA)
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
    def width_multiplier(self) -> float:
        """Width over muP's base width; 1 without muP."""
        return 1.0 if self.base_width is None else self.width / self.base_width


@schema(frozen=True, config=FORBID_EXTRA)
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


@schema(frozen=True, config=FORBID_EXTRA)
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


@schema(frozen=True, config=FORBID_EXTRA)
class CorpusOptions:
    """What the corpus does otherwise for some tasks: their `weight` among the tasks of their context, and the shares of
    their documents, null where they are those of the whole corpus."""

    weight: NonNegativeFloat = 1.0
    label_noise: Share | None = None
    scratchpad_share: Share | None = None
    calls_share: Share | None = None


@schema(frozen=True, config=FORBID_EXTRA)
class SyntheticConfig:
    """Documents written by an earlier base. The base of `generation` g is a fresh policy, pretrained on prompts of the
    corpus with completions that the base of generation g - 1 samples at temperature 1; generation 0 is pretrained on
    the corpus. filter: which of them are kept, all or those that the task's verifier takes for right. filter_error: the
    share of right ones that it takes for wrong, and of wrong ones that it takes for right. original_share: share of
    documents that come from the corpus, in every generation."""

    generation: PositiveInt
    filter: Literal["none", "verifier"] = "none"
    filter_error: Share = 0.0
    original_share: Share = 0.0


@schema(frozen=True, config=FORBID_EXTRA)
class BaseConfig:
    """How the base is pretrained. `contexts` are the weights of contexts in the corpus: exposure. `label_noise`: share
    of documents that give another problem's answer. `scratchpad_share`: share of documents that show the steps in a
    scratchpad before the answer. `calls_share`: share of the documents of tasks of several turns that show the turns;
    the others answer at once. `folder`: an exported policy (scripts/export.py) to take instead; the rest of this
    section then counts for nothing, but for the corpus of continued pretraining, and for `scratchpad_share`, which
    determines whether the policy writes scratchpads. `task_options`: options of some tasks, by name or pattern; the
    first entry that stands for a task counts. `synthetic`: documents written by the base of the generation before,
    those that `filter` (none, or verifier) keeps: one that errs on a share `filter_error`, and where it keeps none, all
    of them; beside a share `original_share` of the corpus. null: the corpus alone."""

    folder: str | None
    seed: NonNegativeInt
    steps: PositiveInt
    documents: PositiveInt
    tasks: tuple[str, ...]
    contexts: Mapping[str, NonNegativeFloat]
    difficulties: tuple[PositiveInt, ...]
    difficulty_decay: PositiveFloat
    label_noise: Share
    optim: OptimConfig
    schedule: ScheduleConfig
    scratchpad_share: Share = 0.0
    calls_share: Share = 1.0
    task_options: Mapping[str, CorpusOptions] = Field(default_factory=dict)
    synthetic: SyntheticConfig | None = None

    @property
    def generation(self) -> int:
        """How many bases came before it, each pretrained on documents of the one before; 0 for the corpus alone."""
        return 0 if self.synthetic is None else self.synthetic.generation

    def options(self, task: str) -> CorpusOptions:
        """Those of a task, by its name: no share is null."""
        own = next((one for entry, one in self.task_options.items() if fnmatchcase(task, entry)), CorpusOptions())
        noise = self.label_noise if own.label_noise is None else own.label_noise
        steps = self.scratchpad_share if own.scratchpad_share is None else own.scratchpad_share
        calls = self.calls_share if own.calls_share is None else own.calls_share
        return CorpusOptions(own.weight, noise, steps, calls)

    @property
    def has_scratchpad(self) -> bool:
        """Whether any document may show steps: ANSWER then stands before the answer in all of them."""
        return self.scratchpad_share > 0 or any(one.scratchpad_share for one in self.task_options.values())


@schema(frozen=True, config=FORBID_EXTRA)
class StopAt:
    """What ends a run before rl.steps, for good, whichever comes first: this accuracy on validation problems of the
    verified tasks (harness/run/early_end.py), or so many seconds of training, evaluations not counted. null: never."""

    accuracy: Annotated[float, Field(gt=0, le=1)] | None = None
    seconds: PositiveFloat | None = None


@schema(frozen=True, config=FORBID_EXTRA)
class RLConfig:
    """One step samples problems x group_size completions; a run takes `steps`, or fewer by `stop_at`. The weights that
    sample are `off_policy_steps` updates older than those that are trained, as where sampling and training overlap."""

    steps: PositiveInt
    problems: PositiveInt
    group_size: PositiveInt
    off_policy_steps: NonNegativeInt = 0
    stop_at: StopAt = StopAt()


@schema(frozen=True, config=FORBID_EXTRA)
class SamplingConfig:
    """max_new_tokens of an answer, its stop token included; null: the longest answer of the tasks, plus one. thinking:
    the tokens that a policy with a scratchpad may draw before its answer; then ANSWER is forced, and takes no
    gradient."""

    temperature: PositiveFloat
    max_new_tokens: PositiveInt | None
    thinking: NonNegativeInt = 0


@schema(frozen=True, config=FORBID_EXTRA)
class CriticConfig:
    """The critic of algorithms with values. discount: factor per token on later rewards. gae_lambda: lambda of GAE.
    lr_factor: its learning rate over the policy's. value_clip: largest change of a value in a step that still has a
    gradient (null: no limit)."""

    discount: Share
    gae_lambda: Share
    lr_factor: PositiveFloat
    value_clip: PositiveFloat | None


@schema(frozen=True, config=FORBID_EXTRA)
class AlgoConfig:
    """A registered algorithm (harness/core/registry.py) and its numbers.

    scale: which standard deviation advantages are divided by. aggregation: the loss is a mean over tokens, over samples
    of their token means, over prompts of their token means, or (constant) over samples of their token sums over the
    longest completion allowed. denominator: of all scorable rollouts, or of those kept, whose advantage is not zero.
    The ratio is clipped to [1 - clip_low, 1 + clip_high]. kl: divergence from the base, in the reward (k1) or as a term
    of the loss (k2, k3). Together with an entropy bonus these act on every group, so that none is left out. A critic
    learns from every group too.
    """

    name: str
    scale: Literal["none", "group", "batch"]
    aggregation: Literal["token", "sample", "prompt", "constant"]
    denominator: Literal["all", "kept"]
    clip_low: PositiveFloat
    clip_high: PositiveFloat
    kl: Literal["none", "k1", "k2", "k3"]
    kl_coefficient: NonNegativeFloat
    entropy_bonus: NonNegativeFloat
    critic: CriticConfig | None = None

    @property
    def needs_all_groups(self) -> bool:
        """Whether groups whose advantages are all zero still take part in an update."""
        return self.kl != "none" or self.entropy_bonus > 0 or self.critic is not None


@schema(frozen=True, config=FORBID_EXTRA)
class RewardModelConfig:
    """A reward model's training: `steps` updates at a constant `lr` on the pairs of one RL step's completions each, of
    which a share `label_noise` is labelled the wrong way round."""

    steps: PositiveInt
    lr: PositiveFloat
    label_noise: Annotated[float, Field(ge=0, le=0.5)]


@schema(frozen=True, config=FORBID_EXTRA)
class RewardConfig:
    """A registered reward (harness/core/registry.py) and its shaping: length_penalty times the share of the token limit
    that a completion took, and truncation_penalty for one that reached the limit, are subtracted. model: the training
    of learned_reward's model."""

    name: str
    length_penalty: NonNegativeFloat
    truncation_penalty: NonNegativeFloat
    model: RewardModelConfig | None = None
