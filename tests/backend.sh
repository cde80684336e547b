#!/usr/bin/env bash
# The suite of a backend: the authors' goldens, their training step, resuming, agreement with flex, and the quickstart.
#
#   tests/backend.sh tch            # docs/backends.md has what the build needs
#   tests/backend.sh wgpu --small   # on a CPU that plays the GPU; without resuming byte for byte, which GPUs do not promise
set -euo pipefail
cd "$(dirname "$0")/.."
backend=${1:?usage: tests/backend.sh BACKEND [--small]}
small=${2:-}
features=${backend%%:*}
export OFA_TEST_BACKEND=$backend
# One thread: many small programs would share the device.
tests=(--test official --test golden_training_step)
if [[ $features == tch ]]; then
    tests+=(--test resume)
fi
cargo test --release --workspace --features "$features" "${tests[@]}" -- --test-threads 1
cargo build --release --workspace --features "$features" --bin ofa --example backend_check
unset OFA_TEST_BACKEND
report=$(mktemp -d)/report.json
tools/gpu-check --backend "$backend" --out "$report" $small environment agreement quickstart resume
cat "$report"
