"""The PyTorch module of `ofa export --to torch` against our own logits, and the ways on from it and from the ONNX file.

    python tests/ways_onto_a_device.py logits OFA [path of the reference data, default $OFA_SHARED or ../shared]
    python tests/ways_onto_a_device.py accuracy OFA DATA MODEL…

`logits` exports networks of different spaces (derived, MobileNetV3, ProxylessNAS, ResNet, the quickstart's, and published ones)
and compares what PyTorch computes with `ofa forward`: within 1e-5 of the largest logit.

`accuracy` takes networks of ours and an image folder with a `test` part, goes on to each runtime of WAYS, runs all test images
there and prints a table in Markdown. A way that fails is a row with its message. Each way is a process of its own; the files
stay in target/ways-onto-a-device.

`logits` needs torch and numpy, `accuracy` also pillow, onnxruntime, litert-torch, executorch and openvino.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from small_supernets import ofa, small_supernet

# A file that is written anew within a second must not be read as it was.
sys.dont_write_bytecode = True

LIMIT = 1e-5
# Of the runtimes: they order sums in ways of their own.
RUNTIME_LIMIT = 1e-4
# A few steps on the digits that come with the program.
QUICKSTART = """
space = "tiny-28"
data = "bundled"
batch_size = 16
validation_images = 100
calibration_images = 64

