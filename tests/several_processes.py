"""Training and collecting under a real mpirun: the bytes of one process, and every way in which a rank can go wrong.

    python3 tests/several_processes.py PROGRAM [CHECK …]

PROGRAM is `ofa` built with `--features mpi`; tests/mpi.sh builds it and runs this. More ranks than cores are started on
purpose. Without names all checks are run.
"""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TRAINING = """
space = "tiny-28"
data = "bundled"
batch_size = 16
shards = 4
validation_images = 100
calibration_images = 64
checkpoint_steps = 5
validation_epochs = 0.01
ema_decay = 0.9
sampler = { kind = "pareto_aware", candidates = 2 }
"""
PHASE = """
[[phases]]
name = "%s"
opens = { %s }
epochs = %g
learning_rate = 0.02
subnets_per_step = %d
"""
PHASES = [("largest", "", 1), ("kernel", "kernel_size = 1", 1), ("depth", "depth = 2", 2), ("expansion", "expansion = 2", 2)]
PIPELINE = """
[train]
data = "%s"
seed = 3
batch_size = 12
shards = 2
validation_images = 36
calibration_images = 24
checkpoint_steps = 2

[train.space]
kind = "mbv3"
name = "smallest"
width = 0.5
classes = 3
input_channels = 3
expand_ratios = [2, 3]
depths = [1, 2]
resolutions = [20, 28]
stem_channels = 8
final_expand_channels = 16
feature_mix_channels = 16

[[train.space.stages]]
channels = 8
stride = 1
activation = "relu"

[[train.space.stages]]
channels = 16
stride = 2
activation = "relu"

[[train.phases]]
name = "resolution"
epochs = 3
learning_rate = 0.05

[[train.phases]]
name = "everything"
opens = { kernel_size = 1, depth = 1, expansion = 1 }
epochs = 2
learning_rate = 0.02

[collect]
count = 16
calibration_images = 24

[fit]
predictor = "ridge"
holdout = 0.25

[search]
strategy = { kind = "random" }
evaluations = 60
candidates = 6

[search.refine]
rounds = 2
per_round = 3

[[search.devices]]
device = "pixel4-cpu"
limits = 3

[deploy]
calibration_images = 24
verify_images = 2
host_runs = 0
host_nets = 0

[deploy.finetune]
epochs = 8
batch_size = 12
"""
# Seconds after which nothing of ours may be left, once a rank is gone.
PROMPT = 10
# Asked to stop, Open MPI waits so long, sends SIGTERM, waits so long again and sends SIGKILL; by default one second, which can be
# too short for a checkpoint.
GRACE = 10


def training(epochs):
    return TRAINING + "".join(PHASE % (name, opens, epochs, count) for name, opens, count in PHASES)


def command(program, ranks, arguments, wrapper=None):
    if ranks == 0:
        return [program, *arguments]
    launch = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
    launch += ["--mca", "odls_base_sigkill_timeout", str(GRACE), "-n", str(ranks)]
    own = [program, *arguments, "--distributed", "mpi", "--threads", "1"]
    return launch + (["sh", "-c", wrapper, "sh", *own] if wrapper else own)


