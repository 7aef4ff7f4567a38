"""A log of TRL or verl as a run table, which scripts/analyze.py reads. Examples:

python scripts/convert.py source=trl log=out/checkpoint-500/trainer_state.json run_id=a seed=0 score=correct \\
    verified=[near] unverified=[far] problems={near:500,far:250} samples=8
python scripts/convert.py source=verl log=metrics.jsonl run_id=b seed=1 score=acc verified=[openai/gsm8k] problems=1319
python scripts/analyze.py table='[outputs/converted/a.csv,outputs/converted/b.csv]' out=outputs/analysis
"""

import sys

try:
    from harness.cli import app
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")


@app("convert")
def main(container) -> None:
    from pydantic import TypeAdapter

    from harness.config.compose import plain
    from harness.tracking.convert import ConvertConfig, convert, write

    config = TypeAdapter(ConvertConfig).validate_python(plain(container))
    rows = convert(config)
    path = write(rows, config.out)
    print(f"{len(rows)} rows of {len({row['task'] for row in rows})} tasks: {path}")
    print(f"next: python scripts/analyze.py table={path} out={path.parent / path.stem}")


if __name__ == "__main__":
    main()