[[phases]]
name = "whole"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 0.02
learning_rate = 0.05
"""


def module_of(path):
    """An exported Python file, imported."""
    spec = importlib.util.spec_from_file_location(path.stem.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------------------------------------------------------- logits


def networks(program, shared, scratch):
    """Label, model and options of each network."""
    photos = scratch / "photos.npy"
    np.save(photos, np.random.default_rng(1).uniform(-1, 1, (64, 3, 176, 176)).astype(np.float32))
    yield "derived (subnet of MCUNet)", "mcunet", ["--arch", "random", "--calibrate", photos]
    for label, name in [
        ("MobileNetV3", "mbv3-small"),
        ("ProxylessNAS", "proxyless-small"),
        ("ResNet-50", "resnet-small"),
    ]:
        model, calibration = small_supernet(program, shared, name, scratch)
        yield label, model, ["--arch", "random", "--calibrate", calibration]
    config = scratch / "quickstart.toml"
    config.write_text(QUICKSTART)
    ofa(program, "train", config, "--out", scratch / "quickstart")
    supernet = scratch / "quickstart" / "supernet.safetensors"
    yield "quickstart", supernet, ["--arch", "random", "--calibrate", "bundled"]
    for name in ["mcunet-320kb-1mb", "proxyless-w0.3-r176"]:
        published, net = shared / "data" / "mcunet" / f"{name}_imagenet", scratch / f"{name}.safetensors"
        files = ["--config", f"{published}.json", "--weights", f"{published}.pth"]
        ofa(program, "import", "net", *files, "--image-size", 176, "-o", net)
        yield f"published {name}", net, []
    lite = shared / "data" / "pretrained" / "efficientnet-lite0.pth"
    net = scratch / "lite0.safetensors"
    ofa(program, "import", "pretrained", lite, "-o", net)
    yield "published EfficientNet-Lite0 (SAME padding)", net, []


def logits(program, shared):
    import torch

    failed = False
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for number, (label, model, options) in enumerate(networks(program, shared, scratch)):
            # With an arch, the same network for both: standalone, with statistics of its own.
            net = scratch / f"net-{number}.safetensors"
            if options:
                ofa(program, "extract", "--model", model, "-o", net, "--seed", number, *options)
            else:
                net = model
            written = scratch / f"net-{number}.py"
            ofa(program, "export", "--to", "torch", "--model", net, "-o", written)
            module = module_of(written)
            x = np.random.default_rng(number).uniform(-1, 1, (8, *module.INPUT_SIZE)).astype(np.float32)
            x_file, y_file = scratch / "x.npy", scratch / "y.npy"
            np.save(x_file, x)
            ofa(program, "forward", "--model", net, "--input", x_file, "--output", y_file)
            ours = np.load(y_file)
            with torch.no_grad():
                theirs = module.build()(torch.from_numpy(x)).numpy()
            assert theirs.shape == ours.shape == (8, len(module.CLASSES)), (theirs.shape, ours.shape)
            difference = np.abs(theirs - ours).max() / np.abs(ours).max()
            failed |= not difference <= LIMIT
            print(f"{label}: {difference:.1e}{'' if difference <= LIMIT else ' TOO FAR'}", flush=True)
    print("torch", torch.__version__)
    raise SystemExit(int(failed))


# -------------------------------------------------------------------------------------------------------------- accuracy


def pytorch(folder, images):
    import torch

    net = module_of(folder / "net.py").build()
    with torch.no_grad():
        return folder / "net.pth", np.concatenate([net(torch.from_numpy(batch)).numpy() for batch in chunks(images)])


def onnxruntime(folder, images):
    import onnxruntime as runtime

    file = folder / "net.onnx"
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return file, np.concatenate([session.run(None, {"input": batch})[0] for batch in chunks(images)])


def litert(folder, images):
    import litert_torch
    import torch
    from ai_edge_litert.interpreter import Interpreter

    file = folder / "net.tflite"
    net = module_of(folder / "net.py").build()
    litert_torch.convert(net, (torch.from_numpy(images[:1]),)).export(str(file))
    interpreter = Interpreter(str(file))
    interpreter.allocate_tensors()
    [given], [found] = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(found["index"])[0].copy())
    return file, np.stack(rows)


def executorch(folder, images):
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    file = folder / "net.pte"
    net = module_of(folder / "net.py").build()
    exported = torch.export.export(net, (torch.from_numpy(images[:1]),))
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    file.write_bytes(program.buffer)
    method = Runtime.get().load_program(str(file)).load_method("forward")
    return file, np.concatenate([method.execute([torch.from_numpy(image[None])])[0].numpy() for image in images])


def openvino_from(folder, images, name, read):
    import openvino

    file = folder / f"{name}.xml"
    openvino.save_model(read(openvino), file, compress_to_fp16=False)
    # Some processors would compute in bf16.
    network = openvino.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return file, np.concatenate([next(iter(network(batch).values())) for batch in chunks(images)])


def openvino_onnx(folder, images):
    return openvino_from(folder, images, "openvino-onnx", lambda openvino: openvino.convert_model(folder / "net.onnx"))


def openvino_torch(folder, images):
    import torch

    net = module_of(folder / "net.py").build()
    example = torch.from_numpy(images[:1])
    shape = [-1, *images.shape[1:]]
    read = lambda openvino: openvino.convert_model(net, example_input=example, input=shape)
    return openvino_from(folder, images, "openvino-torch", read)


# Name, what it starts from, the packages whose versions are printed, and what converts and runs.
WAYS = {
    "pytorch": ("PyTorch", "`--to torch`", ["torch"], pytorch),
    "onnxruntime": ("ONNX Runtime", "ONNX", ["onnxruntime"], onnxruntime),
    "litert": ("LiteRT", "`--to torch`", ["litert-torch", "ai-edge-litert"], litert),
    "executorch": ("ExecuTorch, XNNPACK", "`--to torch`", ["executorch"], executorch),
    "openvino-onnx": ("OpenVINO", "ONNX", ["openvino"], openvino_onnx),
    "openvino-torch": ("OpenVINO", "`--to torch`", ["openvino"], openvino_torch),
}
BATCH = 32


def chunks(images):
    return (images[at : at + BATCH] for at in range(0, len(images), BATCH))


def test_images(data, module, resize):
    """The test part as the network takes it, and the classes' numbers."""
    from PIL import Image

    _, height, width = module.INPUT_SIZE
    pixels, labels = [], []
    for label, name in enumerate(module.CLASSES):
        for file in sorted((data / "test" / name).iterdir()):
            image = Image.open(file).convert("RGB")
            w, h = image.size
            if resize["type"] == "stretch":
                image = image.resize((width, height), Image.BILINEAR)
            else:
                short = height * resize["numerator"] // resize["denominator"]
                w, h = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
                left, top = round((w - width) / 2), round((h - height) / 2)
                image = image.resize((w, h), Image.BILINEAR).crop((left, top, left + width, top + height))
            pixels.append(np.asarray(image))
            labels.append(label)
    mean, std = np.array(module.MEAN, np.float32), np.array(module.STD, np.float32)
    images = (np.stack(pixels).astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), np.array(labels)


