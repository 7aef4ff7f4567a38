"""The RL step, straight down the page.

Sample G completions of each problem, verify them, compute rewards and advantages, take optimizer steps. Against the
algorithms as published there is no KL to a reference unless configured, and by default one update a step: the policy
that is updated is then the one that sampled, so the update is REINFORCE with the algorithm's baseline. Where an
algorithm has no reference or no critic, that is None, and so is everything computed from it. examples/minimal_rl.py is
the same step in one file, for one seed and one device.
"""

from envs.mixture import Mixture
from envs.vector import TextVectorEnv
from harness.config.schema import Config
from harness.train.algorithms import ALGORITHMS
from harness.train.batch import score_rollouts, training_batches
from harness.train.critic import token_values, value_metrics
from harness.train.curriculum import add_solved, curriculum_metrics, draw_problems, update_success_rates
from harness.train.distributed import sharded_rollout
from harness.train.metrics import mean_metrics, rollout_metrics, spent_after
from harness.train.rewards import compute_rewards, reward_inputs
from harness.train.rollout import training_sampling
from harness.train.state import StepReport, Stopwatch, TrainState, behavior_policy, check_finite, reference_logprobs
from harness.train.update import update


def rl_step(cfg: Config, state: TrainState, env: TextVectorEnv, mixture: Mixture) -> StepReport:
    """One step: rollouts, rewards, advantages, updates. Raises NonFinite before an update that would not be finite."""
    step, watch, algorithm = state.step, Stopwatch(), ALGORITHMS[cfg.algo.name]
    sampling = training_sampling(cfg, mixture)
    with watch("rollout"):
        problems, probabilities = draw_problems(cfg, state, mixture)
        sampler = behavior_policy(state, cfg.rl.off_policy_steps)
        episodes = (state.backend, sampler, env, problems, sampling, state.keys("sampling"))
        rollouts, results = sharded_rollout(algorithm.episodes, *episodes)
    # Else a broken policy, whose samples are all wrong, would go on unnoticed: every group has zero advantage.
    check_finite(step, {"sampler_logprobs": rollouts.sampler_logprobs}, rollouts)
    with watch("update"):
        ref_logprobs = reference_logprobs(state, rollouts, sampling.temperature)
        inputs = reward_inputs(state, rollouts, results, problems, sampling.thinking)
        rewards = compute_rewards(inputs, ref_logprobs, cfg, sampling.max_new_tokens)
        values = token_values(state, rollouts)
        scored = score_rollouts(algorithm.advantage, rewards, values, rollouts, cfg.algo, ref_logprobs)
        limit, shuffle = sampling.max_new_tokens, state.keys("minibatch")
        batches = list(training_batches(scored, cfg.algo, cfg.optim, limit, shuffle))
        updates = [update(state, batch, cfg) for batch in batches]

    state.success = update_success_rates(state.success, mixture, problems, results)
    state.solved = add_solved(state.solved, problems, results, cfg.tasks.retire_at, step)
    metrics = mean_metrics(updates) | rollout_metrics(inputs, rewards, scored.zero_advantage) | value_metrics(scored)
    metrics |= curriculum_metrics(cfg, mixture, probabilities, state.solved)
    state.spent = spent_after(cfg, state, rollouts, batches, sum(watch.seconds.values()))
    return StepReport(step, metrics, watch.seconds, rollouts, results, rewards)
