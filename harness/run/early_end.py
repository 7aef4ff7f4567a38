"""`rl.stop_at`: whether a run ends before rl.steps.

The step at which it ends follows from the run's identity, but for `seconds`: accuracy is measured on problems, at steps
and with random streams that no setting of budgets or evaluation changes, and again where a run goes on from a
checkpoint. So neither an interruption nor a sequence of launches moves it.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from envs.registry import select
from harness.config.schema import Config
from harness.config.schema.training import StopAt
from harness.evaluate import Cell, build_suite, cell_row, evaluate, with_thinking_limits
from harness.run.evaluations import pooled_accuracy
from harness.train.distributed import all_gather, world_size
from harness.train.state import TrainState

PROBLEMS = 32  # of each verified task and difficulty, one completion each; part of every identity with stop_at

# Why a run ends after the step that it has come to; "" where it goes on.
EarlyEnd = Callable[[TrainState], str]


def never(state: TrainState) -> str:
    """Runs to rl.steps."""
    return ""


def early_end(config: Config) -> EarlyEnd:
    """As rl.stop_at gives it; alike on all ranks."""
    stop_at = config.rl.stop_at
    if stop_at == StopAt():
        return never
    suite = () if stop_at.accuracy is None else validation_suite(config)

    def ends(state: TrainState) -> str:
        own = _reason(config, suite, state)
        return own if world_size() == 1 else all_gather(own)[0]

    return ends


def _reason(config: Config, suite: tuple[Cell, ...], state: TrainState) -> str:
    stop_at, seconds = config.rl.stop_at, state.spent[0].seconds
    if stop_at.seconds is not None and seconds >= stop_at.seconds:
        return f"it has trained for {seconds:.1f} s (rl.stop_at.seconds={stop_at.seconds:g})"
    if stop_at.accuracy is not None and is_checked(state.step):
        accuracy = validation_accuracy(config, state, suite)
        if accuracy >= stop_at.accuracy:
            return f"validation accuracy is {accuracy:.3f} (rl.stop_at.accuracy={stop_at.accuracy:g})"
    return ""


def is_checked(step: int) -> bool:
    """Whether accuracy is measured after this step: the rounded powers of the root of 2, 1, 2, 3, 4, 6, 8, 11, 16 …"""
    return step > 0 and step == round(2 ** (round(2 * math.log2(step)) / 2))


def validation_suite(config: Config) -> tuple[Cell, ...]:
    """Problems of the verified tasks, of the difficulties that are trained, at the thinking budget of training."""
    settings = replace(config.evaluation, split="validation", problems=PROBLEMS, seed=0)
    cells = build_suite(select(config.tasks.verified), config.tasks.difficulties, settings)
    return with_thinking_limits(cells, (config.thinking,))


def validation_accuracy(config: Config, state: TrainState, suite: tuple[Cell, ...]) -> float:
    """Of the verified tasks, each counting the same, sampled as in training."""
    settings = replace(config.evaluation, samples=1, ks=(1,), temperature=config.sampling.temperature)
    (results,) = evaluate(state.backend, state.policy, suite, settings, state.keys("evaluation"))
    return pooled_accuracy(config, [cell_row(result, settings.ks) for result in results])["verified"]
