# Sourced by the other scripts: goes to the repository's root and leaves `python` as the
# Python of a virtualenv that has this package and its test tools installed, the extras
# that EXTRAS names ("app,umt5"), and what the array PACKAGES names beside them.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"

fail() {
  echo "error: $*" >&2
  exit 2
}

new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local name
  for name in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && new_enough "$name"; then
      echo "$name"
      return
    fi
  done
  return 1
}

if [ -n "${VIRTUAL_ENV:-}" ]; then
  ENVIRONMENT="$VIRTUAL_ENV"
  new_enough "$ENVIRONMENT/bin/python" ||
    fail "the active virtualenv $ENVIRONMENT has $("$ENVIRONMENT/bin/python" --version \
      2>&1); Python 3.11 or newer is needed. Deactivate it, or activate a newer one."
else
  ENVIRONMENT="$ROOT/.venv"
  if ! new_enough "$ENVIRONMENT/bin/python"; then
    FOUND="$(find_python)" ||
      fail "Python 3.11 or newer is needed; python3 is $(python3 --version 2>&1 ||
        true). Install one, or name it: PYTHON=/path/to/python3.12 bash $0"
    echo "making $ENVIRONMENT with $("$FOUND" --version)"
    "$FOUND" -m venv --clear "$ENVIRONMENT" ||
      fail "$FOUND cannot make a virtualenv (on Debian and Ubuntu: apt install" \
        "python3-venv)"
  fi
fi

# Installed once for this clone and this setup.py; the stamp says so.
STAMP="$ENVIRONMENT/.anchoredit_jax${PACKAGES:+_and_more}"
WANTED="$ROOT ${EXTRAS-} ${PACKAGES[*]-} $(cksum setup.py pyproject.toml | tr '\n' ' ')"
if [ "$(cat "$STAMP" 2>/dev/null)" != "$WANTED" ]; then
  echo "installing anchoredit_jax and what it needs into $ENVIRONMENT (once)"
  "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check \
    -e ".[test${EXTRAS:+,$EXTRAS}]" ${PACKAGES[@]+"${PACKAGES[@]}"} ||
    fail "the installation failed, see pip's message above"
  echo "$WANTED" >"$STAMP"
fi
export PATH="$ENVIRONMENT/bin:$PATH"
