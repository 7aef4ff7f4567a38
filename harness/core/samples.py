"""Completions to read: what the policy wrote to the same problems before RL and after it.

Each evaluation of a run leaves samples/step-*.jsonl in its folder: the first problem of every task, difficulty and
setting with all completions of it. The problem is the same at every budget.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.files import set_aside

SAMPLES = "samples"  # folder of a run, one file a budget
COLUMNS = ("step", "task", "difficulty", "setting", "prompt", "answer", "before RL", "completion", "times")
Place = tuple[str, int, str]  # task, difficulty, setting


@dataclass(frozen=True)
class Sample:
    """A problem, and the completions that it got at one budget."""

    task: str
    difficulty: int
    setting: str
    prompt: str
    answer: str
    completions: tuple[str, ...]

    @property
    def place(self) -> Place:
        return self.task, self.difficulty, self.setting

    def most_common(self, most: int = 1) -> list[tuple[str, int]]:
        """(completion, how often it was sampled), most frequent first."""
        return Counter(self.completions).most_common(most)


def samples_path(run_dir: Path, step: int) -> Path:
    return Path(run_dir) / SAMPLES / f"step-{step:08d}.jsonl"


def read_samples(path: Path) -> list[Sample]:
    """The samples of a budget; [] if there is no such file, or it is damaged: then it is set aside."""
    if not path.is_file():
        return []
    try:
        return [_sample(json.loads(line)) for line in path.read_text().splitlines()]
    except (ValueError, KeyError, TypeError) as error:
        set_aside(path, f"{type(error).__name__}: {error}")
        return []


def _sample(fields: Mapping[str, Any]) -> Sample:
    completions, setting = tuple(fields["completions"]), fields.get("setting", "")
    return Sample(fields["task"], fields["difficulty"], setting, fields["prompt"], fields["answer"], completions)


def sample_rows(run_dir: Path, step: int, most: int = 3) -> list[list[Any]]:
    """Rows of COLUMNS at a budget: the `most` frequent completions of each problem, with how often each was sampled,
    beside the most frequent one before RL ("" where that was not measured)."""
    before = {sample.place: sample for sample in read_samples(samples_path(run_dir, 0))}
    rows = []
    for sample in read_samples(samples_path(run_dir, step)):
        first = before[sample.place].most_common()[0][0] if sample.place in before else ""
        about = [step, *sample.place, sample.prompt, sample.answer, first]
        rows += [[*about, text, times] for text, times in sample.most_common(most)]
    return rows


def before_and_after(run_dir: Path, step: int | None = None) -> Iterator[tuple[Sample, Sample]]:
    """Pairs of the same problem before RL and at a budget, by default the last one sampled."""
    last = max((Path(run_dir) / SAMPLES).glob("step-*.jsonl"), default=samples_path(run_dir, 0))
    path = last if step is None else samples_path(run_dir, step)
    after = {} if path == samples_path(run_dir, 0) else {sample.place: sample for sample in read_samples(path)}
    for sample in read_samples(samples_path(run_dir, 0)):
        if sample.place in after:
            yield sample, after[sample.place]
