"""Rewards and algorithms from outside: docs/tutorials/own-reward.md as pasted, and names that are taken."""

import re
import sys

import pytest

from harness.core.registry import ALGORITHM_TRAITS, REWARD_TRAITS, AlgorithmTraits, RewardTraits
from harness.run.tracker import read_metrics
from harness.train import algorithms, rewards
from harness.train.advantages import group_mean
from harness.train.algorithms import ALGORITHMS, Algorithm, register_algorithm
from harness.train.losses import clipped_policy_gradient
from harness.train.rewards import REWARDS, register_reward, true_reward
from harness.train.rollout import rollout
from tests.toys import CONFIGS, tiny, train

PAGE = CONFIGS.parent / "docs/tutorials/own-reward.md"
BLOCKS = re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.S)


def test_the_tables_and_what_configurations_are_checked_by_name_the_same():
    assert {"rloo", "grpo", "sft"} <= ALGORITHMS.keys() <= ALGORITHM_TRAITS.keys()
    assert {"true_reward", "process_reward"} <= REWARDS.keys() <= REWARD_TRAITS.keys()
    for name, algorithm in ALGORITHMS.items():
        assert (algorithm.episodes is rollout) == ALGORITHM_TRAITS[name].samples


CHOICES = {"my_reward": ["reward.name=partial_credit"], "my_algorithm": ["algo.name=below_maximum", "algo.scale=none"]}


@pytest.mark.parametrize(("module", "text"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_the_files_of_the_page_train_as_pasted(module, text, tmp_path, monkeypatch):
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = tiny(f"imports=[tests.toy_task,{module}]", *CHOICES[module], out=tmp_path)
    rows = [row for row in read_metrics(train(config)) if "train/grad_norm" in row]
    assert len(rows) == 4
    assert max(row["train/grad_norm"] for row in rows) > 0
    sys.modules.pop(module)


def test_every_file_of_the_page_is_tried():
    assert {name for name, _ in BLOCKS} == CHOICES.keys()


def test_a_name_that_is_taken_is_refused():
    other = Algorithm(group_mean, clipped_policy_gradient)
    with pytest.raises(ValueError, match="already"):
        register_algorithm("rloo", other, AlgorithmTraits())
    with pytest.raises(ValueError, match="already"):
        register_reward("random_reward", true_reward, RewardTraits())
    assert algorithms.ALGORITHMS["rloo"].advantage is not group_mean
    assert rewards.REWARDS["random_reward"] is not true_reward
