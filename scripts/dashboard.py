"""A W&B workspace that compares the arms of a study; as JSON only where no one is logged in. Examples:

python scripts/dashboard.py folder=outputs/studies/quickstart entity=me
python scripts/dashboard.py folder=outputs/studies/quickstart entity=me axis=compute/completions
"""

import sys

try:
    from harness.commands.dashboard import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
