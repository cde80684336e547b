"""What a run from a pretrained network delivers, beside PyTorch and the tools that a user would pick instead.

    pip install torch==2.9.1 torchvision==0.24.1 onnxruntime pillow nvidia-modelopt==0.47.0 torch-pruning==1.6.1 \
        requests huggingface_hub torchprofile==0.0.4
    ofa run --data trashnet --seed 0 --out run-0
    python benches/photos_vs_tools.py measure --run run-0 --data trashnet --mcunet mcunet --work work --out photos.jsonl
    python benches/photos_vs_tools.py table photos.jsonl

`--data` is the folder of the run, with `train`, `val` and `test`; `--mcunet` holds mcunet-320kb-1mb_imagenet.json and .pth.
`measure` handles one run, with the run's own seed, limits and epochs of fine-tuning, and appends a JSON line for each network
with its answers on the test images, so `table` can pair them. Lines that the file has already are not made again. The parts:

- `ofa`: the ONNX files of the run, in onnxruntime;
- `full`: MCUNet with a new head, 1 epoch of the head and 5 of everything, then 6 more, as in the run;
- `cut`, `cut-distilled`: the run's own subnets cut once from `full` by the magnitude of the weights, then fine-tuned, without
  and with `full` as their teacher;
- `fastnas`, `fastnas-64`: NVIDIA ModelOpt's pruning under the same MACs, at 96 and at 64 px;
- `autonas`: ModelOpt's supernet and search; `torch-pruning`: magnitude, local.

Settings that the run does not give are those of the peers' documentation or were chosen on validation images of `full` alone.
CPU seconds are user + system seconds of this process, on one thread, without reading the images.
"""

import argparse
import copy
import json
import math
import os
import random
import resource
import statistics
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

NAME = "mcunet-320kb-1mb_imagenet"
BATCH, RATE, HEAD_ALONE_RATE, HEAD_SHARE, DECAY, SMOOTHING = 32, 0.03, 0.004, 0.1, 4e-5, 0.1
TEMPERATURE, TEACHER_SHARE = 4.0, 0.5


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# ---------------------------------------------------------------- photos


class Photos:
    """An image folder with given splits. Images are decoded once and kept at their own size."""

    def __init__(self, root):
        self.root = Path(root)
        self.classes = sorted(folder.name for folder in (self.root / "train").iterdir())
        self.decoded, self.prepared = {}, {}

    def images(self, split):
        if split not in self.decoded:
            self.decoded[split] = [
                (Image.open(file).convert("RGB"), label)
                for label, name in enumerate(self.classes)
                for file in sorted((self.root / split / name).glob("*"))
            ]
        return self.decoded[split]

    def evaluation(self, split, size):
        """The shorter side to size · 8/7, the middle of it: the transform that MCUNet was trained for."""
        if (split, size) not in self.prepared:
            short, crops = size * 8 // 7, []
            for image, _ in self.images(split):
                w, h = image.size
                shape = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
                image = image.resize(shape, Image.BILINEAR)
                left, top = round((shape[0] - size) / 2), round((shape[1] - size) / 2)
                crops.append(np.asarray(image.crop((left, top, left + size, top + size))))
            labels = torch.tensor([label for _, label in self.images(split)])
            self.prepared[split, size] = normalised(np.stack(crops)), labels
        return self.prepared[split, size]

    def batches(self, size, seed, batch=BATCH):
        """Endless epochs of random crops (35 to 100 % of the area) and mirror images."""
        return Batches(self.images("train"), size, batch, random.Random(seed))


