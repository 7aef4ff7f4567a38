"""A Hydra launcher for `harness.launch`: with -m a script gets all of its composed configurations at once.

A script made by `app(name, sweep=function)` has function(containers) called with one plain container a job, so that
jobs share a pool, and a base that several need is made once. It returns a value for each, which a sweeper that
optimises is given, or the error of a job that failed. Other scripts run job after job, as Hydra does it.
This file is imported at every start of Hydra: nothing heavy may be imported here.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf


class LaboratoryLauncher(BasicLauncher):
    """Selected by hydra/launcher=laboratory, which configs/hydra_defaults.yaml does."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """One return for each list of overrides, in their order."""
        sweep = getattr(self.task_function, "sweep", None)
        if sweep is None:
            return super().launch(job_overrides, initial_job_idx)
        assert self.config is not None
        HydraConfig.instance().set_config(self.config)  # so that it can be read which sweeper this is
        configs = [self._compose(overrides) for overrides in job_overrides]
        values = sweep([OmegaConf.to_container(config, resolve=True) for config in configs])
        return [
            JobReturn(overrides=overrides, cfg=config, status=_status(value), _return_value=value)
            for overrides, config, value in zip(job_overrides, configs, values, strict=True)
        ]

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        """The job's configuration without Hydra's own part."""
        assert self.hydra_context is not None
        assert self.config is not None
        loader = self.hydra_context.config_loader
        config = loader.load_sweep_config(self.config, list(overrides))
        return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _status(value: object) -> JobStatus:
    return JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED


ConfigStore.instance().store(
    group="hydra/launcher",
    name="laboratory",
    node={"_target_": f"{__name__}.{LaboratoryLauncher.__name__}"},
    provider="laboratory",
)
