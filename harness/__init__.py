"""The RL-scaling laboratory: reinforcement learning of small language models, in studies that measure how it scales.

`harness.train` holds the algorithms, `harness.run` one run, `harness.study` many, `harness.analysis` the statistics;
the console command `rl-scaling` and scripts/ start them. The tasks are the package `envs`.
"""

__version__ = "0.2.0"
