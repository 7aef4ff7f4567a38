"""The soak finds what grows, and its parts run, at a thousandth of their length."""

import numpy as np
import pytest

from benchmarks.soak import SAMPLES, section, soak_launches, soak_steps, trend

STEPS = np.arange(100)
NOISE = np.random.default_rng(0).normal(size=100)


def test_a_leak_under_noise_is_found_and_noise_alone_is_flat():
    assert trend(STEPS, 400 + NOISE).is_flat
    leak = trend(STEPS, 400 + NOISE + 0.2 * STEPS)
    assert not leak.is_flat
    assert leak.low < 0.2 * 89 < leak.high


def test_what_fills_in_the_warm_up_is_no_growth():
    assert trend(STEPS, 400 - 300 * (STEPS < 8) + NOISE).is_flat


def test_a_leaked_descriptor_is_found():
    assert not trend(STEPS, 8 + STEPS // 20).is_flat


@pytest.mark.slow
def test_a_short_soak_samples_a_run_and_launches_that_leave_no_process_behind(tmp_path):
    samples = soak_steps(40, tmp_path / "steps")
    assert [sample["at"] for sample in samples] == sorted({sample["at"] for sample in samples})
    assert samples[-1]["at"] == 40
    assert len(samples) <= SAMPLES
    assert "| descriptors |" in section(samples, "steps")
    launched = soak_launches(2, tmp_path / "launches")
    assert [(sample["at"], sample["children"]) for sample in launched] == [(1, 0), (2, 0)]
