"""A study: arms x seeds x budgets, its run table, its verdicts and its report. Examples:

python scripts/study.py study=quickstart
python scripts/study.py study=quickstart plan=true
python scripts/study.py study=quickstart status=true
python scripts/study.py study=quickstart study.seeds=[0,1,2,3,4,5,6,7]
"""

import sys

try:
    from harness.cli import app
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")


@app("study")
def main(container) -> None:
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from harness.config.compose import Composer
    from harness.run.torchrun import is_main_process
    from harness.study.execute import report_study, run_study
    from harness.study.expand import expand, jobs_of
    from harness.study.status import prune, status_table

    console, overrides = Console(quiet=not is_main_process()), list(HydraConfig.get().overrides.task)
    study = expand(Composer("study"), overrides)
    jobs = jobs_of(study.entries, {"study": study.config.name})
    if container.status:
        console.print(status_table(jobs, study.cached))
    elif container.prune:
        folders, freed = prune(jobs)
        console.print(f"deleted {folders} folders, {freed / 1e6:.1f} MB")
    elif container.report:
        report_study(study, overrides, console)
    else:
        run_study(study, jobs, overrides, console)


if __name__ == "__main__":
    main()
