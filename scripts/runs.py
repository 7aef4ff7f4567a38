"""The runs of an output folder: what each is called, its id, how far it has come. Examples:

python scripts/runs.py
python scripts/runs.py match='quickstart-*' out=outputs
"""

import sys

try:
    from harness.commands.runs import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
