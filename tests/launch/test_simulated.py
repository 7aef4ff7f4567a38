"""The scheduler on a simulated cluster: what a loss costs is what arithmetic says, and every job ends once."""

from collections import Counter

import numpy as np
import pytest

from harness.launch.jobs import Job
from tests.launch.simulated import HOUR, Simulated, simulate, study_jobs

NEVER = 1e18


def cluster(nodes=1, places=1, life=NEVER, retries=3, seed=0):
    return Simulated(nodes, places, life, repair=50.0, start=5.0, save=30.0, retries=retries, seed=seed)


def job(run_id, seconds, raises=False, needs=()):
    return Job(run_id, {"seconds": seconds, "raises": raises}, 1, needs=needs)


def test_without_losses_a_study_takes_its_longest_chain_of_jobs():
    jobs = [job("base", 100.0), *(job(f"{i}", 10.0, needs=("base",)) for i in range(5))]
    found = simulate(jobs, cluster(places=2))
    assert found.hours * HOUR == pytest.approx(5 + 100 + 3 * (5 + 10))  # five runs on two places
    assert found.counts == {"done": 6}
    assert found.share == pytest.approx(150 / 2 / 150)


def test_a_lost_node_costs_its_job_another_start_the_repair_and_the_work_since_its_last_checkpoint():
    life = np.random.default_rng(0).exponential(100.0)
    worked = life - 5.0
    assert worked > 30.0
    lost = worked % 30.0
    found = simulate([job("a", 1.5 * worked)], cluster(life=100.0))
    assert (found.losses, found.killed, found.counts) == (1, 1, {"done": 1})
    assert found.hours * HOUR == pytest.approx(5 + 1.5 * worked + lost + 50 + 5)


def test_whatever_nodes_are_lost_each_of_ten_thousand_jobs_ends_once():
    """`simulate` raises if one ends twice or never. Without retries those that are hit are killed for good."""
    jobs = study_jobs(10_000, 100, 70.0, 169.0, raising=0.01, seed=1)
    patient = simulate(jobs, cluster(20, 8, life=HOUR, retries=100))
    raising = sum(job.run["raises"] for job in jobs)
    assert patient.losses > 10
    assert patient.killed > 50
    assert patient.counts == {"done": 10_000 - raising, "failed": raising}
    hasty = simulate(jobs, cluster(20, 8, life=HOUR, retries=0))
    assert hasty.counts["killed"] == hasty.killed > 50
    assert Counter(hasty.counts).total() == 10_000
