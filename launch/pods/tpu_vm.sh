#!/usr/bin/env bash
# Train on a Cloud TPU pod, from your own machine:
#
#   export PROJECT=... ZONE=us-east5-a TPU_TYPE=v5p-128 TPU_NAME=anchoredit
#   export WORKDIR=gs://BUCKET/runs/first     (or a file system that all hosts mount)
#   bash launch/pods/tpu_vm.sh create          ask for the TPU and wait until it is there
#   bash launch/pods/tpu_vm.sh install         copy this clone to every host, install it
#   bash launch/pods/tpu_vm.sh train --config configs/wan_14b.py:pod=v5p:4x4x4,path=/mnt/bucket/prepared
#   bash launch/pods/tpu_vm.sh delete          stop paying
#
# `train` runs launch/curriculum.py with the arguments behind it on every host (SCRIPT
# names another one, SCRIPT=launch/train.py), follows process 0 here, and goes on at the
# last checkpoint after a preemption, when it asks for the TPU anew (SPOT=1) if it is
# gone. Ctrl-C here does not stop the hosts; `stop` saves on all of them and ends.
#
# More settings: RUNTIME (image of the VMs), SPOT=1, BUCKET_MOUNT (where hosts mount
# WORKDIR's bucket), HOST_ARGUMENTS (flags of several hosts, default --hosts auto).
set -euo pipefail

: "${PROJECT:?export PROJECT, the project on Google Cloud}"
: "${ZONE:?export ZONE, where the TPU is, such as us-east5-a}"
: "${TPU_NAME:?export TPU_NAME, a name of your choice}"
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
BUCKET_MOUNT="${BUCKET_MOUNT:-/mnt/bucket}"
SCRIPT="${SCRIPT:-launch/curriculum.py}"
HOST_ARGUMENTS="${HOST_ARGUMENTS:---hosts auto}"
PLACE=(--project "$PROJECT" --zone "$ZONE")

fail() {
  echo "error: $*" >&2
  exit 2
}

on_hosts() { # WORKER COMMAND
  gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${PLACE[@]}" --worker="$1" --command="$2"
}

state() {
  gcloud compute tpus queued-resources describe "$TPU_NAME" "${PLACE[@]}" \
    --format='value(state.state)' 2>/dev/null || echo NONE
}

# The chip of flags of XLA: v5p-64 -> v5p, v5litepod-16 -> v5e.
chip() {
  : "${TPU_TYPE:?export TPU_TYPE, such as v5p-64 or v6e-16}"
  case "${TPU_TYPE%%-*}" in
    v5litepod) echo v5e ;;
    *) echo "${TPU_TYPE%%-*}" ;;
  esac
}

create() {
  local runtime options=()
  case "$(chip)" in
    v4) runtime=tpu-ubuntu2204-base ;;
    v5e) runtime=v2-alpha-tpuv5-lite ;;
    v5p) runtime=v2-alpha-tpuv5 ;;
    v6e) runtime=v2-alpha-tpuv6e ;;
    *) runtime="" ;;
  esac
  runtime="${RUNTIME:-$runtime}"
  [ -n "$runtime" ] || fail "export RUNTIME, the image for $TPU_TYPE (gcloud compute" \
    "tpus versions list --zone $ZONE)"
  [ -z "${SPOT:-}" ] || options+=(--spot)
  gcloud compute tpus queued-resources create "$TPU_NAME" "${PLACE[@]}" \
    --node-id "$TPU_NAME" --accelerator-type "$TPU_TYPE" \
    --runtime-version "$runtime" ${options[@]+"${options[@]}"}
  until [ "$(state)" = ACTIVE ]; do
    case "$(state)" in
      FAILED | SUSPENDED | NONE) fail "the request for $TPU_NAME is $(state)" ;;
    esac
    echo "waiting for $TPU_NAME: $(state)"
    sleep 30
  done
}

delete() {
  gcloud compute tpus queued-resources delete "$TPU_NAME" "${PLACE[@]}" --force --quiet
}

