"""The RL step, straight down the page.

Sample G completions of each problem, check them, turn verdicts into advantages, take gradient steps. Against the
algorithms as published there is no KL to a reference unless asked for, and by default one update a step: the policy
that is updated is then the one that sampled, so the update is REINFORCE with the chosen baseline. Where an algorithm
has no reference or no critic, that is None, and so is all that follows from it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from envs.base import Verdict
from envs.mixture import Mixture
from envs.vector import TextVectorEnv
from harness.config.schema import Config
from harness.core.flops import Spent
from harness.core.seeding import keys
from harness.core.types import Batch, Checked, Credit, RewardInputs, Rollouts, StopReason
from harness.policy.backends import cuda_graphs as graphs
from harness.policy.backends import native
from harness.policy.logprobs import completion_logits, score_completions, token_entropy, token_logprobs
from harness.policy.transformer import Transformer, parameter_count
from harness.train import distributed
from harness.train.advantages import silent_groups, whole_return
from harness.train.algorithms import ALGORITHMS, flops_per_token
from harness.train.batch import Judged, training_batches
from harness.train.critic import token_returns, token_values, value_losses, value_metrics
from harness.train.curriculum import odds_metrics, remember, retire, retired_metrics, untried
from harness.train.helpers import Each, helpers, parts_of, passes_of
from harness.train.losses import LOSS_METRICS, LossInputs, regularisers
from harness.train.optim import added_up, clip_gradients, learning_rate_factor, set_learning_rate
from harness.train.problems import Ahead, Draw, problems_of
from harness.train.process_reward import right_steps, steps_metrics
from harness.train.reference import lagged_policy, reference_logprobs
from harness.train.reward_model import reward_scores
from harness.train.rewards import REWARDS, kl_in_reward, shaped
from harness.train.rollout import Sampling
from harness.train.state import OnStep, Sampled, StepReport, Stopwatch, TrainState, check_finite

TOKENS_OF_A_PART = 512  # at least, where an update is shared out among threads


def sampling_of(cfg: Config, mixture: Mixture) -> Sampling:
    """How training samples: an answer's budget is the longest one's length, plus the stop token."""
    longest = max(task.longest([difficulty])[1] for task, difficulty, _ in mixture.cells()) + 1
    turns = max(task.max_turns for task in mixture.tasks)
    return Sampling(
        cfg.rl.group_size,
        cfg.sampling.max_new_tokens or longest,
        cfg.sampling.temperature,
        turns,
        cfg.thinking,
        form=cfg.reward.name == "format_reward",
    )


def losses(policy: Transformer, part: Batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and metrics of a micro-batch, sums over its tokens, [S] each."""
    temperature = cfg.sampling.temperature
    given = (policy, part.prompts, part.prompt_length, part.completions, part.loss_mask)
    if cfg.algo.entropy_bonus:
        logits = completion_logits(*given, part.fixed)
        logprobs, entropy = token_logprobs(logits, part.completions, temperature), token_entropy(logits, temperature)
    else:
        logprobs, entropy = score_completions(*given, temperature, part.fixed), None
    inputs = LossInputs(
        logprobs,
        part.sampler_logprobs,
        part.advantages,
        part.loss_mask,
        part.weight,
        part.ref_logprobs,
        entropy,
    )
    policy_loss, metrics = ALGORITHMS[cfg.algo.name].loss(inputs, cfg.algo)
    more, told = regularisers(inputs, cfg.algo)
    return policy_loss + more, metrics | told


