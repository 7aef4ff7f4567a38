"""What to answer to a setting that does not exist: the nearest names, and a word on names from other trainers."""

from collections.abc import Iterable
from typing import Any

from harness.core.errors import UserError, nearest

_SAMPLING = (
    "training samples by temperature alone: cutting the distribution would let the sampler draw from another one "
    "than the loss scores, which biases the importance ratio; at evaluation it is not needed either"
)
_LOCAL_MODEL = "the sampler is part of the harness and shares its code with the trainer, so that their log-probs agree"

# Names that people bring from TRL, verl, OpenRLHF and others -> what to say of them here.
ELSEWHERE = {
    "top_k": _SAMPLING,
    "top_p": _SAMPLING,
    "min_p": _SAMPLING,
    "typical_p": _SAMPLING,
    "repetition_penalty": _SAMPLING,
    "use_vllm": _LOCAL_MODEL,
    "vllm_mode": _LOCAL_MODEL,
    "gpu_memory_utilization": _LOCAL_MODEL,
    "num_generations": "completions of one problem are called group_size here",
    "rollout_n": "completions of one problem are called group_size here",
    "learning_rate": "it is called optim.lr here",
    "max_steps": "the number of RL steps is rl.steps here; a longer one extends a finished run",
    "total_epochs": "problems are drawn, not read in epochs: the length of a run is rl.steps",
    "num_train_epochs": "problems are drawn, not read in epochs: the length of a run is rl.steps",
    "per_device_train_batch_size": "the batch is problems × group_size completions a step, whatever the devices",
    "gradient_accumulation_steps": "the loss does not depend on micro-batches here, so there is nothing to set",
    "report_to": "choose it by tracker=wandb or tracker=none",
    "run_name": "runs are named by a hash of their configuration",
    "output_dir": "run folders are named by the harness, under the output folder",
}


def unknown_setting(key: str, known: Iterable[str]) -> UserError:
    """The error for a setting `key` that is none of the dotted names `known`."""
    near = nearest(key, known)
    word = ELSEWHERE.get(key.rsplit(".", 1)[-1].lower())
    meant = f"did you mean {' or '.join(near)}?" if near else ""
    fix = "\n  ".join(filter(None, [word, meant])) or "see all settings with --cfg job"
    return UserError(key, "there is no such setting", fix)


def from_validation(error: Any, known: Iterable[str] = ()) -> UserError:
    """All findings of a pydantic ValidationError as one UserError, a line each; unknown names get the nearest ones."""
    known = list(known)
    findings = []
    for finding in error.errors():
        key = ".".join(str(part) for part in finding["loc"])
        if finding["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            findings.append(str(unknown_setting(key, known)))
        else:
            message = finding["msg"].removeprefix("Value error, ")
            findings.append(f"{key}: {message[:1].lower()}{message[1:]} (it is {finding['input']!r})")
    return UserError("\n".join(findings))
