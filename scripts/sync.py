"""Sends to W&B what was recorded offline, or only lists it. Examples:

python scripts/sync.py list=true
python scripts/sync.py out=outputs
"""

import sys

try:
    from harness.commands.sync import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
