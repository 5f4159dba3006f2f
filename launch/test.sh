#!/usr/bin/env bash
# Lint and test: bash launch/test.sh [pytest arguments]
# Slow tests are left out; to run them too: bash launch/test.sh -m ""
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

python -m ruff check .
# A file's tests share compiled programs, so a file stays with one process.
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not slow" "$@"
