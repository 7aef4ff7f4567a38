"""Initial success by difficulty of every task that the standard base was pretrained on. Examples:

python scripts/success.py    # pretrains the base (once), measures, writes docs/reference/success/all.json
python scripts/success.py base=skills model=nano model.context=128 file=docs/reference/success/skills.json
python scripts/tasks.py page=docs/reference/tasks.md success=docs/reference/success    # tables
"""

import sys

try:
    from harness.commands.success import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
