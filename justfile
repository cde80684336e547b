# The heavier suites, which .ci/run leaves out. `just --list` shows them.

# All checks that a change must pass.
ci:
    .ci/run

# Every feature of every crate alone.
features:
    .ci/features

# The kernels under AddressSanitizer, with each instruction set.
asan:
    crates/ofa-kernels/sanitize

# Training, collecting and whole runs killed at random moments and resumed, byte for byte.
kills:
    cargo test --release --test resume -- --ignored
    cargo build --release --workspace --bin ofa
    python3 tests/kills.py target/release/ofa

# Commands that write, with faults in their system calls. Needs Debian's strace.
faults:
    cargo build --release --workspace --bin ofa
    python3 tests/faults.py target/release/ofa

# Every file of a finished run, damaged in every way and resumed.
damage:
    cargo test --release --test state -- --ignored --nocapture

# Training and collecting on several processes under mpirun. Needs Debian's libopenmpi-dev, openmpi-bin and libclang-dev.
mpi:
    tests/mpi.sh

# Two ranks of one thread compared with one of two.
scaling:
    benches/scaling

# Every reader on nearly correct files; `cargo test` does a few thousand.
fuzz cases="1000000" seed="1":
    cargo run --release --example fuzz -- --cases {{cases}} --seed {{seed}}

# All estimators on all of the authors' 2,000 pairs: the tables of docs/predictors.md.
predictors:
    cargo test --release -p ofa-predictors -- --ignored --nocapture

# Search compared with the authors' finder.
search:
    cargo bench --bench search_vs_reference

# Training steps and evaluation compared with PyTorch.
pytorch:
    benches/vs-pytorch

# Import of a full-size checkpoint compared with PyTorch.
import:
    cargo build --release
    python tests/import_speed.py target/release/ofa

# Networks of torchvision and timm with random weights: imported, exported, and compared with PyTorch and onnxruntime.
pretrained:
    python tests/pretrained_nets.py make
    cargo build --release
    python tests/pretrained_nets.py check target/release/ofa
    cargo test --release --test pretrained

# Reports in a browser, on phone, desktop and paper: needs Debian's chromium and chromium-driver, and selenium from PyPI.
browser:
    cargo build --release --workspace --bin ofa
    python3 tests/report_in_browser.py target/release/ofa

# PyTorch modules of networks of all spaces compared with our own logits. Needs the PyPI packages named in tests/ways_onto_a_device.py.
modules:
    cargo build --release --workspace --bin ofa
    python tests/ways_onto_a_device.py logits target/release/ofa

# Trained networks in LiteRT, ExecuTorch and OpenVINO, with accuracy and size: the table of docs/export.md.
devices data +models: modules
    python tests/ways_onto_a_device.py accuracy target/release/ofa {{data}} {{models}}

# The suite of a compute backend (docs/backends.md has the builds).
backend name *flags:
    tests/backend.sh {{name}} {{flags}}

# All shell blocks of README and docs; each page starts in an empty folder.
documentation:
    cargo build --release --workspace --bin ofa
    python3 tests/documentation.py
