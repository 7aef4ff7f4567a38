"""A study: arms x seeds x budgets, its run table, its verdicts and its report. Examples: harness/commands/study.py."""

from start import start

if __name__ == "__main__":
    start("study")
