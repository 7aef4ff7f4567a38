"""A study: arms x seeds x budgets, its run table, its verdicts and its report. Examples:

python scripts/study.py study=quickstart
python scripts/study.py study=quickstart plan=true
python scripts/study.py study=quickstart status=true
python scripts/study.py study=quickstart study.seeds=[0,1,2,3,4,5,6,7]
python scripts/study.py study=quickstart size=tiny
python scripts/study.py study=atlas size=tiny
"""

import sys

try:
    from harness.commands.study import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
