"""One run: a pretrained base (made once), then RL. Examples:

python scripts/train.py seed=1 rl.steps=64
python scripts/train.py -m seed=0,1,2 optim.lr=1e-4,2e-4
torchrun --nproc-per-node 2 scripts/train.py seed=1
"""

import sys

try:
    from harness.commands.train import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
