#!/usr/bin/env bash
# Lint and test: bash launch/test.sh [pytest arguments]
# Slow tests are left out; to run them too: bash launch/test.sh -m ""
set -euo pipefail
# The peers that results are compared with. A torch of this version that is already
# there, such as a CPU build, is kept.
PACKAGES=("torch==2.13.0" "diffusers>=0.33,<1" "transformers>=4.49,<6" "accelerate>=1,<2")
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

python -m ruff check .
# A file's tests share compiled programs, so a file stays with one process.
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow" "$@"
