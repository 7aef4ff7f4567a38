"""Several processes train one run as one process would."""

import multiprocessing
import os
import socket
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from envs.vector import TextVectorEnv
from harness.policy.backends.eager import EagerBackend
from harness.run.mixture import training_mixture
from harness.train.critic import add_critic
from harness.train.distributed import process_group
from harness.train.rl import rl_step
from tests.run.test_job import rows
from tests.test_scripts import script
from tests.toys import TINY, tiny, toy_state, train

STEPS = 20


def trained(settings, seeds):
    """(loss and accuracy of each step, weights) of a toy run in float64."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    config = tiny(*settings)
    state, mixture = toy_state(*seeds, optim=config.optim), training_mixture(config)
    add_critic(state, config.algo, config.optim)
    env = TextVectorEnv(len(seeds) * config.rl.problems * config.rl.group_size, mixture.tasks[0])
    state.backend = EagerBackend()  # in float64
    reports = [rl_step(config, state, env, mixture) for _ in range(STEPS)]
    metrics = [{k: v.tolist() for k, v in report.metrics.items()} for report in reports]
    return metrics, [w.detach().flatten().tolist() for w in state.policy.parameters()]


def one_rank(rank, port, settings, seeds):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with process_group():
        return trained(settings, seeds)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def in_new_processes(function, *arguments):
    """What the function returns for each tuple of arguments, in a process each, all at once."""
    with ProcessPoolExecutor(len(arguments), multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(function, *zip(*arguments), timeout=120))


CHOICES = [
    (("rl.problems=5",), (0,)),
    (("algo=dapo", "reward=random_reward", "optim.minibatches=2", "optim.epochs=2", "optim.micro_batch=1"), (0,)),
    (("algo=ppo", "algo.critic.value_clip=0.1", "optim.minibatches=2", "rl.problems=5"), (0, 1)),
    (("algo=reinforce_pp", "algo.kl=k3", "algo.kl_coefficient=0.1", "rl.off_policy_steps=1"), (0, 1)),
    (("base.scratchpad_share=0.5", "sampling.thinking=6", "reward=process_reward"), (0,)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "seeds"), CHOICES, ids=[" ".join(settings) for settings, _ in CHOICES])
def test_two_processes_train_as_one_does(settings, seeds):
    """Twenty steps, shares that are not equal, minibatches that leave a rank without groups, stacked seeds."""
    port = free_port()
    (metrics, weights), other = in_new_processes(one_rank, *((rank, port, settings, seeds) for rank in (0, 1)))
    (one,) = in_new_processes(trained, (settings, seeds))
    assert (metrics, weights) == other
    assert len(metrics) == STEPS
    assert len({row["loss"][0] for row in metrics}) > STEPS / 2  # it is no curve of zeros
    for mine, expected in zip(metrics, one[0], strict=True):
        for name in expected:
            assert mine[name] == pytest.approx(expected[name], abs=1e-5, nan_ok=True), name
    for mine, expected in zip(weights, one[1], strict=True):
        assert mine == pytest.approx(expected, abs=1e-5)


SETTINGS = [setting for setting in TINY if not setting.startswith(("tracker", "rl.steps"))]


def by_torchrun(*arguments, cwd):
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    return script("train", *SETTINGS, "tracker=none", f"out={cwd}", *arguments, cwd=cwd, run_by=torchrun)


@pytest.mark.slow
def test_a_run_moves_between_one_process_and_several_and_only_one_of_them_prints(tmp_path):
    """Four steps on two processes, four more on one, four more on two, against twelve on one."""
    first = by_torchrun("rl.steps=4", cwd=tmp_path)
    assert first.returncode == 0, first.stderr + first.stdout
    assert first.stdout.count("run folders:") == 1
    train(tiny("rl.steps=8", out=tmp_path))
    last = by_torchrun("rl.steps=12", cwd=tmp_path)
    assert last.returncode == 0, last.stderr + last.stdout
    whole = rows(train(tiny("rl.steps=12", out=tmp_path / "whole")))
    (folder,) = (tmp_path / "runs").glob("rl-*")
    moved = rows(folder)
    assert [row["compute/step"] for row in moved] == [row["compute/step"] for row in whole]
    for mine, expected in zip(moved, whole, strict=True):
        assert mine == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert not (folder / "run.lock").exists()
