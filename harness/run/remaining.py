"""What a job still takes, from what lies in its run's folder: the one answer that launch, plan and status share."""

from dataclasses import dataclass

from harness.config.identity import evaluation_id
from harness.core.files import damaged_copy, is_intact
from harness.launch.jobs import Job
from harness.run.checkpoint import saved_steps, step_folder
from harness.run.folder import RunFolder, folder_of
from harness.run.tracker import STEP, check_metrics, read_metrics


@dataclass(frozen=True)
class RemainingWork:
    """Steps start + 1 … until are to be trained, none where they are equal; budgets `evaluate` have no scores.
    missing_weights: those of them that the run has passed without keeping weights; beside the run, it is trained again
    to them from the checkpoint of retrain_from. base_weights: whether those of a base are still to be saved. damaged:
    whether the run lacks a file that was set aside."""

    start: int
    until: int
    evaluate: tuple[int, ...] = ()
    missing_weights: tuple[int, ...] = ()
    retrain_from: int = 0
    base_weights: bool = False
    damaged: bool = False

    @property
    def is_empty(self) -> bool:
        return self.start == self.until and not (self.evaluate or self.base_weights or self.damaged)

    @property
    def only_mends(self) -> bool:
        """Whether nothing is to be trained, and a damaged file to be made again."""
        return self.damaged and self.start == self.until and not (self.base_weights or self.missing_weights)

    @property
    def steps(self) -> int:
        """All steps to be trained, those trained again too."""
        return self.until - self.start + (max(self.missing_weights) - self.retrain_from if self.missing_weights else 0)


def reached_step(folder: RunFolder) -> int:
    """The last step of the run so far. A longer job goes on from it, a shorter one trains nothing."""
    return max([folder.status().get("step", 0), *saved_steps(folder.checkpoints)])


def _logged_step(folder: RunFolder) -> int:
    """The last step in the run's metrics: beyond its newest checkpoint where its process was killed. One that goes on
    from there comes at least as far, so that no row is lost."""
    return int(max((row[STEP] for row in read_metrics(folder.path)), default=0))


def remaining_work(job: Job) -> RemainingWork:
    """What the job still takes. Nothing that its run has is ever trained or measured anew in the run's own folder; of a
    run that rl.stop_at has ended, nothing beyond its end is asked."""
    folder = folder_of(job)
    checkpoints, damaged = saved_steps(folder.checkpoints), folder.lacks_damaged_file()
    check_metrics(folder.path, folder.status())
    newest = max(checkpoints, default=0)
    if job.is_base:
        kept = step_folder(folder.budgets, job.until).is_dir()
        return RemainingWork(job.until if kept else newest, job.until, base_weights=not kept, damaged=damaged)
    which, until = evaluation_id(job.config), folder.within_end(job.until)
    evaluate = tuple(step for step in job.budgets if step <= until and not is_intact(folder.evaluation(which, step)))
    damaged |= any(damaged_copy(folder.evaluation(which, step)).exists() for step in evaluate)
    if job.config.objective == "frozen":
        return RemainingWork(job.until, job.until, evaluate, damaged=damaged)
    start = until if reached_step(folder) >= until else newest
    until = max(until, _logged_step(folder)) if start < until else until
    passed = [step for step in evaluate if start == until or step <= start > 0]
    missing = tuple(step for step in passed if not step_folder(folder.budgets, step).is_dir())
    usable = [step for step in (*checkpoints, *saved_steps(folder.replay)) if missing and step <= missing[0]]
    return RemainingWork(start, until, evaluate, missing, max(usable, default=0), damaged=damaged)
