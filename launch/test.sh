#!/usr/bin/env bash
# Lint and test: bash launch/test.sh [pytest arguments]
# Slow tests are left out; to run them: bash launch/test.sh -m slow; those that take many
# minutes each: -m long; those that compile 14B for TPU pods (an hour): -m pod
set -euo pipefail
# The page, whose slow test runs where there is a browser, and the documentation's site.
EXTRAS="app,docs"
# The peers that results are compared with. A torch of this version that is already
# there, such as a CPU build, is kept.
PACKAGES=("torch==2.13.0" "diffusers>=0.33,<1" "transformers>=4.49,<6" "accelerate>=1,<2")
# The TPU's compiler, for plans; it needs no TPU and exists for this platform only.
if [ "$(uname -s) $(uname -m)" = "Linux x86_64" ]; then
  PACKAGES+=("jax[tpu]>=0.10,<0.12")
fi
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

python -m ruff check .
python -m ruff format --check .
basedpyright # types, of the rooms that pyproject.toml names
lint-imports --no-logo --no-cache # the order of rooms, in pyproject.toml
# What was compiled for earlier versions of the code is of no use any more.
PROGRAMS=".pytest_cache/programs"
[ ! -d "$PROGRAMS" ] || find "$PROGRAMS" -type f -mtime +7 -delete
# A file's tests share traced programs, so a file stays with one process; the order of
# files is that of tests/conftest.py.
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
  -m "not slow and not long and not pod" "$@"