def micro_batches(batch: Batch, policy: Transformer, size: int) -> list[Batch]:
    """This rank's groups of a minibatch in parts of `size` groups, or, where it is 0, in as many as are worth it."""
    mine = distributed.share(batch.prompts.shape[1])
    if not mine:
        return []
    own, count = batch.groups(mine.start, mine.stop), len(mine)
    tokens = own.prompts[0].numel() + own.completions[0].numel()
    if size:
        parts = [range(i, min(i + size, count)) for i in range(0, count, size)]
    elif native.serves(policy):
        parts = passes_of(count, tokens, policy)
    else:
        parts = parts_of(count, tokens, tokens // TOKENS_OF_A_PART, policy)
    return [own.groups(part.start, part.stop) for part in parts]


def gradients(
    state: TrainState, part: Batch, cfg: Config, weights: Sequence[Tensor]
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """What a micro-batch adds to the metrics, [S] each, and to the gradients of `weights`, of all that learns."""
    denominator, per_token = part.denominator.clamp(min=1), part.loss_tokens.clamp(min=1)
    loss, metrics = losses(state.policy, part, cfg)
    critic_loss, more = value_losses(state.critic, part, cfg.algo)
    told = {name: value / per_token for name, value in (metrics | more).items()}
    whole = ((loss + critic_loss) / denominator).sum()
    return {"loss": loss.detach() / denominator, **told}, torch.autograd.grad(whole, weights)


def update(
    state: TrainState, batch: Batch, cfg: Config, lr: float, each: Each = map, sampled: Tensor | None = None
) -> dict[str, Tensor]:
    """One optimizer step on a minibatch; gradients add up over micro-batches, which `each` shares out, under one
    denominator. `sampled`: log-probabilities of all that was drawn; no weight changes unless they are numbers too."""
    learners = state.learners
    weights = list(learners.parameters())

    def work(part: Batch) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        if not part.fixed:
            return gradients(state, part, cfg, weights)
        given = {name: x for name, x in vars(part).items() if isinstance(x, Tensor)}
        name = ("update", cfg.algo, cfg.sampling.temperature)
        return graphs.recorded(
            state.policy, name, lambda **given: gradients(state, Batch(**given, fixed=True), cfg, weights), given
        )

    totals = {name: torch.zeros_like(batch.denominator) for name in ("loss", *LOSS_METRICS)}
    for told in added_up(weights, each(work, micro_batches(batch, state.policy, cfg.optim.micro_batch))):
        totals |= {name: totals.get(name, 0) + value for name, value in told.items()}
    totals = distributed.add_up(learners, totals)
    # Without the first a broken policy, which draws wrong answers alone, would go on in silence: no group has signal.
    check_finite(state, {"sampler_logprobs": sampled, **totals}, vars(batch))
    norms = {name: clip_gradients(model, cfg.optim.grad_clip) for name, model in learners.items()}
    totals["grad_norm"] = norms["policy"]
    set_learning_rate(state.optimizer, lr)
    state.optimizer.step()
    return totals


def rl_step(
    cfg: Config,
    state: TrainState,
    env: TextVectorEnv,
    mixture: Mixture,
    each: Each = map,
    draw: Draw = problems_of,
) -> StepReport:
    """Rollouts, rewards, advantages, update."""
    step, watch, algorithm = state.step, Stopwatch(), ALGORITHMS[cfg.algo.name]
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, step, cfg.rl.steps)
    sampling = sampling_of(cfg, mixture)

    with watch("rollout"):
        if step == 0:
            state.success = untried(mixture, len(state.seeds), cfg.tasks.target_success)
        problems, chances = draw(cfg, state, mixture)
        sampler = lagged_policy(state, cfg.rl.off_policy_steps)
        draws = keys("sampling", state.seeds, step)
        rollouts, checked = distributed.played(algorithm.episodes, sampler, env, problems, sampling, draws, each)
    with watch("update"):
        reference = reference_logprobs(state.reference, rollouts, sampling.temperature)
        scores = None if state.reward_model is None else reward_scores(state.reward_model, rollouts)
        steps = right_steps(rollouts, problems, sampling.thinking)
        judge = RewardInputs(rollouts, checked, problems, keys("reward", state.seeds, step), scores, steps)
        credit = REWARDS[cfg.reward.name](judge)
        credit = shaped(credit, rollouts, cfg.reward, sampling.room)
        credit = kl_in_reward(credit, rollouts, reference, cfg.algo)
        values = token_values(state.critic, rollouts)
        advantages = algorithm.advantage(credit, values, rollouts, cfg.algo)
        returns = token_returns(credit, values, rollouts, cfg.algo)
        silent = silent_groups(algorithm.advantage, credit, rollouts, cfg.algo, values, advantages)
        scorable = ~credit.base.isnan()
        keep = ~silent | cfg.algo.needs_all_groups
        fixed = graphs.serves(state.policy) and sampling.max_turns == distributed.ranks() == 1
        room = sampling.room if fixed and algorithm.sampled else None
        judged = Judged(rollouts, advantages, scorable, keep, reference, values, returns, room)
        trained, told = torch.zeros(len(state.seeds), dtype=torch.int64, device=silent.device), []
        shuffle = keys("minibatch", state.seeds, step)
        for batch in training_batches(judged, cfg.algo, cfg.optim, sampling.room, shuffle):
            told.append(update(state, batch, cfg, lr, each, rollouts.sampler_logprobs))
            trained = trained + batch.computed

    updates = {name: torch.stack([each[name] for each in told]).mean(0) for name in told[0]} if told[1:] else told[0]
    metrics = updates | step_metrics(rollouts, checked, credit, silent)
    metrics["lr"] = torch.full((len(state.seeds),), lr)
    state.success = remember(state.success, mixture, problems, checked)
    state.retired = retire(state.retired, problems, checked, cfg.tasks.retire_at, step)
    metrics |= odds_metrics(mixture, chances) | retired_metrics(state.retired, cfg.tasks.retire_at)
    metrics |= value_metrics(values, returns, rollouts, scorable) | steps_metrics(steps, rollouts.seeds)
    state.spent = spent_after(cfg, state, rollouts, trained, sum(watch.seconds.values()))
    return StepReport(step, metrics, watch.seconds, Sampled(rollouts, checked, credit))


def spent_after(
    cfg: Config, state: TrainState, rollouts: Rollouts, trained: Tensor, seconds: float
) -> tuple[Spent, ...]:
    """What each seed has spent, this step included; `trained` [S] tokens went through an update."""
    n, s = parameter_count(state.policy.config, embedding=False), len(state.seeds)
    drawn, updated = torch.stack((rollouts.length.view(s, -1).sum(1), trained * len(state.learners))).tolist()
    passes = 1 + sum(model is not None for model in (state.reference, state.reward_model, state.critic))
    return tuple(
        spent.rl_step(n, rollouts.rows // s, t, t * passes, u, flops_per_token(cfg), seconds / s)
        for spent, t, u in zip(state.spent, drawn, updated)
    )


def step_metrics(rollouts: Rollouts, checked: Checked, credit: Credit, silent: Tensor) -> dict[str, Tensor]:
    """What happened in a step, [S] each; silent [S, P]. Entropy is estimated by the mean of -log p of drawn tokens."""
    by_seed = lambda x: x.float().unflatten(0, (rollouts.seeds, -1)).flatten(1)  # noqa: E731
    drawn = rollouts.loss_mask.sum(1)
    return {
        "reward_mean": by_seed(whole_return(credit)).nanmean(1),
        "accuracy": by_seed(checked.verdict == int(Verdict.CORRECT)).mean(1),
        "unscorable": by_seed(checked.verdict == int(Verdict.UNSCORABLE)).mean(1),
        "no_signal_groups": silent.float().mean(1),
        "completion_length_mean": by_seed(drawn).mean(1),
        "truncated": by_seed(rollouts.stop_reason == int(StopReason.LENGTH)).mean(1),
        "entropy": -by_seed(rollouts.sampler_logprobs.sum(1)).sum(1) / by_seed(drawn).sum(1).clamp(min=1),
    }


def train_rl(
    cfg: Config,
    state: TrainState,
    env: TextVectorEnv,
    mixture: Mixture,
    until: int,
    on_step: OnStep,
    threads: int = 1,
) -> None:
    """Steps from where `state` stands to `until`, telling `on_step` after each."""
    with helpers(threads, state.policy) as each, ThreadPoolExecutor(1) as pool:
        # A CPU has no cores to spare for the next step's problems.
        draw = Ahead(pool) if graphs.serves(state.policy) else problems_of
        while state.step < until:
            on_step(state, rl_step(cfg, state, env, mixture, each, draw))
