"""A local page that follows a study while it runs: its runs, and the learning curves so far. Examples:

python scripts/watch.py study=quickstart
python scripts/watch.py study=transfer out=/scratch/outputs port=0
"""

import sys

try:
    from harness.commands.watch import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
