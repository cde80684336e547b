"""Runs every shell block of README and docs, in order, each page from an empty folder.

    cargo build --release --workspace --bin ofa
    python3 tests/documentation.py [--list] [README.md docs/tutorial.md …]

OFA_BIN names the program (default: target/release/ofa), LIMIT_SECONDS the time that a block may take (default: 240). A page's
folder gets what its prose takes for granted: `my-photos/` (three classes of drawn pictures), a photo of that folder wherever a page
names one of its own, and a file of predictor settings. `cargo run --release -- …` is run as `ofa …`, `cargo install` does
nothing.

A block behind `<!-- not run: REASON -->` needs more than two minutes, a GPU, several machines, PyTorch, or data that are not in the
repository. Of such a block, each `ofa` command is only parsed. Blocks without a language are output, not commands.
"""

import argparse
import os
import random
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OFA = Path(os.environ.get("OFA_BIN", ROOT / "target/release/ofa")).resolve()
LIMIT_SECONDS = int(os.environ.get("LIMIT_SECONDS", "240"))
BLOCK = re.compile(r"(?:<!-- not run: (?P<reason>[^>]*?) -->\n+)?^```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^```", re.M | re.S)
SHELLS = {"sh", "bash", "shell", "console"}
COMMANDS = ("ofa ", "cargo ", "python ", "python3 ", "pip ", "for ")


def png(path, width, height, colour, rng):
    """A drawn picture: a disc of one colour on noise."""
    rows = bytearray()
    cx, cy, radius = rng.randrange(width), rng.randrange(height), min(width, height) // 3
    for y in range(height):
        rows.append(0)
        for x in range(width):
            inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2
            rows += bytes(colour) if inside else bytes(rng.randrange(60, 120) for _ in range(3))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows), 1)), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def photos(folder):
    rng = random.Random(0)
    for name, colour in (("glass", (200, 40, 40)), ("metal", (40, 200, 40)), ("paper", (40, 40, 200))):
        for number in range(24):
            png(folder / "my-photos" / name / f"{number}.png", 128, 96, colour, rng)
    (folder / "ridge.toml").write_text('kind = "ridge"\npenalty = 1.0\n')
    for name in ("photo.jpg", "IMG_1234.jpg", "glass101.jpg", "holiday.jpg"):
        shutil.copy(folder / "my-photos/glass/0.png", folder / name)


def blocks(page):
    for match in BLOCK.finditer(page.read_text()):
        body, language = match["body"], match["language"]
        if language in SHELLS:
            yield match["reason"], body
        elif not language and body.startswith(COMMANDS):
            raise SystemExit(f"{page}: a block of commands without a language, so it is taken for output:\n{body}")


def logical_lines(body):
    for line in body.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            yield line


def ofa_commands(line):
    """Arguments of the `ofa` commands of a line."""
    line = re.sub(r"cargo run --release -- ", "ofa ", line)
    tokens = shlex.shlex(line, posix=True, punctuation_chars="|;&")
    tokens.whitespace_split = True
    commands = [[]]
    for token in tokens:
        if set(token) <= set("|;&"):
            commands.append([])
        else:
            commands[-1].append(token)
    for words in commands:
        while words and (words[0] in ("do", "then") or re.fullmatch(r"\w+=.*", words[0])):
            words.pop(0)
        if words[:1] == ["ofa"]:
            kept = words[1:]
            for sign in (">", "2>", "<"):
                if sign in kept:
                    kept = kept[: kept.index(sign)]
            yield kept


def parsed(body, folder):
    """Whether the program accepts the options of each command; the problems."""
    problems = []
    for line in logical_lines(body):
        for words in ofa_commands(line):
            done = subprocess.run([OFA, *words, "--help"], cwd=folder, capture_output=True, text=True)
            if done.returncode != 0:
                problems.append(f"{shlex.join(words)}: {done.stderr.strip().splitlines()[0]}")
    return problems


def run(body, folder):
    """Whether the block succeeds in the folder; the problems."""
    shim = folder.parent / "bin"
    shim.mkdir(exist_ok=True)
    for name, text in (("ofa", f'exec "{OFA}" "$@"\n'), ("cargo", f'[ "$1" = install ] && exit 0; shift 3; exec "{OFA}" "$@"\n')):
        (shim / name).write_text("#!/bin/sh\n" + text)
        (shim / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{shim}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", body]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return [f"took more than {LIMIT_SECONDS} s"]
    return [] if done.returncode == 0 else [f"exit status {done.returncode}: {done.stderr.strip()[-600:]}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="list the blocks that are not run, with their reasons")
    parser.add_argument("pages", nargs="*", type=Path)
    options = parser.parse_args()
    everything = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("crates/*/README.md"))]
    failures = 0
    for page in options.pages or everything:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "work"
            folder.mkdir()
            prepared = False
            for number, (reason, body) in enumerate(blocks(page), 1):
                name = f"{page.relative_to(ROOT) if page.is_absolute() else page}, block {number}"
                if options.list:
                    if reason:
                        print(f"{name}: {reason}")
                    continue
                if not prepared:
                    photos(folder)
                    prepared = True
                started = time.monotonic()
                problems = parsed(body, folder) if reason else run(body, folder)
                how = f"parsed ({reason})" if reason else f"run, {time.monotonic() - started:.0f} s"
                print(f"{name}: {'FAILED' if problems else 'ok'}, {how}", flush=True)
                for problem in problems:
                    print(f"  {problem}", flush=True)
                failures += bool(problems)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
