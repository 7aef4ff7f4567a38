"""A log of TRL or verl as a run table, which scripts/analyze.py reads. Examples:

python scripts/convert.py source=trl log=out/checkpoint-500/trainer_state.json run_id=a seed=0 score=correct \\
    'verified=[near]' 'unverified=[far]' 'problems={near:500,far:250}' samples=8
python scripts/convert.py source=verl log=metrics.jsonl run_id=b seed=1 score=acc \\
    'verified=[openai/gsm8k]' problems=1319
python scripts/analyze.py table='[outputs/converted/a.csv,outputs/converted/b.csv]' out=outputs/analysis
"""

import sys

try:
    from harness.commands.convert import main
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")

if __name__ == "__main__":
    main()