class Batches:
    def __init__(self, images, size, batch, rng):
        self.images, self.size, self.batch, self.rng = images, size, batch, rng

    def __len__(self):
        return len(self.images) // self.batch

    def __iter__(self):
        order = list(range(len(self.images)))
        self.rng.shuffle(order)
        for start in range(0, len(self) * self.batch, self.batch):
            chosen = [self.images[i] for i in order[start : start + self.batch]]
            pixels = np.stack([np.asarray(self.crop(image)) for image, _ in chosen])
            yield normalised(pixels), torch.tensor([label for _, label in chosen])

    def crop(self, image):
        width, height = image.size
        for _ in range(10):
            area = width * height * self.rng.uniform(0.35, 1.0)
            ratio = math.exp(self.rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                break
        else:
            w = h = min(width, height)
        x, y = self.rng.randint(0, width - w), self.rng.randint(0, height - h)
        image = image.resize((self.size, self.size), Image.BILINEAR, box=(x, y, x + w, y + h))
        return image.transpose(Image.FLIP_LEFT_RIGHT) if self.rng.random() < 0.5 else image


def normalised(pixels):
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


# ---------------------------------------------------------------- the network


class Convolution(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, groups=1, act=True):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU6(inplace=True) if act else nn.Identity()

    def forward(self, x):
        return self.act(self.bn(self.conv(x)))


class Block(nn.Module):
    def __init__(self, inputs, middle, outputs, kernel, stride, expand, residual):
        super().__init__()
        self.inverted_bottleneck = Convolution(inputs, middle, 1) if expand else None
        self.depth_conv = Convolution(middle, middle, kernel, stride, middle)
        self.point_linear = Convolution(middle, outputs, 1, act=False)
        self.residual = residual

    def forward(self, x):
        y = x if self.inverted_bottleneck is None else self.inverted_bottleneck(x)
        y = self.point_linear(self.depth_conv(y))
        return x + y if self.residual else y


class Net(nn.Module):
    """Stages are `Sequential`s, so that AutoNAS may search their depth."""

    def __init__(self, stem, stages, features, classes):
        super().__init__()
        self.first_conv = Convolution(3, stem, 3, 2)
        self.blocks = nn.ModuleList(nn.Sequential(*(Block(*block) for block in stage)) for stage in stages)
        self.pool, self.flat = nn.AdaptiveAvgPool2d(1), nn.Flatten(1)
        self.classifier = nn.Linear(features, classes)

    def forward(self, x):
        x = self.first_conv(x)
        for stage in self.blocks:
            x = stage(x)
        return self.classifier(self.flat(self.pool(x)))


def published(folder, classes):
    """The published network with a new head, and its stages: rows (inputs, middle, outputs, kernel, stride, expand, residual)."""
    config = json.loads((Path(folder) / f"{NAME}.json").read_text())
    state = torch.load(Path(folder) / f"{NAME}.pth", map_location="cpu", weights_only=True)["state_dict"]
    stages, names = [], {}
    for index, entry in enumerate(config["blocks"]):
        conv = entry["mobile_inverted_conv"]
        middle = len(state[f"blocks.{index}.mobile_inverted_conv.depth_conv.conv.weight"])
        residual = entry["shortcut"] is not None
        row = (conv["in_channels"], middle, conv["out_channels"], conv["kernel_size"], conv["stride"])
        if not residual:
            stages.append([])
        names[f"blocks.{index}.mobile_inverted_conv"] = f"blocks.{len(stages) - 1}.{len(stages[-1])}"
        stages[-1].append((*row, conv["expand_ratio"] != 1, residual))
    features = config["classifier"]["in_features"]
    net = Net(config["first_conv"]["out_channels"], stages, features, classes)
    renamed = {}
    for key, value in state.items():
        prefix = next((p for p in names if key.startswith(p + ".")), None)
        if not key.startswith("classifier"):
            renamed[names[prefix] + key[len(prefix) :] if prefix else key] = value
    missing, unexpected = net.load_state_dict(renamed, strict=False)
    assert not unexpected and set(missing) == {"classifier.weight", "classifier.bias"}, (missing, unexpected)
    nn.init.normal_(net.classifier.weight, 0, 0.01)
    nn.init.zeros_(net.classifier.bias)
    return net, stages


def cut(net, stages, arch):
    """The subnet of a derived space, with the channels of largest Σ|w| in the projection; unsorted if nothing is cut."""
    kernels, ratios, kept, source = iter(arch["ks"]), iter(arch["e"]), [], []
    depths, first = iter(arch["d"]), True
    for s, stage in enumerate(stages):
        rows = []
        depth = next(depths) if len(stage) > 1 else 0
        for b, (inputs, middle, outputs, kernel, stride, expand, residual) in enumerate(stage):
            ratio = 1
            if not first:
                kernel, ratio = next(kernels), next(ratios)
            first = False
            if b > depth:
                continue
            width = middle if ratio == 1 else int(middle * ratio) // 8 * 8
            rows.append((inputs, width, outputs, kernel, stride, expand, residual))
            source.append((s, b, len(kept), len(rows) - 1))
        kept.append(rows)
    small = Net(net.first_conv.conv.out_channels, kept, net.classifier.in_features, net.classifier.out_features)
    for name in ("first_conv", "classifier"):
        getattr(small, name).load_state_dict(getattr(net, name).state_dict())
    with torch.no_grad():
        for s, b, t, c in source:
            copy_block(net.blocks[s][b], small.blocks[t][c])
    return small


def copy_block(old, new):
    width, kernel = new.depth_conv.conv.out_channels, new.depth_conv.conv.kernel_size[0]
    order = old.point_linear.conv.weight.abs().sum((0, 2, 3)).argsort(descending=True)[:width].sort().values
    border = (old.depth_conv.conv.kernel_size[0] - kernel) // 2
    rows = slice(border, border + kernel)
    parts = [(old.depth_conv, new.depth_conv)]
    if new.inverted_bottleneck is not None:
        parts.append((old.inverted_bottleneck, new.inverted_bottleneck))
        new.inverted_bottleneck.conv.weight.copy_(old.inverted_bottleneck.conv.weight[order])
    new.depth_conv.conv.weight.copy_(old.depth_conv.conv.weight[order][:, :, rows, rows])
    new.point_linear.conv.weight.copy_(old.point_linear.conv.weight[:, order])
    new.point_linear.bn.load_state_dict(old.point_linear.bn.state_dict())
    for source, target in parts:
        for key in ("weight", "bias", "running_mean", "running_var"):
            getattr(target.bn, key).copy_(getattr(source.bn, key)[order])


def count(net, size):
    """MACs of convolutions and linear layers for one image, counted by hand; parameters."""
    total, hooks = [0], []

    def conv(module, _, output):
        total[0] += output[0].numel() * module.weight[0].numel()

    def linear(module, *_):
        total[0] += module.in_features * module.out_features

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(conv))
        elif isinstance(module, nn.Linear):
            hooks.append(module.register_forward_hook(linear))
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return total[0], sum(parameter.numel() for parameter in net.parameters())


