"""Bases that descend from each other: one job each, in order, made once for all arms."""

import torch

from harness.config.identity import base_id, run_id
from harness.run.checkpoint import load_weights
from harness.run.folder import run_folder
from harness.run.job import new_state, run_job, run_stack
from harness.run.teacher import load_teacher
from harness.run.tracker import read_metrics
from harness.study.expand import Entry, base_jobs, expand_to_jobs, is_done, pending_jobs
from tests.toys import run_all, silent, tiny


def entry(tmp_path, arm, *settings):
    return Entry(arm, tiny("objective=frozen", *settings, out=tmp_path), before_rl=True)


def arms(tmp_path):
    return [
        entry(tmp_path, which, f"base.synthetic={which}") for which in ("{generation: 2}", "{generation: 1}", "null")
    ]


def test_generation_zero_is_the_base_of_the_corpus_whatever_the_filter():
    plain = tiny()
    chains = [tiny(f"base.synthetic={{generation: 2, filter: {f}}}").generations for f in ("none", "verifier")]
    assert {base_id(chain[0]) for chain in chains} == {base_id(plain)}
    ids = [base_id(one) for chain in chains for one in chain[1:]]
    assert len({*ids, base_id(plain)}) == 5
    assert run_id(chains[0][2]) != run_id(chains[1][2])


def test_each_generation_is_one_job_that_needs_the_one_before(tmp_path):
    jobs = expand_to_jobs(arms(tmp_path), {})
    bases, runs = jobs[:3], jobs[3:]
    assert [job.needs for job in bases] == [(), (bases[0].run_id,), (bases[1].run_id,)]
    assert [job.needs for job in runs] == [(base.run_id,) for base in reversed(bases)]


def test_a_base_with_a_teacher_is_done_only_once_it_is_pretrained(tmp_path):
    jobs = base_jobs(tiny("base.synthetic={generation: 1}", out=tmp_path), {})
    run_job(jobs[0], silent)
    assert [is_done(job) for job in jobs] == [True, False]


def test_earlier_generations_are_not_made_again_for_a_base_that_is_there(tmp_path):
    (last, *_), jobs = arms(tmp_path), expand_to_jobs(arms(tmp_path)[:1], {})
    for job in jobs[1:3]:
        assert not is_done(job)
    assert len(pending_jobs(jobs)) == 4
    run_all(jobs)
    for base in jobs[:2]:
        (run_folder(tmp_path, base.run_id).path / "budgets").rename(tmp_path / base.run_id)
    assert pending_jobs(jobs) == []
    more = expand_to_jobs([last, entry(tmp_path, "more", "seed=1", "base.synthetic={generation: 2}")], {})
    assert [job.run_id for job in pending_jobs(more)] == [more[-1].run_id]


def test_a_fresh_policy_is_pretrained_on_what_the_base_before_it_wrote(tmp_path):
    config = tiny("base.synthetic={generation: 1}", out=tmp_path)
    jobs = base_jobs(config, {})
    run_all(jobs)
    before, after = (new_state(each, each.optim, (0,)) for each in config.generations)
    assert not torch.equal(before.policy.embedding, after.policy.embedding)  # an initialisation of its own
    base = run_folder(tmp_path, jobs[0].run_id)
    load_weights([base.budgets], before.policy, config.base.steps)
    teacher = load_teacher([jobs[1]], after)
    own = zip(teacher.policies[0].parameters(), before.policy.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in own)


def test_seeds_stacked_in_one_model_read_what_their_own_bases_wrote(tmp_path):
    settings = ["base.synthetic={generation: 1, filter: verifier}", "backend=eager"]
    alone, together = ([tiny(*settings, f"base.seed={seed}", out=tmp_path / name) for seed in (0, 5)] for name in "ab")
    for config in alone:
        run_all(base_jobs(config, {}))
    for stack in zip(*(base_jobs(config, {}) for config in together)):  # each generation as one stack
        run_stack(stack, lambda member, row: None)
    for pair in zip(alone, together):
        tokens = [read_metrics(run_folder(c.out, base_id(c)).path)[-1]["compute/tokens"] for c in pair]
        assert tokens[0] == tokens[1]