class Job:
    """A program at work; its standard error goes to a file."""

    def __init__(self, command):
        self.errors = tempfile.TemporaryFile("w+")
        # In a group of its own, as in a batch job: a signal reaches mpirun alone. A job in the background of a shell would ignore
        # Ctrl-C, and leave that to its children.
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def text(self):
        self.errors.seek(0)
        return self.errors.read()

    def ends(self, seconds=600):
        code = self.process.wait(seconds)
        return code, self.text()

    def ranks(self):
        """Processes of the job by rank."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                environment = (folder / "environ").read_bytes().split(b"\0")
                rank = [value for value in environment if value.startswith(b"OMPI_COMM_WORLD_RANK=")]
                parent = re.search(r"^PPid:\s+(\d+)", (folder / "status").read_text(), re.M)
                if rank and parent and int(parent[1]) == self.process.pid:
                    found[int(rank[0].split(b"=")[1])] = int(folder.name)
        return found


def alive(pid):
    with contextlib.suppress(OSError):
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    return False


def wait_gone(pid, seconds=60):
    deadline = time.time() + seconds
    while alive(pid):
        assert time.time() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def run(*arguments, **options):
    code, text = Job(command(*arguments, **options)).ends()
    assert code == 0, f"{arguments} ended with {code}:\n{text}"
    return text


def wait_for(job, ready, what, seconds=300):
    deadline = time.time() + seconds
    while not ready():
        assert job.process.poll() is None, f"ended before {what}:\n{job.text()}"
        assert time.time() < deadline, f"{what}: not within {seconds} s\n{job.text()}"
        time.sleep(0.02)


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != ".lock"}


def assert_same(one, other):
    one_files, other_files = files(one), files(other)
    assert one_files.keys() == other_files.keys(), (one, other, one_files.keys() ^ other_files.keys())
    different = [name for name in one_files if one_files[name] != other_files[name]]
    assert not different, (one, other, different)


def stops_promptly(job, pids, what, named=None, within=PROMPT):
    """All ranks end in time, and mpirun with another code than 0."""
    started = time.time()
    while any(alive(pid) for pid in pids):
        assert time.time() - started < within, f"{what}: still running after {within} s\n{job.text()}"
        time.sleep(0.02)
    seconds = time.time() - started
    code, text = job.ends(2 * GRACE + 30)
    assert code != 0, f"{what}: code {code}\n{text}"
    if named:
        assert len(re.findall(named, text)) == 1, f"{what}: `{named}` is not there once:\n{text}"
    print(f"    {what}: ranks ended after {seconds:.1f} s, mpirun after {time.time() - started:.1f} s with {code}")


class Suite:
    def __init__(self, program, folder):
        self.program, self.folder = str(Path(program).resolve()), Path(folder)
        self.config = self.folder / "training.toml"
        self.config.write_text(training(0.02))

    def train(self, name, config=None):
        return ["train", str(config or self.config), "--out", str(self.folder / name)]

    def whole(self):
        """A training by one process that nothing disturbed."""
        if not (self.folder / "whole/supernet.safetensors").exists():
            run(self.program, 0, self.train("whole"))
        return self.folder / "whole"

    def collect(self, name, *options):
        model = str(self.whole() / "supernet.safetensors")
        images = ["--calibration-images", "100", "--validation-images", "100"]
        output = str(self.folder / f"{name}.jsonl")
        return ["collect", "--model", model, "--data", "bundled", "--count", "60", *images, "-o", output, *options]

    def pairs(self):
        if not (self.folder / "pairs.jsonl").exists():
            run(self.program, 0, self.collect("pairs"))
        return (self.folder / "pairs.jsonl").read_bytes()

    def begun(self, name, config=None, ranks=4, wrapper=None):
        """A training on these ranks that has saved its first checkpoint."""
        job = Job(command(self.program, ranks, self.train(name, config), wrapper))
        wait_for(job, (self.folder / name / "checkpoint.ofa").exists, f"the first checkpoint of {name}")
        return job

    def check_training(self):
        for ranks in (1, 2, 4):
            run(self.program, ranks, self.train(f"ranks{ranks}"))
            assert_same(self.folder / f"ranks{ranks}", self.whole())

    def check_collecting(self):
        for ranks in (1, 2, 4):
            run(self.program, ranks, self.collect(f"ranks{ranks}"))
            assert (self.folder / f"ranks{ranks}.jsonl").read_bytes() == self.pairs(), ranks

    def check_resuming(self):
        """2 ranks, then 1, then 4."""
        job = self.begun("resumed", ranks=2)
        job.process.send_signal(signal.SIGTERM)
        code, text = job.ends()
        assert code != 0, text
        for ranks in (1, 4):
            job = Job(command(self.program, ranks, [*self.train("resumed"), "--resume"]))
            before = (self.folder / "resumed/checkpoint.ofa").stat().st_mtime_ns
            if ranks == 1:
                newer = lambda: (self.folder / "resumed/checkpoint.ofa").stat().st_mtime_ns != before
                wait_for(job, newer, "the next checkpoint")
                for pid in job.ranks().values():
                    os.kill(pid, signal.SIGKILL)
                job.ends()
            else:
                code, text = job.ends()
                assert code == 0, text
                assert "resuming from the checkpoint" in text, text
        assert_same(self.folder / "resumed", self.whole())

    def check_stopping(self):
        """A signal to mpirun stops all ranks at the same step, with a checkpoint."""
        for number in (signal.SIGINT, signal.SIGTERM):
            name = f"stopped{int(number)}"
            job = self.begun(name)
            pids = job.ranks().values()
            job.process.send_signal(number)
            stops_promptly(job, pids, f"signal {int(number)}", within=2 * GRACE)
            # What ranks print once mpirun ends them is lost.
            run(self.program, 4, [*self.train(name), "--resume"])
            assert_same(self.folder / name, self.whole())

    def run(self, name, ranks, *options):
        """A whole run on photos: its networks are fine-tuned, and candidates measured."""
        data = self.folder / "photos"
        if not data.exists():
            number = 0
            for part, images in (("train", 20), ("val", 12), ("test", 12)):
                for kind in range(3):
                    folder = data / part / ("stripes", "columns", "slopes")[kind]
                    folder.mkdir(parents=True)
                    for image in range(images):
                        number += 1
                        (folder / f"{image:02}.bmp").write_bytes(bmp(drawn(kind, number)))
            (self.folder / "pipeline.toml").write_text(PIPELINE % data)
        arguments = ["run", str(self.folder / "pipeline.toml"), "--out", str(self.folder / name), *options]
        return Job(command(self.program, ranks, arguments))

    def check_run(self):
        """The files of a run by one process, with measured times left out; also after rank 1 was killed while it fine-tuned, and
        after all were asked to stop."""

        def results(name):
            root = self.folder / name
            timed = ("timings.json", "report.html", "report.md", "data-files.json")
            paths = [path for path in root.rglob("*") if path.is_file() and path.name not in timed]
            return {str(path.relative_to(root)): path.read_bytes() for path in paths if "lock" not in path.name}

        def ends_well(job):
            code, text = job.ends()
            assert code == 0, text

        def assert_as_alone(name):
            found = results(name)
            assert found.keys() == alone.keys(), (name, sorted(found.keys() ^ alone.keys()))
            different = [file for file in found if found[file] != alone[file]]
            assert not different, (name, different)

        ends_well(self.run("run-alone", 0))
        alone = results("run-alone")
        assert any(file.startswith("nets/") for file in alone), sorted(alone)
        for ranks in (1, 2):
            ends_well(self.run(f"run{ranks}", ranks))
            assert_as_alone(f"run{ranks}")
        for name, number in (("run-killed", signal.SIGKILL), ("run-stopped", signal.SIGTERM)):
            job = self.run(name, 2)
            tuned = self.folder / name / "work/tuned"
            # The full network is kept before the others are fine-tuned; each has a folder for its checkpoints.
            begun = lambda: (tuned / "full.json").exists() and any(path.is_dir() for path in tuned.iterdir())
            wait_for(job, begun, "the first fine-tuning")
            ranks = job.ranks()
            if number == signal.SIGKILL:
                os.kill(ranks[1], number)
                stops_promptly(job, ranks.values(), "rank 1 killed in a run", "error: rank 1 is gone")
            else:
                # As srun does; mpirun would wait before it sends the signal on.
                for pid in ranks.values():
                    os.kill(pid, number)
                stops_promptly(job, ranks.values(), "a run asked to stop")
                saved = list(tuned.glob("*/checkpoint.ofa"))
                assert len(saved) == 2, f"not a checkpoint of each rank: {saved}"
            ends_well(self.run(name, 2, "--resume"))
            assert_as_alone(name)

        # Other test images on rank 1.
        elsewhere = self.folder / "elsewhere"
        shutil.copytree(self.folder / "photos", elsewhere / "photos")
        (elsewhere / "photos/test/slopes/00.bmp").write_bytes(bmp(drawn(2, 1000)))
        relative = self.folder / "relative.toml"
        relative.write_text(PIPELINE % "photos")
        wrapper = f'cd {self.folder}; if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then cd {elsewhere}; fi; exec "$@"'
        arguments = ["run", str(relative), "--out", str(self.folder / "run-different")]
        code, text = Job(command(self.program, 2, arguments, wrapper)).ends(120)
        assert code == 1, f"code {code}\n{text}"
        assert len(re.findall("error: rank 1 differs from rank 0 in `data.test_images`", text)) == 1, text

    def check_killed_in_training(self):
        for rank in range(4):
            name = f"killed{rank}"
            job = self.begun(name)
            ranks = job.ranks()
            assert len(ranks) == 4, ranks
            os.kill(ranks[rank], signal.SIGKILL)
            stops_promptly(job, ranks.values(), f"rank {rank} killed in training", f"error: rank {rank} is gone")
            run(self.program, 2, [*self.train(name), "--resume"])
            assert_same(self.folder / name, self.whole())

    def check_killed_in_collecting(self):
        for rank in range(4):
            name = f"collected{rank}"
            job = Job(command(self.program, 4, self.collect(name)))
            part = self.folder / f"{name}.jsonl.part"
            wait_for(job, lambda: part.exists() and part.stat().st_size > 0, "the first pair")
            ranks = job.ranks()
            os.kill(ranks[rank], signal.SIGKILL)
            stops_promptly(job, ranks.values(), f"rank {rank} killed in collect", f"error: rank {rank} is gone")
            run(self.program, 2, self.collect(name, "--resume"))
            assert (self.folder / f"{name}.jsonl").read_bytes() == self.pairs()

    def check_out_of_memory(self):
        job = self.begun("memory")
        ranks = job.ranks()
        # From now on nothing more is given to rank 2.
        resource.prlimit(ranks[2], resource.RLIMIT_AS, (1 << 20, 1 << 20))
        started = time.time()
        wait_gone(ranks[2])
        print(f"    rank 2 was refused memory after {time.time() - started:.1f} s")
        stops_promptly(job, ranks.values(), "rank 2 out of memory", "error: rank 2 is gone")
        run(self.program, 2, [*self.train("memory"), "--resume"])
        assert_same(self.folder / "memory", self.whole())

    def check_differences(self):
        other = self.folder / "other.toml"
        other.write_text(training(0.02).replace("ema_decay = 0.9", "ema_decay = 0.8"))
        program = self.folder / "ofa-other"
        shutil.copy(self.program, program)
        with program.open("ab") as file:
            file.write(b"\0")
        photos = []
        for number in range(2):
            photos.append(self.folder / f"photos{number}")
            for kind in range(2):
                (photos[number] / str(kind)).mkdir(parents=True, exist_ok=True)
                for image in range(40):
                    value = 40 * kind + image + (number if image == 7 else 0)
                    pixels = bytes([value]) * (28 * 28)
                    (photos[number] / str(kind) / f"{image}.bmp").write_bytes(bmp(pixels))
        small = self.folder / "small.toml"
        small.write_text(training(0.5).replace("validation_images = 100", "validation_images = 16"))
        on_rank_1 = 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then %s; fi; exec "$@"'
        # Of `sh ofa train CONFIG …`, rank 1 gets another word, or another folder.
        cases = {
            "ema_decay": (self.config, on_rank_1 % f'p=$1; shift 3; set -- "$p" train {other} "$@"'),
            "`program`": (self.config, on_rank_1 % f'shift; set -- {program} "$@"'),
            "(training|validation)_images": (
                small,
                f'd={photos[0]}; [ "$OMPI_COMM_WORLD_RANK" = 0 ] || d={photos[1]}; exec "$@" --data "$d"',
            ),
        }
        for expected, (config, wrapper) in cases.items():
            code, text = Job(command(self.program, 2, self.train("different", config), wrapper)).ends(120)
            assert code == 1, f"{expected}: code {code}\n{text}"
            assert len(re.findall("error: rank 1 differs from rank 0", text)) == 1, f"{expected}:\n{text}"
            assert re.search(expected, text), f"{expected}:\n{text}"
            print("    " + next(line for line in text.splitlines() if "differs" in line))

    def check_refusals(self):
        def refused(ranks, arguments, expected, wrapper=None):
            code, text = Job(command(self.program, ranks, arguments, wrapper)).ends(120)
            assert code == 2, f"code {code}\n{text}"
            assert len(re.findall(expected, text)) == 1, text

        refused(3, self.train("refused"), "power of two")
        refused(2, self.train("refused", self.folder / "missing.toml"), "error: .*missing.toml")
        wrapper = 'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then set -- "$@" --data /nowhere; fi; exec "$@"'
        refused(2, self.train("refused"), "error: rank 1: .*nowhere", wrapper)


def drawn(kind, number, side=28):
    """Stripes in one of three directions, with something of their own in every image."""
    def value(x, y):
        return ((x, y, x + y)[kind] * 31 + number * 7) % 160 + (x * 37 + y * 23 + number * 113) % 89

    return [value(x, y) for y in range(side) for x in range(side)]


def bmp(pixels, side=28):
    """A grey BMP of 24 bits."""
    rows = b"".join(bytes(v for p in pixels[row * side:(row + 1) * side] for v in (p, p, p)) for row in range(side))
    header = b"BM" + (54 + len(rows)).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    size = [40, side, side]
    info = b"".join(v.to_bytes(4, "little") for v in size) + b"\1\0\x18\0" + bytes(4) + len(rows).to_bytes(4, "little")
    return header + info + bytes(16) + rows


def main():
    program, *wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(program, folder)
        names = wanted or [name.removeprefix("check_") for name in dir(suite) if name.startswith("check_")]
        failed = []
        for name in names:
            started = time.time()
            print(name.replace("_", " "), flush=True)
            try:
                getattr(suite, f"check_{name}")()
            except (AssertionError, subprocess.TimeoutExpired) as error:
                print(f"    FAILED: {error}")
                failed.append(name)
            print(f"    {time.time() - started:.0f} s", flush=True)
        sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
