"""Logits of subnets of a space derived from MCUNet, made with plain PyTorch slicing of the published checkpoint.

    pip install torch numpy
    python tests/derived/make.py ../shared/data/mcunet > tests/derived/mcunet.json

The test beside it (tests/derived.rs) compares them with the program's. Images are made by a formula, as in golden-50.json.
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

NAME = "mcunet-320kb-1mb_imagenet"
folder = Path(sys.argv[1])
config = json.loads((folder / f"{NAME}.json").read_text())
state = torch.load(folder / f"{NAME}.pth", map_location="cpu", weights_only=True)["state_dict"]
eps = config["bn"]["eps"]


def image(size):
    c, y, x = torch.meshgrid(torch.arange(3), torch.arange(size), torch.arange(size), indexing="ij")
    return ((((31 * c + 7 * y + 13 * x + x * y) % 256) / 255 - 0.5) / 0.5)[None].float()


def norm(x, prefix, channels):
    mean, var, weight, bias = (
        state[f"{prefix}.{name}"][:channels] for name in ("running_mean", "running_var", "weight", "bias")
    )
    return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)


def matrix(size):
    """A transform matrix of `size`² rows that is not the identity; every entry is exact in f32."""
    i, j = torch.meshgrid(torch.arange(size**2), torch.arange(size**2), indexing="ij")
    return (i == j).float() + ((5 * i + 3 * j) % 7 - 3) / 64


def cropped(weight, kernel, identity):
    """The middle of a depthwise kernel, step by step."""
    while weight.shape[2] > kernel:
        size = weight.shape[2] - 2
        weight = weight[:, :, 1:-1, 1:-1]
        if not identity:
            weight = F.linear(weight.reshape(len(weight), -1), matrix(size)).reshape(-1, 1, size, size)
    return weight


def narrowed(channels, ratio):
    return channels if ratio == 1 else int(channels * ratio) // 8 * 8


def block(x, index, settings, kernel, ratio, identity):
    prefix = f"blocks.{index}.mobile_inverted_conv"
    middle = narrowed(len(state[f"{prefix}.depth_conv.conv.weight"]), ratio)
    y = x
    if f"{prefix}.inverted_bottleneck.conv.weight" in state:
        y = F.conv2d(y, state[f"{prefix}.inverted_bottleneck.conv.weight"][:middle])
        y = F.relu6(norm(y, f"{prefix}.inverted_bottleneck.bn", middle))
    weight = cropped(state[f"{prefix}.depth_conv.conv.weight"][:middle], kernel, identity)
    y = F.conv2d(y, weight, stride=settings["stride"], padding=kernel // 2, groups=middle)
    y = F.relu6(norm(y, f"{prefix}.depth_conv.bn", middle))
    y = F.conv2d(y, state[f"{prefix}.point_linear.conv.weight"][:, :middle])
    y = norm(y, f"{prefix}.point_linear.bn", y.shape[1])
    return x + y if config["blocks"][index]["shortcut"] else y


def logits(arch, identity):
    """`ks` and `e` are of blocks 1 to 17, `d` counts the residual blocks kept after each block that changes the shape."""
    x = F.conv2d(image(arch["r"]), state["first_conv.conv.weight"], stride=2, padding=1)
    x = F.relu6(norm(x, "first_conv.bn", 16))
    depths, kept = iter(arch["d"]), 0
    for index, entry in enumerate(config["blocks"]):
        residual = entry["shortcut"] is not None
        if residual and not config["blocks"][index - 1]["shortcut"]:
            kept = next(depths)
        if residual and kept == 0:
            continue
        kept -= residual
        settings = entry["mobile_inverted_conv"]
        own = index == 0
        kernel = settings["kernel_size"] if own else arch["ks"][index - 1]
        ratio = 1 if own else arch["e"][index - 1]
        x = block(x, index, settings, kernel, ratio, identity)
    return F.linear(x.mean((2, 3)), state["classifier.linear.weight"], state["classifier.linear.bias"])[0]


kernels = [entry["mobile_inverted_conv"]["kernel_size"] for entry in config["blocks"]][1:]
whole = {"ks": kernels, "e": [1] * 17, "d": [3, 2, 2, 2, 2], "r": 96}
mixed = [size - 2 * (i % 3 == 0 and size > 3) - 2 * (i % 2 == 0 and size > 5) for i, size in enumerate(kernels)]
ratios = [[0.5, 0.75, 1][i % 3] for i in range(17)]
cases = {
    "whole": (whole, True),
    "depth": ({**whole, "d": [1, 0, 2, 1, 0]}, True),
    "expansion": ({**whole, "e": ratios}, True),
    "smallest expansion": ({**whole, "e": [0.5] * 17}, True),
    "kernel, identity": ({**whole, "ks": [3] * 17}, True),
    "kernel, matrices": ({**whole, "ks": mixed}, False),
    "all": ({"ks": mixed, "e": ratios, "d": [2, 1, 0, 2, 1], "r": 64}, False),
}
made = []
for name, (arch, identity) in cases.items():
    with torch.no_grad():
        values = logits(arch, identity)
    made.append(
        {
            "name": name,
            "arch": arch,
            "identity": identity,
            "max_abs_logit": round(values.abs().max().item(), 6),
            "every_tenth_logit": [round(value, 6) for value in values[::10].tolist()],
        }
    )
about = f"{NAME}, torch {torch.__version__.split('+')[0]}; matrix[i][j] = [i = j] + ((5i + 3j) mod 7 - 3) / 64"
lines = ",\n".join(f"  {json.dumps(case)}" for case in made)
print(f'{{"about": {json.dumps(about)}, "cases": [\n{lines}\n]}}')
