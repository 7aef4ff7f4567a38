"""The types of the configuration, and nothing else: no checks beyond a value's own range, no defaults but one kind.

YAML (configs/) owns every default. A field has a default here only where it is off: an option that is off may be
missing from a container, and is left out of a run's identity (harness/config/identity.py). An option added after
SCHEMA_VERSION was last raised must therefore have one: the value at which runs are what they were without the option.
A change of that default in YAML leaves the one here as it is.
"""

from harness.config.schema.execution import (
    Launcher,
    LauncherConfig,
    LocalConfig,
    NoTracker,
    RayConfig,
    SaveConfig,
    StackedConfig,
    SubmititConfig,
    TrackerConfig,
    WandbTracker,
)
from harness.config.schema.run import Config, EvaluationConfig, TasksConfig, WeightDistribution
from harness.config.schema.study import Preregistration, StudyConfig, StudySize
from harness.config.schema.training import (
    AlgoConfig,
    BaseConfig,
    CorpusOptions,
    CriticConfig,
    ModelConfig,
    OptimConfig,
    RewardConfig,
    RewardModelConfig,
    RLConfig,
    SamplingConfig,
    ScheduleConfig,
    SyntheticConfig,
)
