"""Scores of a stack of runs at a budget: measured once, kept in each run's folder, summed up for people."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from envs.registry import select
from harness.config.identity import code_version, evaluation_id, run_id
from harness.config.roles import ROLES, roles_of
from harness.config.schema import Config
from harness.core.accuracy import accuracy
from harness.core.files import read_json, write_hashed_json, write_jsonl
from harness.core.flops import Spent
from harness.core.groups import grouped
from harness.core.samples import samples_path
from harness.core.seeding import keys
from harness.evaluate import Cell, CellResult, build_suite, cell_row, evaluate, problem_rows, with_thinking_limits
from harness.launch.jobs import Job
from harness.run.folder import RunFolder, folder_of, run_folder
from harness.train.pretrain import document_loss, held_out_documents
from harness.train.state import TrainState

Key = TypeVar("Key")
VERIFIED_ACCURACY = "eval/verified/mean@1"


def evaluation_suite(config: Config) -> tuple[Cell, ...]:
    asked, tasks = config.tasks, (*select(config.tasks.verified), *select(config.tasks.unverified))
    cells = build_suite(tasks, asked.difficulties, config.evaluation)
    longer = build_suite(tasks, asked.held_out_difficulties, config.evaluation) if asked.held_out_difficulties else ()
    return with_thinking_limits(cells + longer, config.evaluated_thinking)


def evaluate_budget(
    members: Sequence[Job], suite: tuple[Cell, ...], state: TrainState, spent: Sequence[Spent]
) -> list[list[dict[str, Any]]]:
    """Each member's rows of the run table at this budget; from its file if the evaluation was made before."""
    paths = [folder_of(m).evaluation(evaluation_id(m.config), spent[0].step) for m in members]
    known = [read_json(path) for path in paths]
    if not all(known):
        config = members[0].config.evaluation
        drawn = keys("evaluation", tuple(m.config.seed for m in members), spent[0].step)
        loss = held_out_loss(members[0].config, state)
        for i, scores in enumerate(evaluate(state.backend, state.policy, suite, config, drawn)):
            rows = [cell_row(score, config.ks) | loss[i] for score in scores]
            known[i] = known[i] or _write_scores(members[i], scores, rows, spent[i], paths[i], state.backend.name)
    return [content["rows"] for content in known]


def held_out_loss(config: Config, state: TrainState) -> list[dict[str, float]]:
    """For each member {"loss": mean next-token loss on evaluation.documents validation documents of the base's corpus};
    {} where none are asked for."""
    if not (n := config.evaluation.documents):
        return [{} for _ in state.seeds]
    documents = held_out_documents(config.base, n, config.evaluation.seed, config.model.context)
    return [{"loss": loss} for loss in document_loss(state.backend, state.policy, documents).tolist()]


def _write_scores(
    member: Job, scores: list[CellResult], rows: list[dict[str, Any]], spent: Spent, path: Path, backend: str
) -> dict[str, Any]:
    problems = [row for score in scores for row in problem_rows(score)]
    samples = [
        {"task": s.cell.task, "difficulty": s.cell.difficulty, "setting": s.cell.setting,
         "prompt": s.cell.problems[0].prompt, "answer": s.cell.problems[0].answer, "completions": list(s.sample)}
        for s in scores
    ]  # fmt: skip
    kept = samples_path(folder_of(member).path, spent.step)
    if not kept.is_file():  # those of the first evaluation stay
        write_jsonl(kept, samples)
    made_by = {"code_version": code_version(), "backend": backend}
    content = {**made_by, "spent": asdict(spent), "rows": rows, "problems": problems}
    write_hashed_json(path, content)
    return content


def kept_evaluations(config: Config) -> dict[int, dict[str, Any]]:
    """Step -> what a run of this configuration has measured at its budgets, and where rl.stop_at ended it."""
    folder, which = run_folder(config.out, run_id(config)), evaluation_id(config)
    steps = sorted({*config.budget_steps(), *([] if folder.end is None else [folder.end])})
    contents = {step: read_json(folder.evaluation(which, step)) for step in steps}
    return {step: content for step, content in contents.items() if content is not None}


def eval_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """eval/{task}/{mean@1, pass@k, majority@k}: means over a task's cells, each counting the same; and, where a task
    was scored in several settings, eval/{task}/{setting}/… of each."""
    settings = Counter(task for task, _ in {(row["task"], row["setting"]) for row in rows})
    values: list[tuple[str, float]] = []
    for row in rows:
        own = {"mean@1": accuracy(row)}
        own |= {name.replace("_at_", "@"): row[name] for name in row if name.startswith(("pass_at_", "majority_at_"))}
        in_setting = [f"{row['task']}/{row['setting']}"] if settings[row["task"]] > 1 else []
        values += [(f"eval/{name}/{measure}", own[measure]) for name in (row["task"], *in_setting) for measure in own]
    return mean_by(values)


def mean_by(values: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    """Of (key, value) the mean of each key's values."""
    by_key = grouped(values, lambda pair: pair[0])
    return {key: sum(value for _, value in own) / len(own) for key, own in by_key.items()}


def pooled_accuracy(config: Config, rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Role -> mean@1 over its tasks, each counting the same; a role without tasks is absent."""
    role_and_task = roles_of(config)
    tasks = mean_by((role_and_task(row["task"], row["difficulty"]), accuracy(row)) for row in rows)
    pooled = mean_by((role, mean) for (role, _), mean in tasks.items())
    return {role: pooled[role] for role in ROLES if role in pooled}


def budget_metrics(config: Config, folder: RunFolder, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """eval_metrics; eval/{verified, unverified}/mean@1 over all tasks of a role; eval/transfer_gain, that of the
    unverified ones minus what it was before RL, where that was measured; and eval/loss, on held-out documents."""
    pooled = pooled_accuracy(config, rows)
    metrics = eval_metrics(rows) | {f"eval/{role}/mean@1": value for role, value in pooled.items()}
    metrics |= {"eval/loss": rows[0]["loss"]} if "loss" in rows[0] else {}
    before = read_json(folder.evaluation(evaluation_id(config), 0))
    if before and "unverified" in pooled:
        metrics["eval/transfer_gain"] = pooled["unverified"] - pooled_accuracy(config, before["rows"])["unverified"]
    return metrics
