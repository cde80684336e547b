"""Commands that write, with a fault in one of their system calls.

    python3 tests/faults.py PROGRAM [--seed N] [--calls N] [COMMAND …]

strace (Debian: `apt install strace`) fails one system call of a command that changes files, or kills the process there; a limit of
file size cuts writes short. Afterwards there are the files of before or those of an undisturbed command, all of them from one side,
and the command itself repairs what is left. `--calls` bounds the calls of a command that are tried, a sample with this seed (default:
all of quick commands, 25 of slow ones); `COMMAND` names the commands to try.
"""

import argparse
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures" / "5257198"
# System calls that change a file or a folder, and `openat`, which makes one.
CALLS = (
    "openat write writev pwrite64 pwritev ftruncate fallocate fsync fdatasync rename renameat renameat2 link linkat unlink unlinkat "
    "mkdir mkdirat rmdir symlink symlinkat fchmod fchmodat sendfile copy_file_range flock"
).split()
# Calls that the system ends early when a signal comes; the others never return EINTR on a local file system.
INTERRUPTED = {"openat", "write", "writev", "pwrite64", "pwritev", "ftruncate", "fallocate", "fsync", "fdatasync", "flock"}
# Seconds that a command may take with a fault.
LONGEST = 120

TRAINING = """
space = "tiny-28"
data = "bundled"
batch_size = 16
validation_images = 60
calibration_images = 32
checkpoint_steps = 4
keep = 2

[[phases]]
name = "largest"
epochs = 0.012
learning_rate = 0.02

[[phases]]
name = "everything"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 0.012
learning_rate = 0.02
subnets_per_step = 2
"""

SMALL_RUN = """
[train]
data = "bundled"
space = "tiny-28"
batch_size = 16
validation_images = 60
calibration_images = 32
checkpoint_steps = 4

[[train.phases]]
name = "everything"
opens = { kernel_size = 1, depth = 2, expansion = 2 }
epochs = 0.02
learning_rate = 0.02

[collect]
count = 6
calibration_images = 10

[fit]
predictor = "ridge"
holdout = 0.25

[search]
strategy = { kind = "random" }
evaluations = 60

[[search.devices]]
device = "roofline.toml"
limits = 1

[deploy]
calibration_images = 11
verify_images = 2
host_runs = 0
host_nets = 0
"""


@dataclass
class Command:
    name: str
    line: str
    outputs: list
    # Outputs that grow: what is there of one begins like the whole one.
    grows: tuple = ()
    # Files that a killed or failed command may leave for the next one.
    kept: str = ""
    # What goes on with the work of a killed command.
    again: str = ""
    # What takes the place of an option once the file that grows is there; the result is then another one.
    from_grown: str = ""
    slow: bool = False
    # Whether its outputs are not there before; otherwise it replaces old ones.
    fresh: bool = False


MODEL = "--model net.safetensors"
COMMANDS = [
    Command("export", f"export {MODEL} -o new.onnx --labels new.txt --netspec new.json --force",
            ["new.onnx", "new.txt", "new.json", "new.safetensors"]),
    Command("extract", "extract --model mobile.safetensors --arch max -o new.safetensors", ["new.safetensors"]),
    Command("forward", f"forward {MODEL} --input input.npy -o new.npy", ["new.npy"]),
    Command("fit", "fit --pairs pairs.jsonl --space mobile.toml --predictor ridge -o new.json", ["new.json"]),
    Command("search", "search --space mobile.toml --accuracy predictor.json --device roofline.toml --max-latency-ms 60% "
            "--strategy random --evaluations 50 --plot new.svg", ["new.svg"]),
    Command("export to torch", f"export {MODEL} --to torch -o new.py", ["new.py", "new.pth"], fresh=True),
    Command("import", "import pretrained net.onnx --mean 0.5 --std 0.5 -o new.safetensors", ["new.safetensors"]),
    Command("devices fit", "devices fit --space mobile.toml --measured measurements.jsonl -o new.toml", ["new.toml"]),
    Command("devices calibrate", "devices calibrate --device roofline.toml --space mobile.toml --measured measurements.jsonl -o new.toml",
            ["new.toml"]),
    Command("collect", "collect --model mobile.safetensors --data bundled --count 5 --validation-images 20 "
            "--calibration-images 10 -o new.jsonl", ["new.jsonl"], kept=r"new\.jsonl\.part.*", again="--resume", slow=True),
    Command("finetune", f"finetune {MODEL} --data bundled --epochs 0.01 --batch-size 16 -o new.safetensors",
            ["new.safetensors"], kept=r"new\.safetensors\.checkpoint.*", again="--resume", slow=True),
    Command("refine", "refine --model mobile.safetensors --data bundled --pairs collected.jsonl --rounds 1 --per-round 3 "
            "--validation-images 20 --calibration-images 10 --out-pairs new.jsonl -o new.json", ["new.json"], grows=("new.jsonl",), from_grown="--pairs new.jsonl", slow=True),
    Command("train", "train training.toml --out new", ["new/supernet.safetensors"], grows=("new/metrics.jsonl",),
            kept=r"new(/.*)?", again="--resume", slow=True),
    Command("run", "run small.toml --out new", ["new/results.json", "new/pipeline.toml", "new/work/train/supernet.safetensors"],
            kept=r"new(/.*)?", again="--resume", slow=True),
]