def size_of(file):
    """Bytes of a file, with those that belong to it."""
    beside = [file.with_suffix(".bin"), file.with_suffix(".py")] if file.suffix in (".xml", ".pth") else []
    return sum(part.stat().st_size for part in [file, *beside] if part.exists())


def go(way, folder):
    """One way, in this process: its logits to a file."""
    _, _, packages, run = WAYS[way]
    file, found = run(folder, np.load(folder / "images.npy"))
    np.save(folder / f"{way}-logits.npy", found)
    version = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    (folder / f"{way}.json").write_text(json.dumps({"file": file.name, "bytes": size_of(file), "version": version}))


def accuracy(program, data, models):
    failed = False
    for model in models:
        folder = Path("target/ways-onto-a-device") / model.stem
        folder.mkdir(parents=True, exist_ok=True)
        ofa(program, "export", "--model", model, "--to", "torch", "-o", folder / "net.py")
        ofa(program, "export", "--model", model, "-o", folder / "net.onnx")
        x, y = folder / "images.npy", folder / "ours.npy"
        images, labels = test_images(data, module_of(folder / "net.py"), resize_of(folder / "net.onnx"))
        np.save(x, images)
        ofa(program, "forward", "--model", model, "--input", x, "--output", y)
        ours = np.load(y)
        by_us = ofa(program, "eval", "--model", model, "--data", data)["top1"]
        print(f"\n{model.stem}, {len(labels)} images; `ofa eval`: {100 * by_us:.2f} %, `ofa forward` on what the others get: "
              f"{100 * (ours.argmax(1) == labels).mean():.2f} %\n")
        print("| runtime | from | versions | bytes | top-1 | answers that are not ours | difference |\n|---|---|---|---|---|---|---|")
        for way, (name, start, packages, _) in WAYS.items():
            words = [sys.executable, __file__, "go", way, str(folder)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                failed = True
                message = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
                versions = ", ".join(f"{package} {version_of(package)}" for package in packages)
                print(f"| {name} | {start} | {versions} | | failed: {message} | | |", flush=True)
                (folder / f"{way}.err").write_text(done.stderr)
                continue
            report = json.loads((folder / f"{way}.json").read_text())
            found = np.load(folder / f"{way}-logits.npy")
            top1 = 100 * (found.argmax(1) == labels).mean()
            others = int((found.argmax(1) != ours.argmax(1)).sum())
            difference = np.abs(found - ours).max() / np.abs(ours).max()
            failed |= not difference <= RUNTIME_LIMIT
            print(f"| {name} | {start} | {report['version']} | {report['bytes']:,} | {top1:.2f} % | {others} | {difference:.1e} |",
                  flush=True)
    raise SystemExit(int(failed))


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def resize_of(onnx):
    """How images are resized, from the metadata of an exported file."""
    import onnxruntime as runtime

    metadata = runtime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"]).get_modelmeta()
    return json.loads(metadata.custom_metadata_map["resize"])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["logits", program, *shared]:
            logits(program, Path(shared[0] if shared else os.environ.get("OFA_SHARED", "../shared")))
        case ["accuracy", program, data, *models] if models:
            accuracy(program, Path(data), [Path(model) for model in models])
        case ["go", way, folder]:
            go(way, Path(folder))
        case _:
            raise SystemExit(__doc__)
