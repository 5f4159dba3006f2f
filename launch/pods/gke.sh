#!/usr/bin/env bash
# Train on TPUs of a GKE cluster that kubectl is logged in to:
#
#   export RUN=first BUCKET=my-runs IMAGE=us-docker.pkg.dev/PROJECT/REPO/anchoredit_jax
#   export ACCELERATOR=tpu-v5p-slice TOPOLOGY=2x2x4 CHIP=v5p HOSTS=4 CHIPS_PER_HOST=4
#   bash launch/pods/gke.sh --config configs/sprites.py:mesh.data=none
#
# The image is this repository with `pip install -e '.[tpu]'`, its root the working
# folder. HOSTS are those of one slice: the chips of TOPOLOGY / CHIPS_PER_HOST. More
# settings: SLICES (1), RESTARTS (100), SERVICE_ACCOUNT (default), one that may write to
# the bucket. The same command goes on with a run; follow or end it with
#
#   kubectl logs -f -l jobset.sigs.k8s.io/jobset-name=first,batch.kubernetes.io/job-completion-index=0
#   kubectl delete jobset first
#
# With DRY_RUN=1 the manifest is printed, not applied.
#
# XPK makes cluster and JobSet by itself instead:
#
#   xpk workload create --cluster NAME --workload first --tpu-type v5p-32 \
#     --docker-image "$IMAGE" --command \
#     'python launch/curriculum.py --hosts auto --workdir /runs/first --config configs/sprites.py:mesh.data=none'
set -euo pipefail

: "${RUN:?export RUN, a name of your choice, the folder in the bucket}"
: "${BUCKET:?export BUCKET, the name of a bucket, without gs://}"
: "${IMAGE:?export IMAGE, a container image of this repository}"
: "${ACCELERATOR:?export ACCELERATOR, such as tpu-v5p-slice or tpu-v6e-slice}"
: "${TOPOLOGY:?export TOPOLOGY of a slice, such as 2x2x4}"
: "${CHIP:?export CHIP: v4, v5e, v5p, v6e or tpu7x}"
: "${HOSTS:?export HOSTS, how many a slice has}"
: "${CHIPS_PER_HOST:?export CHIPS_PER_HOST, such as 4}"
[ $# -gt 0 ] || {
  echo "error: name the script's arguments, such as --config FILE" >&2
  exit 2
}
SLICES="${SLICES:-1}"
RESTARTS="${RESTARTS:-100}"
SERVICE_ACCOUNT="${SERVICE_ACCOUNT:-default}"
# shellcheck disable=SC2034  # read by its name below
printf -v ARGUMENTS '%q ' "$@"

MANIFEST="$(<"$(dirname "${BASH_SOURCE[0]}")/gke_jobset.yaml")"
for name in RUN BUCKET IMAGE ACCELERATOR TOPOLOGY CHIP HOSTS CHIPS_PER_HOST SLICES \
  RESTARTS SERVICE_ACCOUNT ARGUMENTS; do
  MANIFEST="${MANIFEST//"\${$name}"/"${!name}"}"
done
if [ -n "${DRY_RUN:-}" ]; then
  printf '%s\n' "$MANIFEST"
  exit 0
fi
# A JobSet cannot be changed: the one before makes way, and saves itself if it still runs.
kubectl delete jobset "$RUN" --ignore-not-found
kubectl apply -f - <<<"$MANIFEST"
