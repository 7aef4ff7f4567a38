"""A script for the tests of harness.cli; `do` says how it ends."""

import errno
import os
import signal
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from harness.cli import app
from harness.core.errors import UserError


def sweep(containers: Sequence[dict[str, Any]]) -> list[int]:
    print(f"all at once: {containers}")
    return [container["seed"] for container in containers]


@app("toy", sweep, config_module="tests.toy_configs")
def main(config: DictConfig) -> None:
    if config.do == "user_error":
        raise UserError("rl.group_size=1", "rloo compares completions of one problem", "use 2 or more")
    if config.do == "bug":
        raise ZeroDivisionError("planted")
    if config.do == "disk_full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "outputs/metrics.jsonl")
    if config.do.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, config.do))
    print(f"seed {config.seed} lr {config.optim.lr}")


if __name__ == "__main__":
    main()
