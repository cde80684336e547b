"""Networks of every family with random weights, as torchvision and timm write them, and their logits; and our import and
export of them against PyTorch and onnxruntime.

    python tests/pretrained_nets.py make [folder, default target/pretrained-nets]
    python tests/pretrained_nets.py check OFA [folder]

`make` writes a checkpoint for each, images, the logits of PyTorch, and `nets.json`, which lists them; tests/pretrained.rs
reads the folder where it is there. `check` imports each with the program OFA, exports it and compares the logits of
onnxruntime with PyTorch's: within 1e-4 of the largest; and those of the exported PyTorch module with our own: within 1e-5.

Needs torch, torchvision, timm, onnx, onnxscript, onnxruntime, safetensors and numpy.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

DEFAULT = Path("target/pretrained-nets")
LIMIT = 1e-4
MODULE_LIMIT = 1e-5
SIZE = 64

# Library and name there; file; family that must be given where names and shapes leave several; and what else differs:
# `classes`, `wrap` (a key around the state dict), `prefix` (before every name), `size`, `onnx`.
NETS = [
    ("torchvision", "mobilenet_v2", "pth", None, {}),
    ("torchvision", "mobilenet_v2", "onnx", None, {"onnx": "folded"}),
    ("torchvision", "mobilenet_v3_large", "pth", None, {"wrap": "model", "prefix": "module."}),
    ("torchvision", "mobilenet_v3_small", "safetensors", None, {}),
    ("torchvision", "efficientnet_b0", "pth", None, {"wrap": "model_ema", "prefix": "module."}),
    ("torchvision", "mnasnet1_0", "pth", None, {"prefix": "_orig_mod."}),
    ("torchvision", "resnet18", "pth", None, {"classes": 7}),
    ("torchvision", "resnet18", "onnx", None, {"onnx": "folded"}),
    ("torchvision", "resnet34", "pth", None, {"prefix": "model."}),
    ("torchvision", "resnet50", "pth", None, {"wrap": "state_dict"}),
    ("timm", "mobilenetv2_100", "safetensors", None, {}),
    ("timm", "mobilenetv3_large_100", "pth", "mobilenetv3_large_100", {}),
    ("timm", "tf_mobilenetv3_large_100", "pth", "tf_mobilenetv3_large_100", {}),
    ("timm", "mobilenetv3_small_100", "pth", "mobilenetv3_small_100", {}),
    ("timm", "tf_mobilenetv3_small_100", "pth", "tf_mobilenetv3_small_100", {"size": 75}),
    ("timm", "efficientnet_b0", "pth", "efficientnet_b0", {}),
    ("timm", "efficientnet_b0", "onnx", None, {"onnx": "folded"}),
    ("timm", "mobilenetv3_small_100", "onnx", None, {"onnx": "whole"}),
    ("timm", "tf_efficientnet_lite0", "onnx", None, {"onnx": "new", "size": 66}),
    ("torchvision", "mobilenet_v3_small", "onnx", None, {"onnx": "new"}),
    ("timm", "tf_efficientnet_b0", "pth", "tf_efficientnet_b0", {}),
    ("timm", "efficientnet_lite0", "pth", "efficientnet_lite0", {}),
    ("timm", "tf_efficientnet_lite0", "safetensors", "tf_efficientnet_lite0", {}),
    ("timm", "tf_efficientnet_lite0", "pth", "tf_efficientnet_lite0", {"size": 65}),
    ("timm", "efficientnet_lite1", "pth", "efficientnet_lite1", {}),
    ("timm", "tf_efficientnet_lite2", "pth", "tf_efficientnet_lite2", {}),
    ("timm", "mnasnet_100", "pth", None, {}),
    ("timm", "resnet18", "pth", None, {}),
    ("timm", "resnet50", "pth", None, {}),
]


def randomise(net, torch, size):
    """Weights and batch norms as after training: nothing at its initial value, statistics about those of the activations."""
    generator = torch.Generator().manual_seed(5)

    def uniform(tensor, low, high):
        return torch.rand(tensor.shape, generator=generator) * (high - low) + low

    norms = [module for module in net.modules() if hasattr(module, "running_mean")]
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            inputs = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * (2 / inputs) ** 0.5
            if module.bias is not None:
                module.bias.data = uniform(module.bias, -0.2, 0.2)
    for norm in norms:
        norm.weight.data = uniform(norm.weight, 0.6, 1.4)
        norm.bias.data = uniform(norm.bias, -0.3, 0.3)
        norm.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn((16, 3, size, size), generator=generator))
    for norm in norms:
        norm.running_mean += uniform(norm.running_mean, -0.1, 0.1) * norm.running_var.sqrt()
        norm.running_var *= uniform(norm.running_var, 0.8, 1.25)
    return net.eval()


def write_onnx(net, image, file, exporter, torch):
    """By the new exporter (weights in a file beside it), or the old one with batch norms folded or whole."""
    if exporter == "new":
        torch.onnx.export(net, (image,), file, dynamo=True, input_names=["images"], dynamic_shapes=[{0: "batch"}])
        return
    folded = exporter == "folded"
    torch.onnx.export(
        net,
        (image,),
        file,
        dynamo=False,
        opset_version=17,
        input_names=["images"],
        output_names=["scores"],
        dynamic_axes={"images": {0: "batch"}},
        training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=folded,
    )


def make(folder):
    import safetensors.torch
    import timm
    import torch
    import torchvision

    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for library, name, kind, family, special in NETS:
        torch.manual_seed(3)
        classes = special.get("classes", 20)
        make_net = (lambda: getattr(torchvision.models, name)(num_classes=classes)) if library == "torchvision" else (
            lambda: timm.create_model(name, num_classes=classes)
        )
        size = special.get("size", SIZE)
        net = randomise(make_net(), torch, size)
        x = torch.from_numpy(np.random.default_rng(size).standard_normal((2, 3, size, size), dtype=np.float32))
        with torch.no_grad():
            logits = net(x)
        stem = f"{library}-{name}-{kind}-{size}"
        state = net.state_dict()
        if "prefix" in special:
            state = {special["prefix"] + key: value for key, value in state.items()}
        file = folder / f"{stem}.{kind}"
        if kind == "safetensors":
            safetensors.torch.save_file(state, file)
        elif kind == "onnx":
            write_onnx(net, x[:1], file, special["onnx"], torch)
        else:
            wrap = special.get("wrap")
            torch.save({wrap: state, "epoch": 3} if wrap else state, file)
        np.save(folder / f"{stem}-x.npy", x.numpy())
        np.save(folder / f"{stem}-logits.npy", logits.numpy())
        listed.append({"stem": stem, "file": file.name, "family": family, "size": size, "classes": classes})
        print(f"{stem}: logits up to {logits.abs().max():.3g}")
    torch.save(getattr(torchvision.models, "resnet18")(num_classes=3), folder / "module.pth")
    (folder / "nets.json").write_text(json.dumps(listed, indent=1) + "\n")


def check(ofa, folder):
    import onnxruntime
    import torch
    from ways_onto_a_device import module_of

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    failed = False
    for net in json.loads((folder / "nets.json").read_text()):
        model, exported, module = folder / "model.safetensors", folder / "model.onnx", folder / "model.py"
        images, ours = folder / f"{net['stem']}-x.npy", folder / "ours.npy"
        words = [ofa, "import", "pretrained", folder / net["file"], "--image-size", net["size"], "-o", model]
        words += ["--family", net["family"]] if net["family"] else []
        words += ["--mean", "0.5", "--std", "0.5"] if net["file"].endswith(".onnx") else []
        for line in [
            words,
            [ofa, "export", "--model", model, "-o", exported],
            [ofa, "export", "--model", model, "--to", "torch", "-o", module],
            [ofa, "forward", "--model", model, "--input", images, "--output", ours],
        ]:
            done = subprocess.run([*map(str, line), "--quiet"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(map(str, line))}\n{done.stderr}")
        session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
        logits = session.run(None, {"input": np.load(images)})[0]
        expected = np.load(folder / f"{net['stem']}-logits.npy")
        difference = np.abs(logits - expected).max() / np.abs(expected).max()
        with torch.no_grad():
            of_module = module_of(module).build()(torch.from_numpy(np.load(images))).numpy()
        own = np.load(ours)
        from_ours = np.abs(of_module - own).max() / np.abs(own).max()
        within = difference <= LIMIT and from_ours <= MODULE_LIMIT
        failed |= not within
        print(f"{net['stem']}: {difference:.1e}, module {from_ours:.1e}{'' if within else ' TOO FAR'}")
    raise SystemExit(int(failed))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", *folder]:
            make(Path(*folder) if folder else DEFAULT)
        case ["check", ofa, *folder]:
            check(ofa, Path(*folder) if folder else DEFAULT)
        case _:
            raise SystemExit(__doc__)
