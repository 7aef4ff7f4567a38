"""The runs of an output folder: what each is called, its id, how far it has come.

Examples: harness/commands/runs.py.
"""

from start import start

if __name__ == "__main__":
    start("runs")