# ---------------------------------------------------------------- training and scores


@torch.no_grad()
def answers(net, photos, split, size):
    images, labels = photos.evaluation(split, size)
    net.eval()
    return torch.cat([net(part).argmax(1) for part in images.split(64)]) == labels


@torch.no_grad()
def recalibrated(net, photos, size, seed, batches=20):
    net = copy.deepcopy(net)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    net.train()
    for index, (images, _) in enumerate(photos.batches(size, seed)):
        if index == batches:
            break
        net(images)
    for norm in norms:
        norm.momentum = 0.1
    return net


def train(net, photos, size, epochs, rate, seed, head_alone=False, teacher=None):
    """SGD with Nesterov momentum and a cosine; the head learns at a tenth of the body's rate."""
    torch.manual_seed(seed)
    loader = photos.batches(size, seed + 1000)
    head = set(net.classifier.parameters())
    groups = []
    for is_head in (True,) if head_alone else (True, False):
        for decayed in (True, False):
            chosen = [p for p in net.parameters() if (p in head) == is_head and (p.ndim > 1) == decayed]
            share = HEAD_SHARE if is_head and not head_alone else 1.0
            groups.append({"params": chosen, "weight_decay": DECAY if decayed else 0.0, "share": share})
    optimizer = torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True)
    step, steps = 0, epochs * len(loader)
    for _ in range(epochs):
        net.train(not head_alone)
        for images, labels in loader:
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            logits = net(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=SMOOTHING)
            if teacher is not None:
                with torch.no_grad():
                    target = F.log_softmax(teacher.eval()(images) / TEMPERATURE, 1)
                pupil = F.log_softmax(logits / TEMPERATURE, 1)
                distance = F.kl_div(pupil, target, reduction="batchmean", log_target=True)
                loss = (1 - TEACHER_SHARE) * loss + TEACHER_SHARE * TEMPERATURE**2 * distance
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return net


