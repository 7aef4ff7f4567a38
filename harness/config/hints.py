"""Advice for a setting that does not exist: the nearest names, and what names from other trainers are called here."""

from collections.abc import Iterable
from typing import Any

from harness.core.errors import UserError, nearest

# Names that people bring from TRL, verl, OpenRLHF and others -> what they are here.
ELSEWHERE = {
    **dict.fromkeys(
        ("top_k", "top_p", "min_p", "typical_p", "repetition_penalty"),
        "training samples by temperature alone: cutting the distribution would let the sampler draw from another one "
        "than the loss scores, which biases the importance ratio; at evaluation it is not needed either",
    ),
    **dict.fromkeys(
        ("use_vllm", "vllm_mode", "gpu_memory_utilization"),
        "the sampler is part of the harness and shares its code with the trainer, so that their log-probs agree",
    ),
    **dict.fromkeys(("num_generations", "rollout_n"), "completions of one problem are called group_size here"),
    **dict.fromkeys(
        ("total_epochs", "num_train_epochs"),
        "problems are drawn, not read in epochs: the length of a run is rl.steps",
    ),
    "learning_rate": "it is called optim.lr here",
    "max_steps": "the number of RL steps is rl.steps here; a longer one extends a finished run",
    "per_device_train_batch_size": "the batch is problems × group_size completions a step, whatever the devices",
    "gradient_accumulation_steps": "the loss does not depend on micro-batches here, so there is nothing to set",
    "report_to": "choose it by tracker=wandb or tracker=none",
    "run_name": "a run is called by study, arm and seed; name=… is what single runs are called beside these",
    "output_dir": "run folders are named by the harness, under the output folder",
}


# Sections whose type depends on their name.
_CHOSEN_BY_NAME = ("launcher", "tracker")


def unknown_setting_error(key: str, known: Iterable[str]) -> UserError:
    """The error for a setting `key` that is none of the dotted names `known`."""
    known = list(known)
    if inner := _below_study(key, known):
        fix = f"write {inner}; in the file of a study, `# @package _global_` must be the first line"
        return UserError(key, "the section study has no such setting", fix)
    near = nearest(key, (name for name in known if name != key))  # a file of the user's may have brought it in
    hint = ELSEWHERE.get(key.rsplit(".", 1)[-1].lower())
    meant = f"did you mean {' or '.join(near)}?" if near else ""
    fix = "\n  ".join(filter(None, [hint, meant])) or "see all settings with --cfg job"
    return UserError(key, "there is no such setting", fix)


def _below_study(key: str, known: Iterable[str]) -> str | None:
    """Of study.study.name or study.rl.steps what follows the first `study.`: such names come of a study's file that is
    not global. None for other names."""
    section, _, inner = key.partition(".")
    sections = {name.split(".")[0] for name in known if "." in name}
    return inner if section == "study" and inner.split(".")[0] in sections else None


def _setting(location: tuple[Any, ...]) -> str:
    """The dotted name at pydantic's location, without the members of unions: ("budgets", "tuple[int, ...]", 0) is
    budgets.0, ("launcher", "local", "jobs") is launcher.jobs."""
    parts = [str(part) for part in location if "[" not in str(part)]
    if len(parts) > 2 and parts[0] in _CHOSEN_BY_NAME:
        del parts[1]
    return ".".join(parts)


def from_validation(error: Any, known: Iterable[str] = ()) -> UserError:
    """All findings of a pydantic ValidationError as one UserError, a line each; unknown names get the nearest ones."""
    known = list(known)
    findings = []
    for finding in error.errors():
        key = _setting(finding["loc"])
        if finding["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            findings.append(str(unknown_setting_error(key, known)))
        elif finding["type"] == "missing":
            findings.append(f"{key}: this setting is missing")
        else:
            message = finding["msg"].removeprefix("Value error, ")
            findings.append(f"{key}: {message[:1].lower()}{message[1:]} (it is {finding['input']!r})")
    return UserError("\n".join(findings))
