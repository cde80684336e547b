#!/usr/bin/env bash
# Training and collecting on several processes, under a real mpirun, with more ranks than cores. Installs what it needs from
# Debian or Ubuntu. Not part of .ci/run, which tests ranks that are threads of one process. PROGRAM names a build with
# `--features mpi` that is there already.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v mpirun >/dev/null || ! ls /usr/lib/llvm-*/lib/libclang* /usr/lib/*/libclang* >/dev/null 2>&1; then
    ${SUDO-} apt-get install -y libopenmpi-dev openmpi-bin libclang-dev
fi
if [ -z "${PROGRAM-}" ]; then
    cargo build --release --workspace --features mpi --bin ofa
fi
python3 tests/several_processes.py "${PROGRAM-target/release/ofa}" "$@"
