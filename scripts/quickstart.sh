#!/usr/bin/env bash
# From a machine with Python 3.11 to a verdict. Arguments are Hydra overrides of the study: bash scripts/quickstart.sh plan=true
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"

"$PYTHON" scripts/study.py study=quickstart "$@"
status=$?
if [ $status -ne 0 ]; then
    echo "quickstart: stopped with status $status; the reason is above. Run the same command again to go on." >&2
    exit $status
fi
echo "quickstart: success"
