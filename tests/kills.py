"""Runs of the whole pipeline, killed at random moments and resumed: at the end the files of an undisturbed run.

    python3 tests/kills.py PROGRAM [--kills N] [--a-run N] [--seed N] [quickstart] [photos]

The quickstart searches for the stored profile of a machine besides its other devices; the run on photos is a short plan of the kind
that `ofa run --data` makes (pretrained start, head, full network, subnets, fine-tuned networks), on photographs drawn here.
Each run is killed by SIGKILL and resumed until it ends, each time after a random time, in the mean an `--a-run`-th of what an
undisturbed run takes. `--kills` is the least number of kills in all.
"""

import argparse
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROFILE = ROOT / "tests" / "fixtures" / "5257198" / "devices" / "roofline.toml"
# Files with times of this machine, or made of them.
TIMED = re.compile(r"report\.|plots/|timings\.json|host\.toml|profile\.json|steps\.json|deploy\.json|cpu_seconds|data-files\.json|/checkpoint|\.lock$")
STEPS = ["train", "collect", "fit", "search", "profile", "deploy"]
CLASSES = ["cardboard", "glass", "paper"]


def draw(path, kind, number):
    """A bitmap of 72 x 72: stripes, rings or checks, of other colours and widths in each."""
    chance = random.Random(f"{kind} {number}")
    width, shade, side = chance.randint(5, 9), chance.randint(40, 160), 72
    rows = bytearray()
    for y in range(side):
        for x in range(side):
            place = [x, (x - side / 2) ** 2 / 30 + (y - side / 2) ** 2 / 30, x // width + y // width][kind]
            light = 255 if int(place // (1 if kind == 2 else width)) % 2 else shade
            rows += bytes([(light + chance.randint(-20, 20)) % 256, light * 3 // 4, light // 2])
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack("<2sIHHI", b"BM", 54 + len(rows), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(rows), 0, 0, 0, 0)
    path.write_bytes(head + rows)


def photos(folder):
    for part, count in [("train", 24), ("val", 10), ("test", 10)]:
        for kind, name in enumerate(CLASSES):
            for number in range(count):
                draw(folder / part / name / f"{number:02}.bmp", kind, f"{part} {number}")


def prepare(name, folder):
    """The configuration of a run."""
    folder.mkdir()
    shutil.copy(PROFILE, folder / "board.toml")
    if name == "quickstart":
        text = (ROOT / "src" / "pipeline" / "quickstart.toml").read_text()
        text += '\n[[search.devices]]\ndevice = "board.toml"\nlimits = 2\n'
    else:
        photos(folder / "photos")
        text = PHOTOS
    (folder / "plan.toml").write_text(text)


def content(run):
    files = {str(p.relative_to(run)): p for p in run.rglob("*") if p.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not TIMED.search(name)}


def assert_same(whole, cut, where):
    if whole.keys() != cut.keys():
        sys.exit(f"{where}: files differ: {sorted(whole.keys() ^ cut.keys())}")
    different = [name for name in whole if whole[name] != cut[name]]
    if different:
        sys.exit(f"{where}: {', '.join(different)} differ from those of an undisturbed run")


def start(program, folder, out, resume):
    # A run that was killed before it wrote its plan is started again.
    has_plan = (folder / out / "pipeline.toml").exists()
    words = [program, "-q", "run", *([] if has_plan else ["plan.toml"]), *(["--resume"] if resume else []), "--out", out]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ended(process, where):
    _, errors = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{where}: exit code {process.returncode}: {errors}")


def killed(program, folder, longest, chance, where):
    """Kills a run again and again until it has ended; the steps that it had finished at each kill."""
    done, began, resume = [], time.time(), False
    while True:
        process = start(program, folder, "cut", resume)
        # A little longer each time, for steps that begin anew.
        seconds = chance.uniform(0.05, longest) * 1.03 ** len(done)
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done.append("".join(f" {step}" for step in STEPS if (folder / "cut" / "work" / f"{step}.json").exists()))
            resume = (folder / "cut").exists()
            continue
        if process.returncode != 0:
            sys.exit(f"{where}, after {len(done)} kills: exit code {process.returncode}: {errors}")
        return done, time.time() - began


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("runs", nargs="*", default=[], choices=[[], "quickstart", "photos"])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--a-run", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    program, chance = os.path.abspath(options.program), random.Random(options.seed)
    names = options.runs or ["quickstart", "photos"]
    scratch, total = Path(tempfile.mkdtemp(prefix="ofa-kills-")), 0
    for name in names:
        folder = scratch / name
        prepare(name, folder)
        began = time.time()
        ended(start(program, folder, "whole", False), name)
        whole_time = time.time() - began
        whole = content(folder / "whole")
        print(f"{name}: {whole_time:.0f} s undisturbed, {len(whole)} files compared", flush=True)
        count = round(options.kills * (0.3 if name == "quickstart" and len(names) > 1 else 0.7 if len(names) > 1 else 1.0))
        while count > 0:
            shutil.rmtree(folder / "cut", ignore_errors=True)
            done, seconds = killed(program, folder, 2.0 * whole_time / options.a_run, chance, name)
            assert_same(whole, content(folder / "cut"), name)
            places = {place: done.count(place) for place in dict.fromkeys(done)}
            print(f"{name}: {len(done)} kills in {seconds:.0f} s, the same files; by the steps finished then: {places}", flush=True)
            count -= max(1, len(done))
            total += len(done)
    print(f"{total} kills with seed {options.seed}, all runs ended with the files of an undisturbed one")
    shutil.rmtree(scratch)


PHOTOS = """
[train]
data = "photos"
batch_size = 24
validation_images = 30
calibration_images = 24
checkpoint_steps = 2
gradient_clip = 5.0
head_rate = 0.1

[train.init]
model = "mcunet"
new_head = true

[train.augmentation]
flip = "photos"
shift = 2

[[train.phases]]
name = "head"
epochs = 1.0
learning_rate = 0.004
trains = "head"
distil = false

[[train.phases]]
name = "full"
epochs = 2.0
learning_rate = 0.03
resolutions = [96]
distil = false

[[train.phases]]
name = "subnets"
epochs = 2.0
learning_rate = 0.03
subnets_per_step = 2
sort_channels = true
opens = { kernel_size = 1, depth = 64, expansion = 2 }

[collect]
count = 20
calibration_images = 24

[fit]
predictor = "auto"
holdout = 0.25

[search]
evaluations = 400
candidates = 4

[[search.devices]]
device = "board.toml"
limits = 2
max_macs = ["30%"]

[deploy]
calibration_images = 24
verify_images = 4
host_runs = 0
host_nets = 0

[deploy.finetune]
epochs = 2.0
learning_rate = 0.01
batch_size = 24
checkpoint_steps = 2
"""

if __name__ == "__main__":
    main()
