"""A local page that follows a study while it runs: its runs, and the learning curves so far. Examples:

rl-scaling watch study=quickstart
rl-scaling watch study=transfer out=/scratch/outputs port=0
"""

from harness.cli import app


@app("watch")
def main(container) -> None:
    from hydra.core.hydra_config import HydraConfig

    from harness.config.compose import Composer
    from harness.study.expand import expand
    from harness.study.watch import watch

    overrides = [text for text in HydraConfig.get().overrides.task if not text.startswith("port=")]
    watch(expand(Composer("study"), overrides), container.port)
