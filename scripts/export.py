"""A policy as a Hugging Face model, which transformers loads as it is, with its tokenizer. Examples:

python scripts/export.py run=outputs/runs/rl-0123456789ab out=exported
python scripts/export.py run=outputs/runs/rl-0123456789ab step=64 out=exported
"""

import sys

try:
    from harness.commands.export import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
