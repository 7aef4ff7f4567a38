# Sourced by quickstart.sh and test.sh: goes to the repository and makes .venv, or re-uses it. Leaves $PYTHON set.
# A stamp holds a hash of pyproject.toml, constraints.txt and the Python version: unchanged, nothing is done.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON="$PWD/.venv/bin/python"

die() {
    echo "setup: $*" >&2
    exit 1
}

# The first Python of at least 3.11 among the usual names.
find_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    return 1
}

stamp_of_environment() {
    cat pyproject.toml constraints.txt | cksum
    "$PYTHON" --version
}

# uv chooses the torch build that fits the machine. Where it cannot (no way to the torch index), pip is tried next.
install_with_uv() {
    uv venv --quiet --allow-existing --python '>=3.11' .venv || return 1
    uv pip install --quiet --python "$PYTHON" --torch-backend=auto -c constraints.txt -e '.[dev]'
}

# torch goes first and by its exact pin: an open range may take several GB of GPU libraries.
install_with_pip() {
    local python torch
    python=$(find_python) || die "no Python 3.11 or newer is on PATH ($(python3 --version 2>/dev/null || echo "no python3")). Install one, or uv, then run this again."
    torch=$(grep '^torch==' constraints.txt)
    "$python" -m venv .venv || die "could not make .venv (on Debian and Ubuntu: apt install python3-venv)"
    "$PYTHON" -m pip install --quiet "$torch" -c constraints.txt &&
        "$PYTHON" -m pip install --quiet -e '.[dev]' -c constraints.txt
}

set_up() {
    if [ "$(stamp_of_environment 2>/dev/null)" = "$(cat .venv/stamp 2>/dev/null)" ]; then
        return
    fi
    echo "setup: installing into .venv (a few minutes the first time)"
    if command -v uv >/dev/null && install_with_uv; then
        echo "setup: installed by uv"
    else
        install_with_pip || die "pip could not install the packages; the reason is above"
    fi
    stamp_of_environment >.venv/stamp
    echo "setup: ready"
}

set_up
