"""Logs of other trainers -> the run table, so that their curves can be analysed as ours are.

TRL: the trainer_state.json of a checkpoint, as transformers' Trainer writes it; held-out accuracy is the mean of one
0/1 reward function over an evaluation set. verl: the file of its `file` logger (a JSON object {"step", "data"} a line)
or its console (`step:5 - name:value - …`); held-out accuracy is val-core|val-aux/<source>/<variable>/mean@k.

A log holds a mean, the table needs counts: the number of problems has to be given, and a mean that no count of correct
completions gives is an error. A log has no spread over problems, so the analysis takes the noise as binomial, and says
so.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import ConfigDict, PositiveInt
from pydantic.dataclasses import dataclass as schema

from harness.core.errors import UserError, nearest

ROUNDING = 5e-4  # verl's console gives three decimals
EXACT = 1e-5  # float32 means of many batches


@schema(frozen=True, config=ConfigDict(extra="forbid"))
class ConvertConfig:
    """One log of one run. `verified` and `unverified` name its evaluation sets (TRL: the keys of eval_dataset, or
    `eval` if it is a single one; verl: data sources); all others are left out. `problems`: set -> how many it holds, or
    one number for all. `samples`: completions of each; verl says it itself. `score`: the name of TRL's reward function
    or verl's variable (acc, reward) that is 1 for a correct completion and 0 for a wrong one.
    """

    source: Literal["trl", "verl"]
    log: str
    out: str  # .csv or .parquet
    arm: str
    seed: int
    run_id: str
    verified: tuple[str, ...]
    unverified: tuple[str, ...]
    problems: PositiveInt | Mapping[str, PositiveInt]
    samples: PositiveInt | None
    score: str
    x: Literal["step", "tokens", "flops_convention"]
    model_params: PositiveInt | None
    flops_per_token: PositiveInt  # over parameters x tokens: 8; with a reference pass 10


@dataclass(frozen=True)
class Reading:
    """One mean of a score over one evaluation set. `tokens`: of training so far; None where the log does not say. `k`:
    completions of each problem; None likewise. `error`: how far rounding may have moved the mean."""

    score: str
    step: int
    task: str
    mean: float
    tokens: float | None
    k: int | None
    error: float


def convert(config: ConvertConfig) -> list[dict[str, Any]]:
    """Rows of the run table (starred columns, step, tokens, and FLOPs where they are known). Raises UserError."""
    path = Path(config.log)
    if not path.is_file():
        raise UserError(f"log={path}", "there is no such file", "name the log of one run")
    every = list((trl_readings if config.source == "trl" else verl_readings)(path))
    readings = [r for r in every if r.score == config.score]
    if not readings:
        near = nearest(config.score, known := {r.score for r in every}) or sorted(known)
        hint = "was eval_strategy on?" if config.source == "trl" else "was trainer.test_freq set?"
        fix = f"it has: {', '.join(near)}" if known else hint
        raise UserError(f"score={config.score}", f"{path} holds no evaluation of it", fix)
    roles = {**dict.fromkeys(config.unverified, "unverified"), **dict.fromkeys(config.verified, "verified")}
    _check_roles(config, roles, {r.task for r in readings})
    return [_row(config, roles[r.task], r) for r in readings if r.task in roles]


def _check_roles(config: ConvertConfig, roles: Mapping[str, str], present: set[str]) -> None:
    if both := set(config.verified) & set(config.unverified):
        raise UserError(f"{', '.join(sorted(both))}", "cannot be both verified and unverified", "a task has one role")
    if not roles:
        raise UserError("verified=[]", "no evaluation set has a role", f"the log has {', '.join(sorted(present))}")
    for task in roles:
        if task not in present:
            near = ", ".join(nearest(task, present) or sorted(present))
            raise UserError(f"evaluation set {task}", f"the log has no {config.score} of it", f"it has: {near}")


def _row(config: ConvertConfig, role: str, reading: Reading) -> dict[str, Any]:
    k = reading.k or config.samples
    if k is None:
        raise UserError("samples", "the log has no count of completions for each problem", "give samples=…")
    n = config.problems if isinstance(config.problems, int) else config.problems.get(reading.task)
    if n is None:
        fix = f"set it to the number of problems of {reading.task}"
        raise UserError(f"problems.{reading.task}", "is not given", fix)
    tokens, size = reading.tokens, config.model_params
    flops = None if tokens is None or size is None else config.flops_per_token * size * tokens
    axes = {"step": reading.step, "tokens": tokens, "flops_convention": flops}
    if (x := axes[config.x]) is None:
        fix = "give model_params=…" if tokens is not None else "choose x=step"
        raise UserError(f"x={config.x}", "the log does not contain it", fix)
    return {
        "run_id": config.run_id, "arm": config.arm, "seed": config.seed, "task": reading.task, "role": role,
        "x": float(x), "n_problems": n, "k": k, "n_correct": count_of(reading, n * k),
        "split": "test", "model_params": size, **axes,
    }  # fmt: skip


def count_of(reading: Reading, completions: int) -> int:
    """How many of `completions` were correct. Raises UserError for a mean that no whole number of them gives."""
    where = f"step {reading.step}, {reading.task}: mean {reading.mean:.6g}"
    if not 0 <= reading.mean <= 1:
        raise UserError(where, "is not a share of correct completions", "name a reward that is 0 or 1 with score=…")
    count = round(reading.mean * completions)
    if abs(count / completions - reading.mean) > reading.error:
        reason = f"is {reading.mean * completions:.3f} of {completions} completions, not a whole number"
        fix = (
            "check problems= and samples=; the reward must be 0 or 1; batches of unequal size make a mean that is none"
        )
        raise UserError(where, reason, fix)
    return count


def trl_readings(path: Path) -> Iterator[Reading]:
    """The evaluations in a trainer_state.json. Raises UserError if it is none."""
    try:
        history = json.loads(path.read_text())["log_history"]
    except (ValueError, KeyError, TypeError) as error:
        fix = "give the trainer_state.json that lies in a checkpoint folder"
        raise UserError(f"log={path}", f"it is no trainer state ({type(error).__name__}: {error})", fix) from None
    for row in (row for row in history if "eval_reward" in row):
        # only loss and times name the evaluation set (TRL 1.16)
        (found,) = (match for key in row if (match := re.fullmatch(r"eval_(?:(.+)_)?runtime", key)))
        for key, mean in row.items():
            if match := re.fullmatch("eval_rewards/(.+)/mean", key):
                yield Reading(match[1], row["step"], found[1] or "eval", mean, row.get("eval_num_tokens"), None, EXACT)


def verl_readings(path: Path) -> Iterator[Reading]:
    """The validations in a log of verl."""
    name = re.compile(r"val-(?:core|aux)/(.+)/([^/]+)/mean@(\d+)")
    tokens: float | None = 0.0
    for step, data, error in _verl_steps(path):
        spent = data.get("perf/total_num_tokens", 0.0 if step == 0 else None)
        tokens = None if tokens is None or spent is None else tokens + spent
        for key, value in data.items():
            if match := name.fullmatch(key):
                yield Reading(match[2], step, match[1], value, tokens, int(match[3]), error)


_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"(?:^|\s)step:(\d+) - (.*)")
_NUMBER = re.compile(r"(\S+?):(?:np\.\w+\()?(-?[\d.]+(?:e[+-]?\d+)?|nan|-?inf)(\))?")


def _verl_steps(path: Path) -> Iterator[tuple[int, dict[str, float], float]]:
    """(step, metrics, rounding of its numbers), a line each; lines that are none are passed over."""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if line.startswith("{"):
            yield *_verl_record(path, number, line), EXACT
        elif found := _STEP.search(_ANSI.sub("", line)):
            parts = [_NUMBER.fullmatch(part.strip()) for part in found[2].split(" - ")]
            data = {part[1]: float(part[2]) for part in parts if part and math.isfinite(float(part[2]))}
            yield int(found[1]), data, EXACT if "np.float" in line else ROUNDING


def _verl_record(path: Path, number: int, line: str) -> tuple[int, dict[str, float]]:
    """Step and metrics of a line of verl's file logger. Raises UserError if it is none."""
    try:
        row = json.loads(line)
        return row["step"], {k: float(v) for k, v in row["data"].items() if isinstance(v, int | float)}
    except (ValueError, KeyError, AttributeError) as error:
        fix = "a line that a kill cut off can be deleted"
        raise UserError(f"{path}, line {number}", f'it is no {{"step", "data"}} object ({error})', fix) from None


def write(rows: Sequence[Mapping[str, Any]], out: str) -> Path:
    """The table as .csv or .parquet. Raises UserError for another ending."""
    path = Path(out)
    if path.suffix not in (".csv", ".parquet"):
        raise UserError(f"out={out}", f"unknown kind of file {path.suffix!r}", "use .csv or .parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.from_dicts(list(rows), infer_schema_length=None)
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path
