"""From a run table to verdicts, a transfer report and report.html. Examples:

python scripts/analyze.py table=runs.csv out=DIR
python scripts/analyze.py law=pretraining table=losses.csv out=DIR
python scripts/analyze.py runs='[outputs/a,outputs/b]' out=DIR
python scripts/analyze.py action=before_after table=docs/results/learns    # or breadth, calibrate, simulate, speed
"""

import sys

try:
    from harness.commands.analyze import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
