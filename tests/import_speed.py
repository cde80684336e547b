"""Time and memory of importing a full-size supernet checkpoint, against PyTorch in the same run.

Writes a checkpoint of `ofa-mbv3-w1.0` in the official layout with random weights, then runs, alternately,
`torch.load` + `load_state_dict` and `ofa import supernet`, each in a process of its own.

    pip install torch==2.9.1 numpy
    cargo build --release
    python tests/import_speed.py target/release/ofa [--rounds 5] [--keep supernet.pth]
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import torch

STAGES = [(24, False), (40, True), (80, False), (112, True), (160, True)]  # channels, squeeze-excite
KERNEL, DEPTH, EXPANSION = 7, 4, 6


def round_channels(value, divisor=8):
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def state_dict():
    """Every tensor of the official OFAMobileNetV3 at width 1.0, 1000 classes."""
    tensors = {}

    def conv(name, *shape):
        tensors[name + ".weight"] = torch.randn(*shape) * 0.05

    def norm(name, channels):
        tensors[name + ".weight"] = torch.ones(channels)
        tensors[name + ".bias"] = torch.zeros(channels)
        tensors[name + ".running_mean"] = torch.randn(channels) * 0.1
        tensors[name + ".running_var"] = torch.rand(channels) + 0.5
        tensors[name + ".num_batches_tracked"] = torch.tensor(1)

    conv("first_conv.conv", 16, 3, 3, 3)
    norm("first_conv.bn", 16)
    first = "blocks.0.mobile_inverted_conv"
    conv(first + ".depth_conv.conv", 16, 1, 3, 3)
    norm(first + ".depth_conv.bn", 16)
    conv(first + ".point_linear.conv", 16, 16, 1, 1)
    norm(first + ".point_linear.bn", 16)
    channels, index = 16, 1
    for width, squeeze_excite in STAGES:
        for _ in range(DEPTH):
            block = f"blocks.{index}.mobile_inverted_conv"
            middle = round_channels(channels * EXPANSION)
            conv(block + ".inverted_bottleneck.conv.conv", middle, channels, 1, 1)
            norm(block + ".inverted_bottleneck.bn.bn", middle)
            conv(block + ".depth_conv.conv.conv", middle, 1, KERNEL, KERNEL)
            for large, small in ((7, 5), (5, 3)):
                tensors[f"{block}.depth_conv.conv.{large}to{small}_matrix"] = torch.eye(small * small)
            norm(block + ".depth_conv.bn.bn", middle)
            if squeeze_excite:
                squeeze = round_channels(middle // 4)
                for part, shape in (("reduce", (squeeze, middle, 1, 1)), ("expand", (middle, squeeze, 1, 1))):
                    conv(f"{block}.depth_conv.se.fc.{part}", *shape)
                    tensors[f"{block}.depth_conv.se.fc.{part}.bias"] = torch.zeros(shape[0])
            conv(block + ".point_linear.conv.conv", width, middle, 1, 1)
            norm(block + ".point_linear.bn.bn", width)
            channels, index = width, index + 1
    conv("final_expand_layer.conv", 960, channels, 1, 1)
    norm("final_expand_layer.bn", 960)
    conv("feature_mix_layer.conv", 1280, 960, 1, 1)
    conv("classifier.linear", 1000, 1280)
    tensors["classifier.linear.bias"] = torch.zeros(1000)
    return tensors


def module_like(tensors):
    """A module whose state dict has these names and shapes."""
    root = torch.nn.Module()
    for name, tensor in tensors.items():
        module, parts = root, name.split(".")
        for part in parts[:-1]:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        if "running" in name or "num_batches" in name:
            module.register_buffer(parts[-1], torch.zeros_like(tensor))
        else:
            module.register_parameter(parts[-1], torch.nn.Parameter(torch.zeros_like(tensor)))
    return root


def load_with_torch(path):
    """The peer's part, timed inside its process: neither importing torch nor building the module counts."""
    model = module_like(state_dict())
    started = time.perf_counter()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
    seconds = time.perf_counter() - started
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


# A process counts the memory of the one that started it as its own peak, so a small one must start it.
LAUNCHER = """
import resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def run_measured(command):
    """Wall time in seconds and largest resident memory in MiB of one process."""
    output = subprocess.check_output([sys.executable, "-S", "-c", LAUNCHER, *command])
    return tuple(float(word) for word in output.split())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ofa", help="the program, or the checkpoint with --torch-only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", help="where to leave the checkpoint")
    parser.add_argument("--torch-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch_only:
        load_with_torch(arguments.ofa)
        return
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = arguments.keep or os.path.join(folder, "supernet.pth")
        model = os.path.join(folder, "model.safetensors")
        torch.save({"state_dict": state_dict()}, checkpoint)
        print(f"checkpoint: {os.path.getsize(checkpoint) / 2**20:.1f} MiB")
        ours, peer, peer_process = [], [], []
        for _ in range(arguments.rounds):
            torch_only = [sys.executable, __file__, checkpoint, "--torch-only"]
            peer.append(tuple(float(word) for word in subprocess.check_output(torch_only).split()))
            peer_process.append(run_measured(torch_only))
            ours.append(
                run_measured([arguments.ofa, "import", "supernet", checkpoint, "--space", "ofa-mbv3-w1.0", "-o", model])
            )
        rows = (
            ("torch.load + load_state_dict alone", peer),
            ("the same as a whole process, with `import torch`", peer_process),
            ("ofa import supernet, a whole process that also writes the model", ours),
        )
        for name, results in rows:
            seconds = statistics.median(result[0] for result in results)
            memory = max(result[1] for result in results)
            print(f"{name}: median {seconds:.3f} s, at most {memory:.0f} MiB resident")


if __name__ == "__main__":
    main()
