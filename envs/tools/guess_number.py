"""Find a number by guessing: every completion is a guess, every reply says higher or lower."""

import re
from collections.abc import Sequence

from envs.base import Correctness, Problem, Reply
from envs.contexts import Content, Family
from envs.draw import Rng, integer


def draw(rng: Rng, difficulty: int) -> Content:
    low = integer(rng, 0, 900)
    high = low + 2 ** (difficulty + 1) - 2
    number = integer(rng, low, high + 1)
    slots = {"low": low, "high": high, "number": number, "turns": difficulty + 1}
    return Content(f"guess_number:{low},{high},{number}", str(number), slots)


def respond(problem: Problem, completions: Sequence[str]) -> Reply:
    """CORRECT for the number; WRONG for what is no guess, and after as many guesses as halving needs."""
    guess = completions[-1]
    if guess == problem.answer:
        return Reply(correctness=Correctness.CORRECT)
    if not re.fullmatch(r"0|[1-9][0-9]{0,3}", guess) or len(completions) >= problem.data["turns"]:
        return Reply(correctness=Correctness.WRONG)
    return Reply("higher" if int(guess) < problem.data["number"] else "lower")


def worked(problem: Problem) -> str:
    """Halving: always the middle of what is left."""
    low, high, number = (problem.data[name] for name in ("low", "high", "number"))
    guesses = []
    while not guesses or guesses[-1] != number:
        guesses.append((low + high) // 2)
        low, high = (guesses[-1] + 1, high) if guesses[-1] < number else (low, guesses[-1] - 1)
    return "\n".join(map(str, guesses))


TASKS = Family(
    "guess_number",
    draw,
    symbolic="guess {low}-{high}:",
    worded=(
        "I think of a number from {low} to {high}. Guess.",
        "Find my number between {low} and {high}.",
        "It lies from {low} up to {high}. Which is it?",
    ),
    widths=lambda d: {"low": 3, "high": 4 if d > 4 else 3, "answer": 4 if d > 4 else 3},
    difficulty_meaning="guesses that halving needs at most, minus one; so many are allowed",
    answer_format=r"0|[1-9][0-9]*",
    worked=worked,
    respond=respond,
    max_turns=11,
    max_reply=6,
).tasks
