"""Predictors fitted on subnets drawn in clusters against subnets drawn one by one: Kendall tau on the same held-out pairs.

    python cluster_quality.py OFA ACC_PREDICTOR.pth SUPERNET.pth [COUNT] [SEEDS]

OFA is the program. Accuracies come from the authors' predictor for their MobileNetV3 space (ACC_PREDICTOR.pth), so no
network is trained or measured; SUPERNET.pth is any official supernet of that family at width 0.25 with 10 classes, which
only names the space to draw from. For every seed COUNT subnets are drawn both ways at 128, 160 and 192 px, a predictor
is fitted by `ofa fit` on each and scored on 500 subnets drawn one by one with another seed.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ofa, predictor, supernet = sys.argv[1:4]
count = int(sys.argv[4]) if len(sys.argv) > 4 else 200
seeds = int(sys.argv[5]) if len(sys.argv) > 5 else 8
here = Path(tempfile.mkdtemp())
space = here / "space.toml"
space.write_text('[space]\nkind = "mbv3"\nname = "small"\nwidth = 0.25\nclasses = 10\nresolutions = [128, 160, 192]\n')
model = here / "model.safetensors"


def run(*arguments):
    done = subprocess.run([ofa, *map(str, arguments), "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def pairs(name, seed, number, independent):
    """Draws subnets and gives them the accuracies of the authors' predictor; the file of the pairs."""
    options = ["--independent"] if independent else []
    drawn = run("collect", "--model", model, "--data", "bundled", "--count", number, "--dry-run", "--seed", seed, *options)
    archs = here / f"{name}.archs"
    archs.write_text("".join(json.dumps(line["arch"]) + "\n" for line in drawn))
    values = run("predict", "--predictor", predictor, "--space", "ofa-mbv3-w1.0", "--archs", archs)
    file = here / f"{name}.jsonl"
    file.write_text("".join(json.dumps({"arch": v["arch"], "top1": v["value"]}) + "\n" for v in values))
    return file


run("import", "supernet", supernet, "--space", space, "-o", model)
test = pairs("test", 1_000_003, 500, True)
taus = {"one by one": [], "in clusters": []}
for seed in range(seeds):
    for way, independent in (("one by one", True), ("in clusters", False)):
        train = pairs(f"{way}-{seed}", seed, count, independent)
        out = here / "predictor.json"
        report = run("fit", "--pairs", train, "--space", space, "--predictor", "elastic-net", "-o", out, "--test", test)
        taus[way].append(report[0]["kendall_tau"])
for way, values in taus.items():
    print(f"{way}: Kendall tau {statistics.mean(values):.4f} (sd {statistics.stdev(values):.4f}) over {seeds} seeds")
print(f"difference {statistics.mean(taus['in clusters']) - statistics.mean(taus['one by one']):+.4f}")