install() {
  : "${WORKDIR:?export WORKDIR, a gs:// address or a folder that all hosts share}"
  local archive mount=true bucket
  archive="$(mktemp)"
  git -C "$ROOT" archive --format=tar.gz -o "$archive" HEAD
  gcloud compute tpus tpu-vm scp "$archive" "$TPU_NAME:anchoredit_jax.tar.gz" \
    "${PLACE[@]}" --worker=all
  rm -f "$archive"
  if [[ "$WORKDIR" == gs://* ]]; then
    bucket="${WORKDIR#gs://}"
    bucket="${bucket%%/*}"
    # Cloud Storage as a folder: checkpoints are committed by a file in each of them.
    mount="command -v gcsfuse >/dev/null || {
        KEY=/usr/share/keyrings/cloud.google.asc
        curl -fsS https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee \$KEY >/dev/null
        echo \"deb [signed-by=\$KEY] https://packages.cloud.google.com/apt gcsfuse-\$(lsb_release -cs) main\" |
          sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
        sudo apt-get update -qq && sudo apt-get install -y -qq gcsfuse
      }
      sudo mkdir -p $BUCKET_MOUNT && sudo chown \$USER $BUCKET_MOUNT
      mountpoint -q $BUCKET_MOUNT || gcsfuse --implicit-dirs $bucket $BUCKET_MOUNT"
  fi
  on_hosts all "set -eu
    rm -rf anchoredit_jax && mkdir anchoredit_jax
    tar xzf anchoredit_jax.tar.gz -C anchoredit_jax
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
      { sudo add-apt-repository -y ppa:deadsnakes/ppa >/dev/null
        sudo apt-get install -y -qq python3.11 python3.11-venv; }
    cd anchoredit_jax
    PYTHON=\$(command -v python3.13 || command -v python3.12 || command -v python3.11)
    [ -d .venv ] || \$PYTHON -m venv .venv
    .venv/bin/pip install --quiet -e '.[tpu]'
    $mount"
}

folder() { # as the hosts see it
  if [[ "$WORKDIR" == gs://* ]]; then
    local path="${WORKDIR#gs://}"
    [[ "$path" == */* ]] || fail "WORKDIR names a bucket; add a folder: $WORKDIR/first"
    echo "$BUCKET_MOUNT/${path#*/}"
  else
    echo "$WORKDIR"
  fi
}

train() {
  : "${WORKDIR:?export WORKDIR, as for install}"
  local arguments code faults=0
  [ $# -gt 0 ] || fail "train needs the script's arguments, such as --config FILE"
  printf -v arguments '%q ' "$@"
  while true; do
    code=0
    # Detached, so that a lost connection does not end the run; its exit code goes into
    # a file on each host.
    on_hosts all "cd anchoredit_jax
      eval \"\$(.venv/bin/python -m anchoredit_jax.parallel.xla_flags $(chip))\"
      rm -f exit_code stopped
      # After a preemption the lock of hosts that are gone is this run's.
      export ANCHOREDIT_JOB=$TPU_NAME ANCHOREDIT_ATTEMPT=$(date +%s)
      nohup bash -c '.venv/bin/python $SCRIPT --workdir $(folder) $HOST_ARGUMENTS \\
        $arguments; echo \$? >exit_code' >train.log 2>&1 </dev/null &" || code=$?
    [ "$code" != 0 ] || on_hosts 0 "cd anchoredit_jax
      tail -n +1 -F train.log & TAIL=\$!
      until [ -f exit_code ]; do sleep 2; done
      sleep 2; kill \$TAIL
      [ ! -f stopped ] || exit 0
      exit \$(cat exit_code)" || code=$?
    case "$code" in
      0) return ;;
      1 | 2 | 4 | 74) fail "exit code $code, see above and docs/exit_codes.md" ;;
      75) ;; # stopped and saved
      *)
        faults=$((faults + 1))
        [ "$faults" -le 5 ] || fail "exit code $code, the sixth fault since the start"
        ;;
    esac
    echo "exit code $code; going on from the last checkpoint"
    case "$(state)" in
      ACTIVE) on_hosts all "pkill -f '[p]ython $SCRIPT'; sleep 5; true" || true ;;
      *)
        delete || true
        create
        install
        ;;
    esac
  done
}

# One host gets the signal; all of them save and end at the same step.
stop() {
  on_hosts 0 "touch anchoredit_jax/stopped; pkill -TERM -f '[p]ython $SCRIPT'"
}

case "${1:-}" in
  create | delete | install | stop | train) "$@" ;;
  *) fail "usage: bash $0 create|install|train ARGUMENTS|stop|delete" ;;
esac
