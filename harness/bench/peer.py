"""TRL's GRPOTrainer and Hugging Face's generate on the same weights, task and batch, as works to be timed.

The trainer keeps its own loop, in a thread of its own, and is let go one step at a time: what is timed is all that it
does from one step's end to the next.
"""

import copy
import importlib.util
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.bench.ours import Shape, config_of
from harness.bench.task import draw, is_right
from harness.config import Config
from harness.errors import UserError
from harness.policy.export import write_folder
from harness.policy.transformer import Transformer

STEPS = 10_000  # more than are ever asked for


def require_trl() -> None:
    """Raises UserError if the extra `bench` is not installed."""
    missing = [name for name in ("trl", "transformers", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"this part of the bench needs {', '.join(missing)}",
            "it times this project beside TRL, which is not installed",
            "install it with: pip install -e '.[bench]'   (or measure part=growth, which needs no peer)",
        )


def exported(policy: Transformer) -> tuple[Any, Any]:
    """The policy as a stock Hugging Face model, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    weights = {name: weight[:1].detach() for name, weight in policy.named_parameters()}
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder), weights, policy.config, {})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return model, AutoTokenizer.from_pretrained(folder, padding_side="left")


def generate(policy: Transformer, ids: torch.Tensor, group_size: int, tokens: int) -> Callable[[], Any]:
    """Hugging Face's sampling of `tokens` for each of group_size copies of the prompts `ids` [1, P, T]."""
    model, _ = exported(policy)
    rows = ids[0].repeat_interleave(group_size, dim=0)
    settings = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_new_tokens": tokens, "min_new_tokens": tokens}

    @torch.no_grad()
    def work() -> None:
        model.generate(rows, attention_mask=torch.ones_like(rows), pad_token_id=0, **settings)

    return work


def grpo_trainer(
    policy: Transformer,
    config: Config,
    data: dict[str, list[Any]],
    reward: Callable[..., list[float]],
    out: Path,
    callbacks: Sequence[Any] = (),
    **settings: Any,
) -> Any:
    """TRL's trainer of a copy of the policy, one update a step, with the sizes and the optimizer of `config`."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = exported(copy.deepcopy(policy))
    arguments = GRPOConfig(
        output_dir=str(out),
        per_device_train_batch_size=config.rl.problems * config.rl.group_size,
        num_generations=config.rl.group_size,
        loss_type="grpo",
        beta=0.0,
        learning_rate=config.optim.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.schedule.warmup,
        adam_beta1=config.optim.beta1,
        adam_beta2=config.optim.beta2,
        weight_decay=config.optim.weight_decay,
        max_grad_norm=config.optim.grad_clip,
        gradient_checkpointing=False,  # TRL's default, which would cost it a second forward
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        **settings,
    )
    return GRPOTrainer(
        model, reward, arguments, Dataset.from_dict(data), processing_class=tokenizer, callbacks=list(callbacks)
    )


class Peer:
    """A GRPOTrainer whose `step` takes one optimizer step on problems x group_size completions."""

    def __init__(self, shape: Shape, policy: Transformer, out: Path, bf16: bool, compile: bool):
        self._turn, self._done = threading.Semaphore(0), threading.Semaphore(0)
        self._stop, self._error = False, None
        self._trainer = self._made(shape, policy, out, bf16, compile)
        self._thread = threading.Thread(target=self._train, args=(torch.get_num_threads(),), daemon=True)
        self._thread.start()
        self._done.acquire()

    def step(self) -> None:
        self._turn.release()
        self._done.acquire()
        if self._error:
            raise self._error

    def close(self) -> None:
        self._stop = True
        self._turn.release()
        self._thread.join()

    def _train(self, threads: int) -> None:
        torch.set_num_threads(threads)  # a new thread starts with its own count
        try:
            self._trainer.train()
        except Exception as error:  # it is raised where the step was asked for
            self._error = error
            self._done.release()

    def _made(self, shape: Shape, policy: Transformer, out: Path, bf16: bool, compile: bool) -> Any:
        from transformers import TrainerCallback

        config = config_of(shape)
        (task,), (letters,) = config.tasks.verified, config.tasks.difficulties
        name, rng = task.removeprefix("bench."), np.random.default_rng(0)
        prompts = [draw(name, rng, letters).prompt for _ in range(64 * shape.problems)]

        def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
            return [float(is_right(name, p, c)) for p, c in zip(prompts, completions)]

        peer = self

        class OneAtATime(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == 0:
                    peer._wait(control)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                peer._wait(control)

        more = {"max_steps": STEPS, "bf16": bf16, "torch_compile": compile, "max_completion_length": shape.tokens}
        return grpo_trainer(policy, config, {"prompt": prompts}, reward, out, [OneAtATime()], **more)

    def _wait(self, control: Any) -> None:
        self._done.release()
        self._turn.acquire()
        control.should_training_stop = self._stop
