#!/usr/bin/env bash
# From a fresh clone to edited images and a trained toy model, on a laptop's CPU.
#
#   bash launch/quickstart.sh          edit with the shipped weights, then train a
#                                      short version of all four stages
#   bash launch/quickstart.sh --full   train the full toy and evaluate it
#   ... [--out DIR]                    where results go (default: runs/)
set -euo pipefail

usage() {
  echo "usage: bash launch/quickstart.sh [--full] [--out DIR]"
}

FULL=""
OUT=""
while [ $# -gt 0 ]; do
  case "$1" in
    --full) FULL=1 ;;
    --out)
      [ $# -ge 2 ] || { echo "error: --out needs a folder" >&2; exit 2; }
      mkdir -p "$2"
      OUT="$(cd "$2" && pwd)"
      shift
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      echo "error: unknown argument '$1'; $(usage)" >&2
      exit 2
      ;;
  esac
  shift
done
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
OUT="${OUT:-$ROOT/runs}"

section() {
  printf '\n== %s\n' "$*"
}

if [ -n "$FULL" ]; then
  section "training the full toy, four stages, in $OUT/full"
  python launch/curriculum.py --config configs/sprites.py --workdir "$OUT/full"
  section "evaluating it on 200 held-out sessions"
  python launch/evaluate.py --checkpoint "$OUT/full/distribution_matching" --sessions 200 \
    --out "$OUT/full/evaluation"
  exit 0
fi

section "editing a sprite over 12 turns with the shipped weights"
python launch/edit.py \
  --checkpoint anchoredit_jax/assets \
  --image anchoredit_jax/assets/sample.png \
  --instruction "make the background blue" \
  --instruction "add a red circle at the top left" \
  --instruction "add a green square at the bottom right" \
  --instruction "paint the red circle yellow" \
  --instruction "cover the subject" \
  --instruction "make the background orange" \
  --instruction "remove the green square" \
  --instruction "move the yellow circle to the bottom left" \
  --instruction "add a white ring at the top right" \
  --instruction "make the background green" \
  --instruction "uncover the subject" \
  --instruction "remove the white ring" \
  --out "$OUT/quickstart/edits"

section "training a short version of all four stages, in $OUT/quickstart/training"
python launch/curriculum.py --config configs/sprites.py:preset=quick \
  --workdir "$OUT/quickstart/training"

section "done"
cat <<EOT
Edited images:   $OUT/quickstart/edits
Training curves: $OUT/quickstart/training/<stage>/metrics.jsonl (and tensorboard/)
The short training shows the machinery; its model is not meant to be good. The full toy
takes about half an hour on two cores:

    bash launch/quickstart.sh --full
EOT
