"""What a launch needs of this machine is checked before anything is spent."""

import io

import pytest
import torch
from rich.console import Console

from harness.core.errors import UserError
from harness.study import requirements
from harness.study.execute import run_jobs
from harness.study.expand import Entry, expand_to_jobs
from harness.study.requirements import least_memory_gb, require_fast_precision, require_memory, require_writable
from tests.toys import tiny


def jobs_of(*configs):
    return expand_to_jobs([Entry(f"arm-{i}", config) for i, config in enumerate(configs)], {})


def test_a_folder_that_can_be_written_to_is_left_as_it_was(tmp_path):
    require_writable(tmp_path / "new" / "deeper")
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_made_is_refused_before_the_plan(tmp_path):
    (tmp_path / "file").write_text("")
    config = tiny(out=tmp_path / "file" / "out")
    console = Console(file=io.StringIO())
    message = r"(?s)out=.*file.out: no file can be made in .*file .*choose another folder: out="
    with pytest.raises(UserError, match=message):
        run_jobs(jobs_of(config), config, console)
    assert console.file.getvalue() == ""


def test_a_policy_that_does_not_fit_is_refused_with_its_gigabytes_and_without_making_it(tmp_path):
    """A hundred thousand wide: 17 TB, which no test could allocate."""
    jobs = jobs_of(tiny(out=tmp_path), tiny("model.width=100000", "model.mlp=400000", out=tmp_path))
    with pytest.raises(UserError, match=r"alone take 2,\d+\.\d GB, and [\d.]+ GB are free\n.*smaller policy"):
        require_memory(jobs)


def test_jobs_that_fit_one_by_one_and_not_all_at_once_get_the_number_that_does(monkeypatch):
    config = tiny("launcher.jobs=2")
    need = least_memory_gb(config)
    monkeypatch.setattr(requirements, "free_memory_gb", lambda: 1.5 * need)
    with pytest.raises(UserError, match=r"2 jobs at once: (?s:.*)set launcher\.jobs=1"):
        require_memory(jobs_of(config))
    monkeypatch.setattr(requirements, "free_memory_gb", lambda: 2 * need)
    require_memory(jobs_of(config))


def test_a_critic_a_reference_and_a_lag_are_counted():
    plain, whole = tiny(), tiny("algo=ppo", "algo.kl=k1", "algo.kl_coefficient=0.1", "rl.off_policy_steps=2")
    assert least_memory_gb(whole) == pytest.approx(least_memory_gb(plain) * (4 + 4 + 1 + 4) / 4)


def test_memory_of_this_machine_limits_no_cluster(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(requirements, "free_memory_gb", lambda: 0.0)
    require_memory(jobs_of(tiny("launcher=ray")))


@pytest.mark.parametrize("has_amx", [False, True])
def test_bf16_without_amx_is_refused_with_what_it_costs_unless_the_backend_is_named(has_amx, monkeypatch, tmp_path):
    monkeypatch.setattr(requirements, "has_amx", lambda: has_amx)
    config, console = tiny("precision=bf16", "plan=true", out=tmp_path), Console(file=io.StringIO())
    if has_amx:
        run_jobs(jobs_of(config), config, console)
    else:
        with pytest.raises(UserError, match=r"(?s)precision=bf16 .*1\.6 to 3\.7 times slower.*set precision=fp32"):
            run_jobs(jobs_of(config), config, console)
        assert console.file.getvalue() == ""
    require_fast_precision(jobs_of(tiny("precision=bf16", "backend=eager"), tiny()))


def test_bf16_on_a_cluster_or_a_gpu_is_not_judged_by_this_cpu(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(requirements, "has_amx", lambda: False)
    require_fast_precision(jobs_of(tiny("precision=bf16", "launcher=ray")))
    monkeypatch.setattr(requirements, "device_of", lambda config: torch.device("cuda"))
    require_fast_precision(jobs_of(tiny("precision=bf16")))
