"""A learned reward: a model of noisy preferences between completions, the objective that cannot be checked.

It starts as the base. Its reward for a completion is the logit of one reserved id after the last token, trained before
RL on pairs of the base's own completions of a problem (Bradley and Terry 1952; Christiano et al., arXiv 1706.03741,
eq. 1) and frozen then. The gold reward, whether the answer is right, is logged as train/accuracy: where the reward
keeps rising and accuracy does not, the policy over-optimises (Gao et al., arXiv 2210.10760).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from envs.base import Correctness
from envs.mixture import Mixture
from envs.vector import TextVectorEnv
from harness.config.schema import Config
from harness.core.seeding import Key, keys, uniforms
from harness.core.types import Rollouts
from harness.train.optim import accumulate_gradients, clip_gradients, make_optimizer, set_learning_rate
from harness.train.rollout import SamplingParams, rollout
from harness.train.state import TrainState

REWARD = 6  # a reserved id, which no document contains


def predicted_reward(state: TrainState, rollouts: Rollouts) -> Tensor | None:
    """[B], by the reward model; None without one."""
    model = state.reward_model
    if model is None:
        return None
    hidden = state.backend.hidden(model, rollouts.by_seed(rollouts.ids))  # [S, R, T, width]
    last = rollouts.by_seed(rollouts.length - 1)[..., None, None]
    final = hidden.gather(2, last.expand(-1, -1, 1, hidden.shape[-1]))[:, :, 0]
    return model.logits(final)[..., REWARD].flatten()


def preferred(correct: Tensor, noise: float, label_keys: tuple[Key, ...]) -> Tensor:
    """[S, pairs] bool: whether the first of two completions, correct [S, pairs, 2], is preferred: the right one but for
    a share `noise` of the pairs, and either where both are right or both wrong."""
    difference = correct[..., 0].float() - correct[..., 1].float()
    pairs = torch.arange(correct.shape[1], device=correct.device)
    zero = torch.zeros(1, dtype=torch.int64, device=correct.device)
    u = uniforms(label_keys, pairs, zero)[..., 0]
    return u < 0.5 + difference * (0.5 - noise)


def preference_loss(rewards: Tensor, first: Tensor) -> Tensor:
    """-log σ(reward of the preferred - reward of the other), mean over pairs: rewards [S, pairs, 2], first [S,
    pairs]."""
    margin = rewards[..., 0] - rewards[..., 1]
    return -F.logsigmoid(torch.where(first, margin, -margin)).mean(1)


def train_reward_model(
    cfg: Config, state: TrainState, env: TextVectorEnv, mixture: Mixture, sampling: SamplingParams
) -> None:
    """Trains state.reward_model on the preferences of cfg.reward.model; the policy only samples."""
    model, learned = state.reward_model, cfg.reward.model
    assert model is not None
    assert learned is not None
    optimizer = make_optimizer(model.requires_grad_(True), cfg.optim)
    weights = list(model.parameters())
    set_learning_rate(optimizer, learned.lr)
    for step in range(learned.steps):
        draws = keys("preference_problems", state.seeds, step)
        problems = [p for key in draws for p in mixture.draw(cfg.rl.problems, key.generator())]
        streams = keys("preference_sampling", state.seeds, step)
        rollouts, results = rollout(state.backend, state.policy, env, problems, sampling, streams)
        pairs = (len(state.seeds), -1, 2)
        labels = keys("preference_labels", state.seeds, step)
        first = preferred((results.correctness == int(Correctness.CORRECT)).view(pairs), learned.label_noise, labels)
        rewards = predicted_reward(state, rollouts)
        assert rewards is not None
        loss = preference_loss(rewards.view(pairs), first).sum()
        accumulate_gradients(weights, [(loss, torch.autograd.grad(loss, weights))])
        clip_gradients(model, cfg.optim.grad_clip)
        optimizer.step()
    model.requires_grad_(False)