class Failed(Exception):
    """A command did with a fault what it must not do."""


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Faults:
    def __init__(self, program, seed, calls):
        self.program, self.seed, self.calls = program, seed, calls
        self.scratch = Path(tempfile.mkdtemp(prefix="ofa-faults-"))
        self.place = self.scratch / "place"
        self.prepare()

    def prepare(self):
        self.place.mkdir()
        for name in ["models/net.safetensors", "models/mobile.safetensors", "models/net.onnx", "spaces/mobile.toml", "pairs.jsonl", "collected.jsonl",
                     "measurements.jsonl", "input.npy", "devices/roofline.toml"]:
            shutil.copy(FIXTURES / name, self.place)
        (self.place / "training.toml").write_text(TRAINING)
        (self.place / "small.toml").write_text(SMALL_RUN)
        self.plain("fit --pairs pairs.jsonl --space mobile.toml --predictor ridge -o predictor.json")
        self.before = content(self.place)

    def plain(self, line, **more):
        words = [self.program, "-q", "--threads", "1", *line.split()]
        return subprocess.run(words, cwd=self.place, capture_output=True, text=True, errors="replace", timeout=LONGEST, **more)

    def reset(self):
        shutil.rmtree(self.place)
        self.place.mkdir()
        for name, data in self.before.items():
            (self.place / name).write_bytes(data)

    def strace(self, command, options, line=None):
        log = self.scratch / "log"
        log.unlink(missing_ok=True)
        words = ["strace", "-f", "-qq", "-o", str(log), *options, self.program, "-q", "--threads", "1", *(line or command.line).split()]
        try:
            done = subprocess.run(words, cwd=self.place, capture_output=True, text=True, errors="replace", timeout=LONGEST)
        except subprocess.TimeoutExpired as late:
            raise Failed(f"no end after {LONGEST} s") from late
        return done, log.read_text(errors="replace")

    def undisturbed(self, command):
        """The outputs without a fault, twice, and the calls that change a file: call, and its number in its thread."""
        self.reset()
        done, log = self.strace(command, ["-e", "trace=" + ",".join(CALLS)])
        if done.returncode != 0:
            sys.exit(f"{command.name} fails without a fault:\n{done.stderr}")
        whole = self.outputs(command)
        self.reset()
        self.plain(command.line)
        if self.outputs(command) != whole:
            sys.exit(f"{command.name} does not repeat without a fault")
        numbers, found = Counter(), set()
        for line in log.splitlines():
            match = re.match(r"(\d+) +(\w+)\((.*)", line)
            if match is None or match[2] not in CALLS:
                continue
            thread, call, arguments = match.groups()
            numbers[thread, call] += 1
            is_change = call != "openat" or re.search(r"O_CREAT|O_WRONLY|O_RDWR|O_TMPFILE", arguments)
            if is_change and "/dev/null" not in arguments:
                found.add((call, numbers[thread, call]))
        return whole, sorted(found)

    def outputs(self, command):
        return {name: (self.place / name).read_bytes() if (self.place / name).exists() else None
                for name in [*command.outputs, *command.grows]}

    def judge(self, command, whole, done, old, call, fault):
        """What a command with a fault may leave: the files of before, or all of its own."""
        if re.search(r"panicked|RUST_BACKTRACE|abort", done.stderr) or done.returncode in (101, 134):
            raise Failed(f"panic: {done.stderr.strip()[:300]}")
        killed = fault == "kill"
        # The next command removes them.
        may_remain = killed or call.startswith("unlink")
        if not killed and done.returncode not in (0, 1, 2, 130):
            raise Failed(f"exit code {done.returncode}: {done.stderr.strip()[:300]}")
        if not killed and done.returncode != 0 and not done.stderr.strip():
            raise Failed("fails without a message")
        everything = self.outputs(command)
        for name in command.grows:
            if not (whole[name] or b"").startswith(everything[name] or b""):
                raise Failed(f"{name} does not begin like that of an undisturbed command")
        now = {name: everything[name] for name in command.outputs}
        is_new = [now[name] == whole[name] for name in now]
        is_old = [now[name] == old[name] for name in now]
        if fault == "EINTR" and (done.returncode != 0 or not all(is_new)):
            raise Failed(f"an interrupted call is not repeated: {done.returncode}: {done.stderr.strip()[:300]}")
        if not killed and done.returncode == 0 and not all(is_new):
            raise Failed(f"success, but {[n for n, ok in zip(now, is_new) if not ok]} differ")
        # Folders of long work fill file by file; of one command's files, a kill between two renames leaves whole files of both sides.
        if not all(new or (was and (killed or command.kept)) for new, was in zip(is_new, is_old)) and not all(is_old):
            raise Failed(f"a mix or half a file: new {is_new}, old {is_old}")
        for name, data in self.before.items():
            path = self.place / name
            if name not in now and (not path.exists() or path.read_bytes() != data):
                raise Failed(f"{name}, which is an input, was changed")
        more = {n for n in content(self.place) if n not in self.before and n not in everything}
        left = [n for n in more if not (command.kept and re.fullmatch(command.kept, n)) and not (may_remain and is_temporary(n))]
        if left:
            raise Failed(f"left {left}")

    def repaired(self, command, whole):
        """The command itself, afterwards, gives what it always gives."""
        line = f"{command.line} {command.again}".strip()
        is_grown = command.from_grown and (self.place / command.grows[0]).exists()
        if is_grown:
            option = command.from_grown.split()[0]
            line = re.sub(rf"{option} \S+", command.from_grown, line)
        done = self.plain(line)
        if done.returncode != 0:
            raise Failed(f"`ofa {line}` afterwards: {done.returncode}: {done.stderr.strip()[:300]}")
        if not is_grown and self.outputs(command) != whole:
            raise Failed("the command afterwards gives other files")
        left = [n for n in content(self.place) if is_temporary(n)]
        if left:
            raise Failed(f"left after the next command: {left}")

    def cases(self, command, calls):
        for call, number in calls:
            yield f"{call}:signal=KILL:when={number}", "kill"
            yield f"{call}:error=ENOSPC:when={number}", "ENOSPC"
            yield f"{call}:error=EIO:when={number}", "EIO"
            if call in INTERRUPTED:
                yield f"{call}:error=EINTR:when={number}", "EINTR"

    def one(self, command, whole, old_files, run, call, fault):
        self.reset()
        for name in old_files:
            (self.place / name).write_bytes(b"old")
        old = self.outputs(command)
        done = run()
        self.ended_otherwise += done.returncode != 0
        self.judge(command, whole, done, old, call, fault)
        self.repaired(command, whole)

    def command(self, command):
        whole, calls = self.undisturbed(command)
        all_calls = len(calls)
        bound = self.calls or (25 if command.slow else None)
        if bound is not None and bound < len(calls):
            calls = sorted(random.Random(self.seed).sample(calls, bound))
        old_files = [] if command.slow or command.fresh else command.outputs
        tally, defects, began = Counter(), [], time.time()
        self.ended_otherwise = self.missed = 0
        for inject, fault in self.cases(command, calls):
            tally[fault] += 1
            try:
                self.one(command, whole, old_files, lambda i=inject: self.injected(command, i), inject, fault)
            except Failed as failed:
                defects.append(f"{inject}: {failed}")
        longest = max((len(data) for data in whole.values() if data), default=0)
        for limit in sorted({0, 1, 100, longest // 2, longest - 1}):
            tally["short write"] += 1
            try:
                self.one(command, whole, old_files, lambda n=limit: self.limited(command, n), "write", "short write")
            except Failed as failed:
                defects.append(f"files of at most {limit} bytes: {failed}")
        counts = ", ".join(f"{fault} {tally[fault]}" for fault in ["kill", "ENOSPC", "EIO", "EINTR", "short write"])
        print(f"{command.name:<17} {all_calls:>4} calls, {len(calls):>3} tried: {counts}; {self.ended_otherwise} did not succeed, {self.missed} calls not reached; {len(defects)} defects, "
              f"{time.time() - began:.0f} s", flush=True)
        for defect in defects:
            print(f"    {defect}", flush=True)
        return sum(tally.values()), len(defects)

    def injected(self, command, inject):
        # Only traced calls can be made to fail.
        done, log = self.strace(command, ["-e", "trace=" + inject.split(":")[0], "-e", "inject=" + inject])
        if "INJECTED" not in log and "killed by SIGKILL" not in log:
            self.missed += 1
        return done

    def limited(self, command, limit):
        """Writes beyond this size of a file are cut short, and the next one fails with EFBIG."""

        def limit_size():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        # Python ignores SIGXFSZ, and so does a child that keeps its signals: writes fail instead.
        return self.plain(command.line, preexec_fn=limit_size, restore_signals=False)


def is_temporary(name):
    return re.search(r"(^|/)\.ofa-.*\.tmp$|(^|/)\.tmp", name) is not None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("commands", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int)
    options = parser.parse_args()
    unknown = set(options.commands) - {command.name for command in COMMANDS}
    if unknown:
        sys.exit(f"no command {', '.join(sorted(unknown))}: expected {', '.join(command.name for command in COMMANDS)}")
    faults = Faults(os.path.abspath(options.program), options.seed, options.calls)
    cases = defects = 0
    for command in COMMANDS:
        if not options.commands or command.name in options.commands:
            tried, wrong = faults.command(command)
            cases, defects = cases + tried, defects + wrong
    print(f"{cases} cases with seed {options.seed}, {defects} defects")
    shutil.rmtree(faults.scratch)
    sys.exit(1 if defects else 0)


if __name__ == "__main__":
    main()
