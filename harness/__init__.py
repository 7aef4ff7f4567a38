"""The RL-scaling laboratory: reinforcement learning of small language models, in studies that measure how it scales.

    from harness import Policy, analyze, load_run, load_study

    study = load_study("quickstart")                        # a study's folder, or its name in outputs/studies
    study.table, study.problems, study.metrics, study.verdicts           # polars frames
    analyze(study.table).verdicts                           # the analysis of any run table
    run = load_run("quickstart-true_reward-s0")             # .metrics, .table, .samples, .policy(step)
    Policy.load("quickstart-true_reward-s0").generate(["reverse abc="])

`harness.train` holds the algorithms, `harness.run` one run, `harness.study` many, `harness.analysis` the statistics;
the console command `rl-scaling` and scripts/ start them. The tasks are the package `envs`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.analysis.analysis import Analysis, analyze
    from harness.run.generate import Completion, Policy
    from harness.run.load import Run, load_run
    from harness.study.load import Study, load_study

__version__ = "0.2.0"
__all__ = ["Analysis", "Completion", "Policy", "Run", "Study", "analyze", "load_run", "load_study"]


def __getattr__(name: str) -> Any:
    """The public names, imported when first used: torch and polars take seconds, which `import harness` does not."""
    if name in ("Analysis", "analyze"):
        from harness.analysis import analysis as module
    elif name in ("Completion", "Policy"):
        from harness.run import generate as module
    elif name in ("Run", "load_run"):
        from harness.run import load as module
    elif name in ("Study", "load_study"):
        from harness.study import load as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
