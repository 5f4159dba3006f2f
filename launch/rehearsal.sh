#!/usr/bin/env bash
# The whole path of a person with images of their own, on data whose right answers are
# known: files, preparation, features, four stages of training at toy size with Wan's
# recipe, editing and evaluation at the pictures' shapes.
#
#   bash launch/rehearsal.sh --out DIR            at most two hours on two cores
#   bash launch/rehearsal.sh --out DIR --short    minutes: whether all of it runs
#   bash launch/rehearsal.sh --out DIR --former   the recipe that Wan had before, beside it
set -euo pipefail
HERE="$PWD"
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
cd "$HERE"
exec python "$ROOT/launch/rehearsal.py" "$@"
