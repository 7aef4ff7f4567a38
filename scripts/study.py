"""A study: arms x seeds x budgets, its run table, its verdicts and its report. Examples:

python scripts/study.py study=quickstart
python scripts/study.py study=quickstart plan=true
python scripts/study.py study=quickstart study.seeds=[0,1,2,3,4,5,6,7]
"""

import sys

try:
    from harness.cli import app
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")


@app("study")
def main(container) -> None:
    from hydra import compose
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from harness.analysis.analyze import analyze
    from harness.analysis.options import default_options
    from harness.analysis.report import summary
    from harness.config import plain
    from harness.session import require_done, run_jobs, say_failures
    from harness.study import context_of, expand, jobs_of, write_tables

    console, overrides = Console(), list(HydraConfig.get().overrides.task)
    study = expand(lambda asked: plain(compose("study", list(asked))), overrides)
    labels = {"study": study.config.name}
    results = run_jobs(jobs_of(study.entries, labels), study.entries[0].config, console)
    if results is None:
        return
    say_failures(results, console)
    folder = write_tables(study)
    found = analyze(folder, folder, default_options(), context=context_of(study, overrides))
    console.print(summary(found["verdicts"], found["transfer"]))
    console.print(f"run table: {folder}/table.parquet\nreport: {found['report']}", highlight=False)
    require_done(results)


if __name__ == "__main__":
    main()
