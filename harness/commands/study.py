"""`rl-scaling study`: runs, plans and reports studies."""

import sys
from functools import partial

from harness.cli import app, program


@app("study")
def main(container) -> None:
    """A study: arms x seeds x budgets, its run table, its verdicts and its report. Examples:

    rl-scaling study study=quickstart
    rl-scaling study study=quickstart plan=true
    rl-scaling study study=quickstart status=true
    rl-scaling study study=quickstart study.seeds=[0,1,2,3,4,5,6,7]
    rl-scaling study study=quickstart size=tiny
    rl-scaling study study=atlas size=tiny
    """
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from harness.config.compose import Composer, flags_and_overrides
    from harness.launch.local import kept_workers
    from harness.run.torchrun import is_main_process
    from harness.study.expand import expand
    from harness.study.several import matching_studies, run_each, run_in_parts, unfinished

    console, overrides = Console(quiet=not is_main_process()), list(HydraConfig.get().overrides.task)
    compose, act = Composer("study"), partial(_act, container)
    if not container.studies:
        with kept_workers():
            act(expand(compose, overrides), overrides, console)
        return
    names = matching_studies(container.studies)
    logged = not (container.plan or container.status or container.prune)
    if logged and container.studies_at_once > 1 < len(names):
        command = [*program("study"), *flags_and_overrides(sys.argv[1:])[0]]
        status = run_in_parts(names, command, overrides, container.studies_at_once)
        names = unfinished(names, compose, overrides) if status else []
        if not names:
            sys.exit(status)
        console.print("once more, one after the other, since two studies may have wanted one run at once:")
    with kept_workers():
        failed = run_each(names, compose, overrides, act, console, logged)
    if failed:
        console.print(
            f"[bold red]{len(failed)} of {len(names)} studies failed:[/] {', '.join(failed)}", highlight=False
        )
        sys.exit(1)


def _act(container, study, overrides, console) -> None:
    """What the configuration asks to be done with a study."""
    from harness.study.execute import report_study, run_study
    from harness.study.status import prune, status_table

    if container.status:
        console.print(status_table(study))
    elif container.prune:
        folders, freed = prune(study.jobs)
        console.print(f"deleted {folders} folders, {freed / 1e6:.1f} MB")
    elif container.report:
        report_study(study, overrides, console)
    else:
        run_study(study, overrides, console)
