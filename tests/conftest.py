"""One thread a test process: the toys are far too small to gain by more, and lose much beside other processes."""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
