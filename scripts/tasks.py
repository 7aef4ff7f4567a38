"""Every task with its role, contexts, example prompts and answers, guess rate and generation speed. Examples:

python scripts/tasks.py show='[addition.*, store.symbolic]'
python scripts/tasks.py imports='[my_package]' show='[mine.*]'
python scripts/tasks.py page=docs/reference/tasks.md success=docs/reference/success
"""

import sys

try:
    from harness.commands.tasks import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