# ---------------------------------------------------------------- one run's networks and their peers


class Measurement:
    def __init__(self, options):
        run = Path(options.run)
        results = json.loads((run / "results.json").read_text())
        plan = (run / "pipeline.toml").read_text()
        self.epochs = round(float(plan.split("[deploy.finetune]")[1].split("epochs = ")[1].split("\n")[0]))
        self.seed = int(plan.split("seed = ")[1].split("\n")[0])
        self.cases, self.reference, self.run = results["cases"], results["reference"], run
        self.photos, self.work, self.out = Photos(options.data), Path(options.work), Path(options.out)
        self.data = Path(options.data).name
        self.work.mkdir(parents=True, exist_ok=True)
        lines = self.out.read_text().splitlines() if self.out.exists() else []
        self.known = {key(json.loads(line)) for line in lines}
        self.start, self.stages = published(options.mcunet, len(self.photos.classes))
        for split in ("train", "val", "test"):
            self.photos.images(split)

    def has(self, tool, limit, distilled=False):
        return (self.data, self.seed, tool, limit, distilled) in self.known

    def write(self, tool, limit, size, correct, macs, validation, seconds, distilled=False, **more):
        line = {"data": self.data, "seed": self.seed, "tool": tool, "limit": limit, "distilled": distilled, "size": size}
        line |= {"macs": macs, "validation": validation, "test": correct.float().mean().item()}
        line |= {"cpu_seconds": {name: round(value, 1) for name, value in seconds.items()}, **more}
        line["answers"] = "".join("1" if right else "0" for right in correct.tolist())
        with self.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.known.add(key(line))
        shown = {name: value for name, value in line.items() if name != "answers"}
        print(json.dumps(shown), flush=True)

    def ofa(self):
        import onnxruntime

        nets = [(case["constraint"]["macs"], case) for case in self.cases] + [("full", self.reference)]
        for limit, case in nets:
            if self.has("ofa", limit):
                continue
            size = case["arch"]["r"]
            session = onnxruntime.InferenceSession(str(self.run / "nets" / Path(case["onnx"]).name))
            correct = {}
            for split in ("val", "test"):
                images, labels = self.photos.evaluation(split, size)
                logits = session.run(None, {"input": images.numpy()})[0]
                correct[split] = torch.from_numpy(logits).argmax(1) == labels
            stated = round(case["accuracy"] * len(correct["test"]))
            # The run scores photos that it has kept at about twice the network's size, this script the originals.
            assert abs(correct["test"].sum().item() - stated) <= 0.02 * len(labels), f"{limit}: the run states {stated}"
            self.write("ofa", limit, size, correct["test"], case["macs"], correct["val"].float().mean().item(), {})

    def full(self, size):
        """The full network at `size`: 1 epoch of the head, 5 of everything, 6 more."""
        file, tool = self.work / f"full-{size}-{self.seed}.pt", "full" if size == 96 else f"full-{size}"
        if not file.exists():
            torch.manual_seed(self.seed)
            before = cpu_seconds()
            net = recalibrated(self.start, self.photos, size, self.seed + 500)
            train(net, self.photos, size, 1, HEAD_ALONE_RATE, self.seed, head_alone=True)
            train(net, self.photos, size, 5, RATE, self.seed + 7)
            train(net, self.photos, size, 6, RATE, self.seed + 21)
            seconds = cpu_seconds() - before
            torch.save((net, seconds), file)
        net, seconds = torch.load(file, weights_only=False)
        if not self.has(tool, "full"):
            macs, _ = count(net, size)
            self.score(net, tool, "full", size, macs, {"training": seconds})
        return net

    def score(self, net, tool, limit, size, macs, seconds, distilled=False, **more):
        correct = answers(net, self.photos, "test", size)
        validation = answers(net, self.photos, "val", size).float().mean().item()
        self.write(tool, limit, size, correct, macs, validation, seconds, distilled, **more)

    def fine_tune(self, net, tool, limit, size, cutting, ways, teacher):
        """Recalibrates a network that was just cut, then fine-tunes it for as many epochs as the run does."""
        macs, _ = count(net, size)
        net = recalibrated(net, self.photos, size, self.seed + 501)
        raw = answers(net, self.photos, "test", size).float().mean().item()
        for distilled in ways:
            if self.has(tool, limit, distilled):
                continue
            tuned, before = copy.deepcopy(net), cpu_seconds()
            train(tuned, self.photos, size, self.epochs, RATE, self.seed + 31, teacher=teacher if distilled else None)
            seconds = {**cutting, "fine_tuning": cpu_seconds() - before}
            self.score(tuned, tool, limit, size, macs, seconds, distilled, as_cut=raw)

    def cut(self, distilled):
        full = self.full(96)
        for case in self.cases:
            small = cut(full, self.stages, case["arch"])
            size, limit = case["arch"]["r"], case["constraint"]["macs"]
            assert count(small, size)[0] == case["macs"], "the cut network is not the run's"
            self.fine_tune(small, "cut", limit, size, {}, (distilled,), full)

    def fastnas(self, size):
        import modelopt.torch.prune as prune

        tool, full = "fastnas" if size == 96 else f"fastnas-{size}", self.full(size)
        defaults = prune.fastnas.FastNASConfig().model_dump()
        defaults["nn.Conv2d"]["*"]["channel_divisor"] = 8
        for kind in ("nn.BatchNorm2d", "nn.Linear"):
            defaults[kind]["*"]["feature_divisor"] = 8
        for case in self.cases:
            limit = case["constraint"]["macs"]
            if self.has(tool, limit) or limit >= count(full, size)[0]:
                continue
            before = cpu_seconds()
            net, _ = prune.prune(
                copy.deepcopy(full),
                mode=[("fastnas", defaults)],
                constraints={"flops": 2 * limit},
                dummy_input=torch.zeros(1, 3, size, size),
                config={
                    "data_loader": self.calibration(size),
                    "collect_func": lambda batch: batch[0],
                    "score_func": lambda net: answers(net, self.photos, "val", size).float().mean().item(),
                    "checkpoint": str(self.work / f"fastnas-{size}-{self.seed}.pth"),
                    "verbose": False,
                },
            )
            self.fine_tune(net, tool, limit, size, {"cutting": cpu_seconds() - before}, (False,), full)

    def autonas(self, size=96):
        import modelopt.torch.nas as nas

        full, file = self.full(size), self.work / f"autonas-{size}-{self.seed}.pt"
        ratios = (0.25, 0.5, 0.75, 1.0)
        settings = nas.autonas.AutoNASConfig().model_dump()
        settings["nn.Conv2d"]["*"].update(channel_divisor=8, channels_ratio=ratios, kernel_size=(3, 5, 7))
        settings["nn.BatchNorm2d"]["*"].update(feature_divisor=8, features_ratio=ratios)
        settings["nn.Linear"]["*"].update(feature_divisor=8)
        settings["nn.Sequential"]["*"].update(min_depth=1)

        def supernet():
            return nas.convert(copy.deepcopy(full), [("autonas", settings)])

        if all(self.has("autonas", case["constraint"]["macs"]) for case in self.cases):
            return
        random.seed(self.seed)
        np.random.seed(self.seed)
        if not file.exists():
            net, before = supernet(), cpu_seconds()
            train(net, self.photos, size, 8, RATE, self.seed + 11)
            torch.save((net.state_dict(), cpu_seconds() - before), file)
        state, training = torch.load(file, weights_only=False)
        for case in self.cases:
            limit = case["constraint"]["macs"]
            if self.has("autonas", limit):
                continue
            net, before = supernet(), cpu_seconds()
            net.load_state_dict(state)
            net, _ = nas.search(
                net,
                {"flops": 2 * limit},
                torch.zeros(1, 3, size, size),
                config={
                    "data_loader": self.calibration(size),
                    "collect_func": lambda batch: batch[0],
                    "score_func": lambda net: answers(net, self.photos, "val", size).float().mean().item(),
                    "num_iters": 120,
                    "population_size": 24,
                    "candidate_size": 8,
                    "verbose": False,
                },
            )
            seconds = {"supernet": training, "cutting": cpu_seconds() - before}
            self.fine_tune(net, "autonas", limit, size, seconds, (False,), full)

    def calibration(self, size):
        """ModelOpt's calibration reads exactly 50 batches."""
        return [batch for batch, _ in zip(self.photos.batches(size, self.seed + 60, 16), range(50))]

    def torch_pruning(self, size=96):
        import torch_pruning as tp

        full = self.full(size)
        for case in self.cases:
            limit = case["constraint"]["macs"]
            if self.has("torch-pruning", limit):
                continue
            net, before = copy.deepcopy(full).eval(), cpu_seconds()
            pruner = tp.pruner.BasePruner(
                net,
                torch.zeros(1, 3, size, size),
                importance=tp.importance.GroupMagnitudeImportance(p=2),
                global_pruning=False,
                pruning_ratio=0.95,
                iterative_steps=95,
                round_to=8,
                ignored_layers=[net.classifier],
            )
            for _ in range(95):
                if count(net, size)[0] <= limit:
                    break
                pruner.step()
            self.fine_tune(net, "torch-pruning", limit, size, {"cutting": cpu_seconds() - before}, (False,), full)


