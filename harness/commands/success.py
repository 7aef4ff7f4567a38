"""Initial success by difficulty of every task that the standard base was pretrained on. Examples:

rl-scaling success    # pretrains the base (once), measures, writes docs/reference/success/all.json
rl-scaling success base=skills model=nano model.context=128 file=docs/reference/success/skills.json
rl-scaling tasks page=docs/reference/tasks.md success=docs/reference/success    # tables
"""

import sys

from harness.cli import app


@app("success")
def main(container) -> None:
    from pathlib import Path

    from harness.config.compose import plain
    from harness.config.parse import parse
    from harness.core.files import write_json
    from harness.study.base_accuracy import measure_base_accuracy

    values = plain(container)
    file, command = Path(values.pop("file")), " ".join(["python scripts/success.py", *sys.argv[1:]])
    write_json(file, {"command": command, **measure_base_accuracy(parse(values), print)})
    print(f"wrote {file}")
