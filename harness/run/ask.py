"""What policies answer to prompts, at several steps of a run beside one another, as tables for people."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.config.run_names import find_runs
from harness.core.errors import UserError
from harness.run.generate import Completion, Policy


@dataclass(frozen=True)
class AskOptions:
    """See configs/ask.yaml."""

    run: str | None
    out: str
    steps: list[int] | None
    samples: int
    show: int
    temperature: float
    max_tokens: int | None
    thinking: int | None
    seed: int
    device: str


def load_policies(options: AskOptions) -> list[Policy]:
    """Policies of the runs asked for, each at the steps asked for. Raises UserError."""
    if options.run is None:
        fix = "run=quickstart-true_reward-s0; `rl-scaling runs` lists the runs"
        raise UserError("run=", "a run must be named, by folder, name or pattern", fix)
    steps = options.steps or [0, None]
    loaded = {}
    for folder in find_runs([options.run], options.out):
        for step in steps if not folder.name.startswith(("base-", "frozen-")) else [None]:
            policy = Policy.load(folder, step, options.out, options.device)
            loaded[policy.name, policy.step] = policy
    return list(loaded.values())


def ask(prompts: Sequence[str], options: AskOptions, console: Console) -> None:
    """Prints what the policies answer to each prompt; without prompts to each line that is typed. Raises UserError."""
    policies = load_policies(options)
    console.print("runs: " + ", ".join(dict.fromkeys(policy.name for policy in policies)), markup=False)
    if prompts:
        for prompt in prompts:
            console.print(answers(prompt, policies, options))
        return
    examples = "   ".join(policies[0].example_prompts()[:4])
    console.print(f"one prompt a line, such as: {examples}\nan empty line ends", markup=False)
    for line in _lines():
        try:
            console.print(answers(line, policies, options))
        except UserError as error:
            console.print(f"error: {error}", markup=False)


def _lines() -> Iterator[str]:
    """Lines typed, or piped in, up to an empty one."""
    with suppress(EOFError):
        while line := input("prompt> " if sys.stdin.isatty() else ""):
            yield line


def answers(prompt: str, policies: Sequence[Policy], options: AskOptions) -> Group:
    """A table of the answers given most often to a prompt, and of all others together: a column for each policy with
    its probability, or, of policies that think, with the share of samples; then the scratchpad of the last policy's
    most frequent answer."""
    drawn = [
        policy.generate(
            prompt, options.samples, options.temperature, options.max_tokens, options.thinking, options.seed
        )[0]
        for policy in policies
    ]
    counts, thinks = [_counts(completions) for completions in drawn], policies[-1].config.has_scratchpad
    known = {_shown(completion): completion for completions in drawn for completion in completions}
    rows = list(dict.fromkeys(text for count in reversed(counts) for text, _ in count.most_common(options.show)))
    if thinks:
        columns = [[count[text] / options.samples for text in rows] for count in counts]
    else:
        asked = [known[text] for text in rows]
        columns = [policy.probability(prompt, asked, options.temperature) for policy in policies]
    table = Table(title=escape(prompt), title_justify="left", title_style="bold")
    table.add_column("share of samples" if thinks else "probability of", overflow="fold")
    one_run = len({policy.name for policy in policies}) == 1
    for policy in policies:
        table.add_column(f"step {policy.step}" if one_run else f"{policy.name}\nstep {policy.step}", justify="right")
    for text, *values in sorted(zip(rows, *columns), key=lambda row: -row[-1]):
        table.add_row(Text(text), *(f"{value:.3f}" for value in values))
    table.add_row("other completions", *(f"{max(0.0, 1 - sum(values)):.3f}" for values in columns), style="dim")
    return Group(table, *(_scratchpad(drawn[-1]) if thinks else ()))


def _shown(completion: Completion) -> str:
    """The answer in quotes; an ellipsis where it was cut off at the token limit."""
    return repr(completion.text) + ("" if completion.finished else "…")


def _counts(completions: Sequence[Completion]) -> Counter[str]:
    """How often each answer was drawn."""
    counts: Counter[str] = Counter()
    for completion in completions:
        counts[_shown(completion)] += completion.count
    return counts


def _scratchpad(completions: Sequence[Completion]) -> list[Text]:
    """The thinking that came before the most frequent answer, most often."""
    answer = _counts(completions).most_common(1)[0][0]
    thought = next(completion for completion in completions if _shown(completion) == answer)
    lines = (thought.thinking or "(none)").splitlines()
    return [Text(f"thinking before {answer}:"), *(Text(f"  {line}", style="dim") for line in lines)]
