"""What the policy of a run answers to prompts, before RL and after, with probabilities. Examples:

python scripts/ask.py run=quickstart-true_reward-s0 "reverse abc=" "max 3 9 4="
python scripts/ask.py run='quickstart-*-s0' steps='[0,64]' "reverse abc="
python scripts/ask.py run=quickstart-true_reward-s0      # one prompt a line
"""

import sys

try:
    from harness.commands.ask import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
