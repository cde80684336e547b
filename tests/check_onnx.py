"""Exported files against a second opinion: onnx.checker (full), and Python's onnxruntime against our logits.

40 random archs over all three families (the small reference supernets, imported), and the published MCUNet and
ProxylessNAS nets: f32 within 1e-4 of the largest logit, f16 within 2e-2, preprocessing in the graph and a fixed batch
within 1e-4, and every opset from 13 on once.

    python tests/check_onnx.py target/release/ofa [path of the reference data, default ../shared]

Needs numpy, onnx and onnxruntime. Prints one line a family and exits with 1 if anything is out of bounds.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

OFA = sys.argv[1]
SHARED = Path(sys.argv[2] if len(sys.argv) > 2 else "../shared")
KINDS = {"OFAMobileNetV3": "mbv3", "OFAProxylessNASNets": "proxyless", "OFAResNets": "resnet50"}
LIMITS = {"f32": 1e-4, "f16": 2e-2, "bytes": 1e-4, "batch": 1e-4, "opset": 1e-4}
failures = []


def ofa(*arguments):
    words = [OFA, *map(str, arguments), "--json", "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{done.stderr}")
    return json.loads(done.stdout)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path, x):
    onnx.checker.check_model(str(path), full_check=True)
    return session(path).run(None, {"input": x})[0]


def import_small(name, scratch):
    cases = json.loads((SHARED / "golden" / name / "cases.json").read_text())
    lines = ["[space]", f'kind = "{KINDS[cases["network"]]}"', f'name = "{name}"', "resolutions = [64, 96]"]
    for key, value in cases["constructor"].items():
        if key == "bn_param":
            lines.append(f"bn_eps = {value['eps']}")
        elif key != "dropout_rate":
            lines.append(f"{key} = {json.dumps(value)}")
    space = scratch / f"{name}.toml"
    space.write_text("\n".join(lines) + "\n")
    model = scratch / f"{name}.safetensors"
    ofa("import", "supernet", SHARED / "golden" / cases["checkpoint"], "--space", space, "-o", model)
    return model


def check(label, model, worst, extras):
    """Exports a standalone net every way and keeps the worst relative differences."""
    rng = np.random.default_rng(0)
    plain = model.with_suffix(".onnx")
    ofa("export", "--model", model, "-o", plain)
    head = onnx.load(str(plain)).graph.input[0].type.tensor_type.shape.dim
    c, h, w = (d.dim_value for d in head[1:])
    x = rng.uniform(-2, 2, (4, c, h, w)).astype(np.float32)
    np.save(model.with_suffix(".x.npy"), x)
    y = model.with_suffix(".y.npy")
    ofa("forward", "--model", model, "--input", model.with_suffix(".x.npy"), "--output", y)
    ours = np.load(y)
    largest = np.abs(ours).max()

    def note(kind, theirs, expected):
        difference = np.abs(theirs - expected).max() / largest
        worst[kind] = max(worst.get(kind, 0.0), float(difference))
        if not difference <= LIMITS[kind]:
            failures.append(f"{label} {model.name} {kind}: {difference:.2e}")

    note("f32", run(plain, x), ours)
    half = model.with_suffix(".f16.onnx")
    ofa("export", "--model", model, "-o", half, "--fp16")
    note("f16", run(half, x), ours)
    if extras:
        fixed = model.with_suffix(".fixed.onnx")
        ofa("export", "--model", model, "-o", fixed, "--static-batch", 4)
        note("batch", run(fixed, x), ours)
        for opset in range(13, 22):
            other = model.with_suffix(f".opset{opset}.onnx")
            ofa("export", "--model", model, "-o", other, "--opset", opset)
            note("opset", run(other, x), ours)
        data = model.with_suffix(".bytes.onnx")
        ofa("export", "--model", model, "-o", data, "--preprocess")
        meta = {entry.key: entry.value for entry in onnx.load(str(data)).metadata_props}
        mean, std = (np.array(json.loads(meta[key]), np.float32) for key in ("mean", "std"))
        pixels = rng.integers(0, 256, (4, h, w, c), dtype=np.uint8)
        normalised = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        note("bytes", run(data, pixels), run(plain, np.ascontiguousarray(normalised)))


def main():
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name, count in [("mbv3-small", 14), ("proxyless-small", 13), ("resnet-small", 13)]:
            supernet = import_small(name, scratch)
            worst = {}
            for seed in range(count):
                net = scratch / f"{name}-{seed}.safetensors"
                ofa("extract", "--model", supernet, "--arch", "random", "--seed", seed, "-o", net)
                check(name, net, worst, extras=seed == 0)
            print(name, count, "archs:", json.dumps(worst))
        for name in ["mcunet-320kb-1mb", "proxyless-w0.3-r176"]:
            source = SHARED / "data" / "mcunet"
            net = scratch / f"{name}.safetensors"
            config, weights = source / f"{name}_imagenet.json", source / f"{name}_imagenet.pth"
            ofa("import", "net", "--config", config, "--weights", weights, "-o", net, "--image-size", 176)
            worst = {}
            check(name, net, worst, extras=True)
            print(name, json.dumps(worst))
    print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
    for failure in failures:
        print("FAILED", failure)
    sys.exit(bool(failures))


main()
