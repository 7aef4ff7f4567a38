"""The bases whose documents the next generation is pretrained on."""

from collections.abc import Sequence

from harness.config.identity import base_id
from harness.launch.jobs import Job
from harness.policy.transformer import Transformer
from harness.run.checkpoint import load_weights
from harness.run.folder import run_folder
from harness.train.state import TrainState
from harness.train.synthetic import Teacher


def load_teacher(members: Sequence[Job], state: TrainState) -> Teacher | None:
    """Each member's base of the generation before, one by one, as their filters keep unlike numbers of documents; None
    for bases that are pretrained on the corpus."""
    config = members[0].config
    if config.base.generation == 0:
        return None
    policies = {}
    for member in members:
        before = member.config.of_generation(config.base.generation - 1)
        folder = run_folder(before.out, base_id(before))
        policy = Transformer(config.model, 1, config.precision).to(state.policy.embedding.device)
        load_weights([folder.budgets], policy, before.base.steps)
        policies[before.base.seed] = policy.requires_grad_(False)
    return Teacher(policies, state.backend)
