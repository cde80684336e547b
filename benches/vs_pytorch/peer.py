"""The peer of the bench: the same network in PyTorch or ONNX Runtime, one step for every line on stdin.

usage: peer.py PEER WHAT FOLDER BATCH THREADS DEVICE

FOLDER holds net.json (a standalone NetSpec), weights.safetensors, images.f32 (N,C,H,W) and, for evaluation,
net.onnx. Answers: `ready`, then `<milliseconds> <check>` for every `step`, then `<growth in MB>` for `memory`.
"""

import json
import os
import struct
import sys
import time

PEER, WHAT, FOLDER = sys.argv[1:4]
BATCH, THREADS, DEVICE = int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy as np


def memory(field):
    for line in open("/proc/self/status"):
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def read_safetensors(path):
    data = open(path, "rb").read()
    (length,) = struct.unpack("<Q", data[:8])
    tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            values = np.frombuffer(data[8 + length + start : 8 + length + end], dtype="<f4")
            tensors[name] = values.reshape(entry["shape"]).copy()
    return tensors


net = json.load(open(os.path.join(FOLDER, "net.json")))
size = net["input"]
images = np.fromfile(os.path.join(FOLDER, "images.f32"), dtype="<f4").reshape([BATCH, *size])


def torch_step():
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.set_num_threads(THREADS)
    weights = read_safetensors(os.path.join(FOLDER, "weights.safetensors"))

    class SqueezeExcite(nn.Module):
        def __init__(self, reduce, expand):
            super().__init__()
            self.reduce = nn.Conv2d(reduce[1], reduce[0], 1)
            self.expand = nn.Conv2d(expand[1], expand[0], 1)

        def forward(self, x):
            gate = self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)), inplace=True))
            return x * F.hardsigmoid(gate, inplace=True)

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1))

    def layer(kind):
        name = kind["type"]
        if name == "conv":
            out, inner = kind["weight"]["take"][:2]
            groups = kind["groups"]
            shape = dict(stride=kind["stride"], padding=kind["padding"], groups=groups, bias=kind["bias"] is not None)
            return nn.Conv2d(inner * groups, out, kind["kernel"], **shape)
        if name == "batch_norm":
            momentum = None if WHAT == "recalibrate" else 0.1
            return nn.BatchNorm2d(kind["weight"]["take"][0], eps=kind["eps"], momentum=momentum)
        if name == "activation":
            return {"relu": nn.ReLU, "relu6": nn.ReLU6, "h_swish": nn.Hardswish}[kind["function"]](inplace=True)
        if name == "squeeze_excite":
            return SqueezeExcite(kind["reduce_weight"]["take"], kind["expand_weight"]["take"])
        if name == "global_average_pool":
            return nn.AdaptiveAvgPool2d(1)
        if name == "average_pool":
            ceil = kind.get("rounding", "floor") == "ceil"
            return nn.AvgPool2d(kind["kernel"], kind["stride"], kind["padding"], ceil, count_include_pad=False)
        if name == "max_pool":
            return nn.MaxPool2d(kind["kernel"], kind["stride"], kind["padding"])
        if name == "linear":
            out, inner = kind["weight"]["take"]
            return Linear(inner, out, bias=kind["bias"] is not None)
        return nn.Identity()

    PARTS = {"weight": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var",
             "reduce_weight": "reduce.weight", "reduce_bias": "reduce.bias",
             "expand_weight": "expand.weight", "expand_bias": "expand.bias"}

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.graph = [[(op["inputs"], op["kind"]["type"]) for op in block["ops"]] for block in net["blocks"]]
            self.blocks = nn.ModuleList(
                nn.ModuleList(layer(op["kind"]) for op in block["ops"]) for block in net["blocks"]
            )
            with torch.no_grad():
                for block, spec in zip(self.blocks, net["blocks"]):
                    for module, op in zip(block, spec["ops"]):
                        state = module.state_dict()
                        for field, key in PARTS.items():
                            reference = op["kind"].get(field)
                            if isinstance(reference, dict) and "name" in reference:
                                state[key].copy_(torch.from_numpy(weights[reference["name"]]))

        def forward(self, x):
            for block, graph in zip(self.blocks, self.graph):
                values = [x]
                for module, (inputs, kind) in zip(block, graph):
                    if kind == "add":
                        values.append(values[inputs[0]] + values[inputs[1]])
                    else:
                        values.append(module(values[inputs[0]]))
                x = values[-1]
            return x.flatten(1)

    model = Net()
    x = torch.from_numpy(images)
    layout = torch.contiguous_format if PEER == "torch_nchw" else torch.channels_last
    # What a user of an NVIDIA GPU sets; on a CPU it changes nothing.
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    model, x = model.to(DEVICE, memory_format=layout), x.to(DEVICE, memory_format=layout)
    run = model
    if PEER.startswith("torch_compile"):
        run = torch.compile(model)
    elif PEER == "torch_graph":
        run = torch.compile(model, mode="reduce-overhead")
    if PEER.endswith("amp"):
        forward = run

        def run(x):
            with torch.autocast(DEVICE, torch.bfloat16):
                return forward(x)

    labels = (torch.arange(BATCH) % net["classes"]).to(DEVICE)

    if WHAT == "eval":
        model.eval()

        def step():
            with torch.inference_mode():
                return run(x).abs().mean().item()

    elif WHAT == "recalibrate":
        model.train()

        def step():
            with torch.inference_mode():
                return run(x).abs().mean().item()

    else:
        model.train()
        decay = [p for p in model.parameters() if p.dim() > 1]
        plain = [p for p in model.parameters() if p.dim() == 1]
        groups = [{"params": decay, "weight_decay": 3e-5}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True)
        criterion = nn.CrossEntropyLoss(label_smoothing=0.1)

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = criterion(run(x), labels)
            loss.backward()
            optimizer.step()
            return loss.item()

    return step


def onnx_step():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0" if THREADS == 1 else "1")
    path = os.path.join(FOLDER, "net.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def step():
        (logits,) = session.run(None, {"input": images})
        return float(np.abs(logits).mean())

    return step


step = onnx_step() if PEER == "onnxruntime" else torch_step()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = memory("VmRSS")
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "step":
        start = time.perf_counter()
        check = step()
        print((time.perf_counter() - start) * 1e3, check, flush=True)
    elif line.strip() == "memory":
        print(memory("VmHWM") - before, flush=True)
