#!/usr/bin/env bash
# bash scripts/sanitize.sh [pytest arguments]: the tests of the native library, compiled with AddressSanitizer and
# UndefinedBehaviorSanitizer (gcc's), which end the process at the first access or operation that C leaves undefined.
# At -O1: with -O2 the compiler takes minutes. Left out: tests that compile it otherwise. Python's own leaks are not shown.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
PYTHON=${PYTHON:-$PWD/.venv/bin/python}

export CC="gcc -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1" RL_SCALING_CFLAGS=-O1
export ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1
# Compiled without the preload, which would slow the compiler down; loaded later, which needs it.
"$PYTHON" -c 'from harness.policy.backends.native.build import compile_only; compile_only()' || exit 1

if [ $# -eq 0 ]; then
    set -- tests/policy/test_native.py tests/policy/test_native_weights.py tests/policy/test_backends.py \
        tests/policy/test_sampler.py tests/policy/test_thread_pool.py
fi
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
    "$PYTHON" -m pytest -p no:cacheprovider -k "not thread_sanitizer" "$@" || exit 1
echo "sanitize: success"
