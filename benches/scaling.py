"""Training steps and collecting on one and several processes: figures, and a plot beside the model of docs/scaling.md.

    python3 benches/scaling.py BUILD [--rounds N] [--quick FOLDER]

BUILD is the folder with `ofa` and `examples/scaling`; benches/scaling builds both and runs this. Cases are measured in turn, and the
medians over the rounds are kept. With --quick everything is tiny, and the results go to FOLDER: it shows that the bench works.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Bytes of a step's buffer for OFA-MobileNetV3, one subnet: what the model reckons with.
BUFFER = 30.9e6
# Rate in bytes a second, and latency in seconds.
LINKS = {"10 Gb/s": (1.25e9, 20e-6), "100 Gb/s": (12.5e9, 5e-6), "NVLink": (300e9, 3e-6)}
# Seconds of a step without communication, that the model assumes of a GPU.
STEPS = {"200 ms a step": 0.2, "50 ms a step": 0.05}
# Points of the plot.
SMALL, LARGE = "CIFAR-size step", "OFA-MobileNetV3"
# What is expected of the figures.
TARGETS = {"throughput": 0.95, "collect": 1.85, "communication": 0.05}

TRAINING = """
space = "tiny-28"
data = "bundled"
validation_images = %d
[[phases]]
name = "largest"
epochs = %g
learning_rate = 0.05
"""


def sum_seconds(processes, rate, latency):
    """A sum of the buffer, as docs/scaling.md has it."""
    return 2 * (processes - 1) / processes * BUFFER / rate + 2 * math.log2(processes) * latency


def launched(ranks, command):
    """The command on so many ranks; on one without MPI."""
    if ranks == 1:
        return command
    launch = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)]
    return [*launch, *command, "--distributed", "mpi"]


def step(build, space, ranks, threads, batch, shards, steps):
    command = [f"{build}/examples/scaling", space, "--json", "yes", "--batch", str(batch), "--steps", str(steps)]
    command += ["--threads", str(threads), "--shards", str(shards)]
    done = subprocess.run(launched(ranks, command), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def seconds_of(command):
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def median_of(records):
    """The median of every number over the rounds."""
    first = records[0]
    numbers = {name for name, value in first.items() if isinstance(value, float)}
    return {name: statistics.median(record[name] for record in records) if name in numbers else first[name] for name in first}


def measure(build, rounds, quick):
    cifar, large = ("tiny-28", "tiny-28") if quick else ("cifar-32", "ofa-mbv3-w1.0")
    batch, images, steps, count = (16, 4, 2, 8) if quick else (64, 8, 15, 200)
    cases = {
        # The same batch on two cores.
        "1 rank of 2 threads": (cifar, 1, 2, batch, 1, steps),
        "1 rank of 2 threads, 2 shards": (cifar, 1, 2, batch, 2, steps),
        "2 ranks of 1 thread": (cifar, 2, 1, batch, 2, steps),
    }
    # As many images a rank: the points of the plot.
    for ranks in (1, 2, 4):
        cases[f"{SMALL}, {ranks} × 1"] = (cifar, ranks, 1, batch // 2 * ranks, ranks, steps)
        cases[f"{LARGE}, {ranks} × 1"] = (large, ranks, 1, images * ranks, ranks, max(2, steps // 3))
    records = {name: [] for name in cases}
    collecting = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "training.toml")
        config.write_text(TRAINING % ((50, 0.01) if quick else (2000, 0.2)))
        program = f"{build}/ofa"
        seconds_of([program, "train", str(config), "--out", f"{folder}/run", "-q"])
        model = f"{folder}/run/supernet.safetensors"
        collect = [program, "collect", "--model", model, "--data", "bundled", "--count", str(count), "-q", "--threads", "1"]
        for number in range(rounds):
            for name, case in cases.items():
                records[name].append(step(build, *case))
                print(f"round {number + 1}: {name}: {records[name][-1]['step_ms']:.1f} ms a step", flush=True)
            pairs = {}
            for ranks, times in collecting.items():
                output = Path(folder, f"pairs-{ranks}-{number}.jsonl")
                times.append(seconds_of(launched(ranks, [*collect, "-o", str(output)])))
                pairs[ranks] = output.read_bytes()
                print(f"round {number + 1}: collecting {count} subnets on {ranks} × 1: {times[-1]:.1f} s", flush=True)
            assert pairs[1] == pairs[2], "2 ranks have collected other pairs than 1"
    steps = {name: median_of(found) for name, found in records.items()}
    times = {ranks: statistics.median(found) for ranks, found in collecting.items()}
    two = steps["2 ranks of 1 thread"]
    return {
        "steps": steps,
        "collect": {"subnets": count, "seconds": {f"{ranks} ranks of 1 thread": found for ranks, found in times.items()}},
        "figures": {
            "throughput": steps["1 rank of 2 threads"]["step_ms"] / two["step_ms"],
            "collect": times[1] / times[2],
            # Both ranks are there when it begins; the other figure has their waiting for each other in it.
            "communication": two["sum_ms"] / two["step_ms"],
            "communication_with_waiting": two["exchange_ms"] / two["step_ms"],
        },
    }


def machine():
    known = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in known if line.startswith("model name")]
    return {"processor": models[0] if models else "unknown", "cores": os.cpu_count(), "load_before": os.getloadavg()[0]}


def plot(results):
    """Efficiency by number of processes: the model's lines, and what was measured."""
    width, height, left, top, right, bottom = 760, 440, 60, 20, 230, 50
    across, down = width - left - right, height - top - bottom
    x = lambda processes: left + across * math.log2(processes) / 8
    y = lambda share: top + down * (1 - (share - 0.4) / 0.6)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for share in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
        parts.append(f'<path d="M{left} {y(share):.1f}H{left + across}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for power in range(9):
        at = x(2**power)
        parts.append(f'<path d="M{at:.1f} {top + down}v5" stroke="#444"/>')
        parts.append(f'<text x="{at:.1f}" y="{top + down + 20}" text-anchor="middle">{2**power}</text>')
    parts.append(f'<text x="{left + across / 2}" y="{height - 12}" text-anchor="middle">processes</text>')
    parts.append(f'<path d="M{left} {top}V{top + down}H{left + across}" fill="none" stroke="#444"/>')
    legend = top + 10
    def entry(mark, text):
        nonlocal legend
        parts.append(f'<g transform="translate({left + across + 20} {legend})">{mark}<text x="34" y="4">{text}</text></g>')
        legend += 20
    colours = dict(zip(LINKS, ("#b03a2e", "#1f618d", "#1e8449")))
    dashes = dict(zip(STEPS, ("", ' stroke-dasharray="6 4"')))
    for link, (rate, latency) in LINKS.items():
        for name, seconds in STEPS.items():
            style = f'fill="none" stroke="{colours[link]}" stroke-width="2"{dashes[name]}'
            powers = [power / 4 for power in range(33)]
            shares = [seconds / (seconds + sum_seconds(2**power, rate, latency)) for power in powers]
            points = " ".join(f"{x(2**power):.1f},{y(share):.1f}" for power, share in zip(powers, shares))
            parts.append(f'<polyline points="{points}" {style}/>')
            entry(f'<path d="M0 0H28" {style}/>', f"{link}, {name}")
    for kind, colour in ((SMALL, "#000"), (LARGE, "#888")):
        found = [record for name, record in results.get("steps", {}).items() if name.startswith(kind)]
        for record in found:
            share = 1 - record["exchange_ms"] / record["step_ms"]
            parts.append(f'<circle cx="{x(record["ranks"]):.1f}" cy="{y(max(share, 0.4)):.1f}" r="5" fill="{colour}"/>')
        if found:
            entry(f'<circle cx="14" cy="0" r="5" fill="{colour}"/>', f"measured, {kind}")
    return "\n".join([*parts, "</svg>"]) + "\n"


def lines(results):
    """The figures as they stand in docs/scaling.md."""
    figures, targets, machine = results["figures"], results["targets"], results["machine"]
    text = [
        f"Medians over {results['rounds']} rounds on {machine['cores']} cores ({machine['processor']}):",
        "",
        "| figure | measured | expected |",
        "|---|---|---|",
        f"| images a second, 2 ranks of 1 thread over 1 rank of 2 threads | {figures['throughput']:.2f} | ≥ {targets['throughput']} |",
        f"| collecting {results['collect']['subnets']} subnets, 2 ranks of 1 thread over 1 | {figures['collect']:.2f} × | "
        f"≥ {targets['collect']} × |",
        f"| a sum, of a step of 2 ranks | {100 * figures['communication']:.1f} % | < {100 * targets['communication']:.0f} % |",
        f"| the same with the ranks' waiting for each other | {100 * figures['communication_with_waiting']:.1f} % | |",
        "",
        "| step | ranks × threads | shards | images | ms a step | exchanges, waiting included | a sum alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in results["steps"].values():
        text.append(
            f"| `{record['space']}` | {record['ranks']} × {record['threads']} | {record['shards']} | {record['batch']} | {record['step_ms']:.1f} | "
            f"{record['exchange_ms']:.2f} ms | {record['sum_ms']:.2f} ms |"
        )
    return "\n".join(text)


BEGIN, END = "<!-- figures of benches/scaling -->", "<!-- end of the figures -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", help="folder with ofa and examples/scaling, or `model` to draw the model alone")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", metavar="FOLDER", type=Path)
    arguments = parser.parse_args()
    if arguments.build == "model":
        (ROOT / "docs/images/scaling.svg").write_text(plot({}))
        return
    about = machine()
    measured = measure(arguments.build, 1 if arguments.quick else arguments.rounds, arguments.quick)
    results = {"machine": about, "rounds": 1 if arguments.quick else arguments.rounds, "targets": TARGETS, **measured}
    json_file, svg_file = ROOT / "docs/results/scaling.json", ROOT / "docs/images/scaling.svg"
    if arguments.quick:
        arguments.quick.mkdir(parents=True, exist_ok=True)
        json_file, svg_file = arguments.quick / "scaling.json", arguments.quick / "scaling.svg"
    json_file.write_text(json.dumps(results, indent=1) + "\n")
    svg_file.write_text(plot(results))
    text = lines(results)
    print(text)
    if not arguments.quick:
        page = ROOT / "docs/scaling.md"
        before, rest = page.read_text().split(BEGIN)
        _, after = rest.split(END)
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")
    if about["load_before"] > 0.3:
        print(f"The machine was not idle (load {about['load_before']:.1f}): these figures are bounds.")


if __name__ == "__main__":
    main()
