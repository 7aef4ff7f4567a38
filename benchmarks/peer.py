"""TRL's GRPOTrainer and Hugging Face's generate on the same weights, task and batch, as works to be timed."""

import copy
import importlib.util
import multiprocessing
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ours import Shape, config_of
from benchmarks.task import draw, is_right
from benchmarks.timing import Work, synchronise
from harness.config.schema import Config
from harness.core.errors import UserError
from harness.core.seeding import keys
from harness.launch.worker import keep_freed_memory
from harness.policy.export import write_folder
from harness.policy.transformer import Transformer

STEPS = 10_000  # more than are ever asked for
PEERS = ("TRL, fp32", "TRL, fp32, compiled", "TRL, bf16", "TRL, bf16, compiled")


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


def generate(
    policy: Transformer, ids: torch.Tensor, group_size: int, tokens: int, precision: str = "fp32"
) -> Callable[[], Any]:
    """Hugging Face's sampling of up to `tokens` for each of group_size copies of the prompts `ids` [1, P, T]."""
    model, _ = exported(policy)
    model = model.bfloat16() if precision == "bf16" else model
    rows = ids[0].repeat_interleave(group_size, dim=0)
    settings = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_new_tokens": tokens}

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
        use_cpu=config.device == "cpu",
        **settings,
    )
    return GRPOTrainer(
        model, reward, arguments, Dataset.from_dict(data), processing_class=tokenizer, callbacks=list(callbacks)
    )


class Peer:
    """A GRPOTrainer in a process of its own, whose `step` takes one optimizer step on problems x group_size
    completions. It keeps its own loop, and is let go one step at a time: what is timed is all that it does from one
    step's end to the next."""

    def __init__(self, shape: Shape, bf16: bool, compile: bool, device: str = "cpu"):
        processes = multiprocessing.get_context("spawn")
        self._pipe, theirs = processes.Pipe()
        settings = {"bf16": bf16, "torch_compile": compile}
        self._process = processes.Process(
            target=_serve, args=(theirs, shape, device, torch.get_num_threads(), settings)
        )
        self._process.start()
        theirs.close()
        self._wait()

    def step(self) -> None:
        self._pipe.send("step")
        self._wait()

    def close(self) -> None:
        self._pipe.close()
        self._process.join()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def _wait(self) -> None:
        """Raises RuntimeError, with its traceback if it left one, if the process is gone."""
        try:
            failure = self._pipe.recv()
        except EOFError:
            failure = "killed"
        if failure:
            self._process.join()
            raise RuntimeError(f"TRL's process ended:\n{failure[-3000:]}")


def peers(stack: ExitStack, shape: Shape, names: Sequence[str], device: str = "cpu") -> dict[str, Work]:
    """TRL's steps, those of PEERS with these names; their processes end with the stack. Raises UserError without TRL,
    RuntimeError where it fails."""
    require_trl()
    works = {}
    for name in names:
        peer = Peer(shape, "bf16" in name, "compiled" in name, device)
        stack.callback(peer.close)
        works[name] = peer.step
    return works


def _serve(pipe: Connection, shape: Shape, device: str, threads: int, settings: dict[str, Any]) -> None:
    """Takes a step for each message until the pipe is closed; sends "" after each, or the traceback of its end."""
    torch.set_num_threads(threads)
    try:
        _train_step_by_step(pipe, shape, device, settings)
    except Exception:
        pipe.send(traceback.format_exc())


def _train_step_by_step(pipe: Connection, shape: Shape, device: str, settings: dict[str, Any]) -> None:
    from transformers import TrainerCallback

    keep_freed_memory()
    config = config_of(shape, device=device)
    (task,), (letters,) = config.tasks.verified, config.tasks.difficulties
    name, rng = task.removeprefix("bench."), np.random.default_rng(0)
    prompts = [draw(name, rng, letters).prompt for _ in range(64 * shape.problems)]

    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return [float(is_right(name, p, c)) for p, c in zip(prompts, completions)]

    class OneAtATime(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 0:
                self.on_step_end(args, state, control)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            synchronise(device)
            try:
                pipe.send("")
                pipe.recv()
            except (EOFError, OSError):  # closed
                control.should_training_stop = True

    more = settings | {"max_steps": STEPS, "max_completion_length": shape.tokens}
    with tempfile.TemporaryDirectory() as out:
        policy = Transformer(config.model).initialise(keys("init", (config.seed,), 0))
        grpo_trainer(policy, config, {"prompt": prompts}, reward, Path(out), [OneAtATime()], **more).train()
