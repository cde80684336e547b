"""Exported files against a second opinion: onnx.checker (full), and Python's onnxruntime against our logits.

40 random archs over all three families (the small reference supernets, imported, their statistics recalibrated as any
deployed net's are), and the published MCUNet and ProxylessNAS nets: f32 within 1e-4 of the largest logit, f16 within
2e-2, preprocessing in the graph and a fixed batch within 1e-4, and every opset from 13 on once. Beside f16 as it is
exported stands what it would be with no operation left in f32.

    python tests/check_onnx.py target/release/ofa [path of the reference data, default $OFA_SHARED or ../shared]

Needs numpy, onnx, onnxruntime and pillow. Prints one line a net and family and exits with 1 if anything is out of
bounds.
"""

import functools
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import small_supernets

OFA = sys.argv[1]
SHARED = Path(sys.argv[2] if len(sys.argv) > 2 else os.environ.get("OFA_SHARED", "../shared"))
LIMITS = {"f32": 1e-4, "f16": 2e-2, "bytes": 1e-4, "batch": 1e-4, "opset": 1e-4}
failures = []
ofa = functools.partial(small_supernets.ofa, OFA)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(path, x):
    onnx.checker.check_model(str(path), full_check=True)
    return session(path).run(None, {"input": x})[0]


def check(label, model, worst, extras, images=None):
    """Exports a standalone net every way and keeps the worst relative differences."""
    rng = np.random.default_rng(0)
    plain = model.with_suffix(".onnx")
    # --verify is rten's opinion, with the same bound.
    ofa("export", "--model", model, "-o", plain, "--verify", *(["--calibrate", images] if images else []))
    head = onnx.load(str(plain)).graph.input[0].type.tensor_type.shape.dim
    c, h, w = (d.dim_value for d in head[1:])
    x = np.load(images)[:4] if images else rng.uniform(-2, 2, (4, c, h, w)).astype(np.float32)
    np.save(model.with_suffix(".x.npy"), x)
    y = model.with_suffix(".y.npy")
    ofa("forward", "--model", model, "--input", model.with_suffix(".x.npy"), "--output", y)
    ours = np.load(y)
    largest = np.abs(ours).max()

    def note(kind, theirs, expected):
        difference = float(np.abs(theirs - expected).max() / largest)
        worst[kind] = max(worst.get(kind, 0.0), difference)
        if not difference <= LIMITS.get(kind, np.inf):
            failures.append(f"{label} {model.name} {kind}: {difference:.2e}")
        return difference

    in_f32 = note("f32", run(plain, x), ours)
    half, pure = model.with_suffix(".f16.onnx"), model.with_suffix(".pure-f16.onnx")
    report = ofa("export", "--model", model, "-o", half, "--fp16", *(["--calibrate", images] if images else []))
    in_f16 = note("f16", run(half, x), ours)
    ofa("export", "--model", model, "-o", pure, "--fp16", "--fp16-tolerance", "inf")
    in_pure_f16 = note("pure f16", run(pure, x), ours)
    print(
        f"{model.stem}: f32 {in_f32:.1e}, f16 {in_f16:.1e} ({100 * report['weights_in_f32']:.1f} % of the weights and "
        f"{report['operations_in_f32']} of {report['operations']} operations in f32), pure f16 {in_pure_f16:.1e}"
    )
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
        pixels = np.clip(np.round((x.transpose(0, 2, 3, 1) * std + mean) * 255), 0, 255).astype(np.uint8)
        normalised = ((pixels.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        note("bytes", run(data, pixels), run(plain, np.ascontiguousarray(normalised)))


def photographs(golden):
    """The 50 photographs as the reference results were made with."""
    from PIL import Image

    size, short = golden["resolution"], golden["resize_short_side"]
    batch = []
    for entry in golden["images"]:
        image = Image.open(SHARED / "data" / "mcunet" / "images" / entry["file"]).convert("RGB")
        w, h = image.size
        w, h = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
        image = image.resize((w, h), Image.BILINEAR)
        left, top = round((w - size) / 2), round((h - size) / 2)
        batch.append(np.asarray(image.crop((left, top, left + size, top + size))))
    return np.stack(batch)


def check_photographs(name, model):
    """Re-exported, the net sees in the photographs what its checkpoint does: in f32, f16, and int8 with bytes in."""
    golden = json.loads((SHARED / "data" / "mcunet" / "golden-50.json").read_text())["nets"][f"{name}_imagenet"]
    pixels = photographs(golden)
    labels = np.array([entry["label"] for entry in golden["images"]])
    expected = np.array([entry["top5"][0] for entry in golden["images"]])
    x = ((pixels.astype(np.float32) / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    calibration = model.with_suffix(".cal.npy")
    np.save(calibration, np.ascontiguousarray(x))
    outcome = {"checkpoint": int((expected == labels).sum())}
    for kind, options, data in [
        ("f32", [], np.ascontiguousarray(x)),
        ("f16", ["--fp16"], np.ascontiguousarray(x)),
        ("int8", ["--int8", "--calibrate", calibration, "--preprocess"], pixels),
    ]:
        path = model.with_suffix(f".photos-{kind}.onnx")
        ofa("export", "--model", model, "-o", path, *options)
        found = run(path, data).argmax(axis=1)
        outcome[kind] = {"right": int((found == labels).sum()), "as_checkpoint": int((found == expected).sum())}
        if kind == "f32" and (found != expected).any():
            failures.append(f"{name}: {(found != expected).sum()} photographs are seen otherwise")
    print(name, "on 50 photographs:", json.dumps(outcome))


def main():
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name, count in [("mbv3-small", 14), ("proxyless-small", 13), ("resnet-small", 13)]:
            supernet, calibration = small_supernets.small_supernet(OFA, SHARED, name, scratch)
            worst = {}
            for seed in range(count):
                net = scratch / f"{name}-{seed}.safetensors"
                ofa("extract", "--model", supernet, "--arch", "random", "--seed", seed, "--calibrate", calibration, "-o", net)
                check(name, net, worst, extras=seed == 0, images=calibration)
            print(name, count, "archs:", json.dumps(worst))
        for name in ["mcunet-320kb-1mb", "proxyless-w0.3-r176"]:
            source = SHARED / "data" / "mcunet"
            net = scratch / f"{name}.safetensors"
            config, weights = source / f"{name}_imagenet.json", source / f"{name}_imagenet.pth"
            ofa("import", "net", "--config", config, "--weights", weights, "-o", net, "--image-size", 176)
            worst = {}
            check(name, net, worst, extras=True)
            print(name, json.dumps(worst))
            check_photographs(name, net)
    print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
    for failure in failures:
        print("FAILED", failure)
    sys.exit(bool(failures))


main()
