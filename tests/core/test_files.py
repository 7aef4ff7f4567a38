"""Files are written whole, and damage never passes unnoticed."""

import json
import os
import subprocess
import sys

import pytest

from harness.core.files import (
    damaged_copy,
    is_intact,
    read_json,
    remove_unfinished,
    write_hashed_json,
    write_json,
    write_jsonl,
    write_whole,
)

CONTENT = {"spent": {"step": 3}, "rows": [{"task": "é", "sha256": "x"}], "code": "a" * 40}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sub" / "a.json"


def test_a_json_file_comes_back_as_it_was_and_is_plain_json(path):
    for write in (write_json, write_hashed_json):
        write(path, CONTENT)
        assert read_json(path) == CONTENT
        assert json.loads(path.read_text()).items() >= CONTENT.items()
    assert read_json(path.with_name("none.json")) is None


def test_every_flipped_bit_is_found(path, capfd):
    write_hashed_json(path, CONTENT)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert read_json(path) is None, flipped
        assert damaged_copy(path).read_bytes() == flipped
        assert not path.exists()


def test_every_truncation_is_found_and_named_once(path, capfd):
    write_hashed_json(path, CONTENT)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert not is_intact(path)
        assert not is_intact(path)
        assert capfd.readouterr().err.count(f"damaged file {path}: ") == 1


def test_files_of_older_versions_have_no_hash_and_open(path, capfd):
    for old in (CONTENT, [CONTENT], "fingerprint", {}):
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(old, indent=1))
        assert read_json(path) == old
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("write", [write_json, write_hashed_json, lambda path, content: write_jsonl(path, [content])])
def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(path, write):
    write(path, {"a": 1})
    old = path.read_bytes()
    with pytest.raises(TypeError):
        write(path, {"a": object()})
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == ["a.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.core import files
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
files.write_whole(Path(sys.argv[1]), b"new")
"""


def test_what_a_killed_process_left_is_removed_at_the_next_start(path):
    write_whole(path, b"old")
    (path.parent / ".step-00000001.77").mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert path.read_bytes() == b"old"
    assert len(os.listdir(path.parent)) == 3
    remove_unfinished(path.parent)
    assert os.listdir(path.parent) == ["a.json"]
