"""Freed memory stays with a worker."""

import platform
import resource

import pytest
import torch

from harness.launch.jobs import Job
from harness.launch.launch import function_reference
from harness.launch.worker import attempt
from tests.launch.works import act


def faults(steps: int) -> int:
    """Pages faulted in by steps that hold eight temporaries of 8 MB and let them go."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        [torch.ones(2 << 20) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left as they are")
def test_a_worker_faults_the_pages_of_its_temporaries_in_but_once():
    event = attempt(function_reference(act), Job("a", {}, 1), lambda row: None)
    assert event["kind"] == "done"
    faults(3)
    assert faults(5) < 2048  # pages of one of them