PARTS = {
    "ofa": Measurement.ofa,
    "full": lambda m: m.full(96),
    "cut": lambda m: m.cut(False),
    "cut-distilled": lambda m: m.cut(True),
    "fastnas": lambda m: m.fastnas(96),
    "fastnas-64": lambda m: m.fastnas(64),
    "autonas": Measurement.autonas,
    "torch-pruning": Measurement.torch_pruning,
}


# ---------------------------------------------------------------- the table


def key(line):
    return (line["data"], line["seed"], line["tool"], line["limit"], line["distilled"])


def table(lines):
    """Means over seeds, and ours minus theirs on the same images: mean and standard error over seeds × images."""
    ours = {(line["data"], line["seed"], line["limit"]): line for line in lines if line["tool"] == "ofa"}
    rows = {}
    for line in lines:
        limit = line["limit"] if isinstance(line["limit"], str) else float(line["limit"])
        place = (line["data"], limit == "full", limit if limit != "full" else 0.0, line["tool"] != "ofa", line["tool"])
        rows.setdefault((*place, line["distilled"]), []).append(line)
    print("| data | limit | tool | MACs | validation | test, each seed | mean | ofa − it | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (data, whole, limit, _, tool, distilled), group in sorted(rows.items()):
        differences = []
        for line in group:
            other = ours.get((data, line["seed"], "full" if whole else line["limit"]))
            if tool != "ofa" and other:
                differences += [int(a) - int(b) for a, b in zip(other["answers"], line["answers"], strict=True)]
        paired = "–"
        if differences:
            error = statistics.pstdev(differences) / math.sqrt(len(differences))
            paired = f"{100 * statistics.mean(differences):+.1f} ± {100 * error:.1f}"
        tests = [100 * line["test"] for line in group]
        seconds = [sum(line["cpu_seconds"].values()) for line in group]
        macs = sorted({f"{line['macs'] / 1e6:.2f}" for line in group})
        cells = [data, "full" if whole else f"{limit / 1e6:.2f} M", tool + (", distilled" if distilled else "")]
        cells += [" – ".join(dict.fromkeys((macs[0], macs[-1]))) + " M"]
        cells += [f"{100 * statistics.mean(line['validation'] for line in group):.1f}"]
        cells += [", ".join(f"{test:.1f}" for test in tests), f"{statistics.mean(tests):.1f}", paired]
        cells += [f"{statistics.mean(seconds):.0f}" if any(seconds) else "–"]
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("measure")
    for option in ("run", "data", "mcunet", "work", "out"):
        measure.add_argument(f"--{option}", required=True)
    measure.add_argument("--parts", default=",".join(PARTS), help="comma-separated: " + ", ".join(PARTS))
    show = commands.add_parser("table")
    show.add_argument("file", nargs="+")
    options = parser.parse_args()
    if options.command == "table":
        table([json.loads(line) for file in options.file for line in Path(file).read_text().splitlines()])
        return
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    measurement = Measurement(options)
    for part in options.parts.split(","):
        PARTS[part](measurement)


if __name__ == "__main__":
    main()
