"""Initial success by difficulty of every task that the standard base was pretrained on. Examples:

python scripts/success.py                      # pretrains the base (once), measures, writes docs/success/all.json
python scripts/success.py base=skills model=nano model.context=128 file=docs/success/skills.json
python scripts/tasks.py page=docs/tasks.md success=docs/success    # makes tables of all that lies there
"""

import sys

try:
    from harness.cli import app
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")


@app("success")
def main(container) -> None:
    from pathlib import Path

    from harness.config.compose import plain
    from harness.config.parse import parse
    from harness.run.folder import write_json
    from harness.study.base_accuracy import initial_success

    values = plain(container)
    file, command = Path(values.pop("file")), " ".join(["python scripts/success.py", *sys.argv[1:]])
    write_json(file, {"command": command, **initial_success(parse(values), print)})
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
