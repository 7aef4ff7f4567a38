#!/usr/bin/env bash
# bash scripts/test.sh [--slow] [pytest arguments]: the tests not marked slow, or all of them.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

chosen=(-m "not slow")
if [ "${1:-}" = --slow ]; then
    chosen=()
    shift
fi
cores=$("$PYTHON" -c 'from harness.launch.local import cores; print(cores())') || exit 1
workers=$((cores > 1 ? 2 : 1))
export OMP_NUM_THREADS=$((cores / workers)) WANDB_MODE=offline WANDB_SILENT=true
spread=()
[ "$workers" -gt 1 ] && spread=(-n "$workers" --dist worksteal)

"$PYTHON" -m pytest "${spread[@]}" "${chosen[@]}" "$@"
status=$?
if [ $status -ne 0 ]; then
    echo "test: FAILED (pytest status $status)" >&2
    exit $status
fi
echo "test: success"
