#!/usr/bin/env python3
"""Run cargo, and say what it builds, how long that takes from nothing, and how far it is: `compile.py build --release`.

On a terminal cargo's own bar says how far. Elsewhere one line every 20 seconds does; warnings and errors come through as they are.
Exit status: cargo's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EVERY_SECONDS = 20
PROGRESS = re.compile(r" *(Building|Downloading)(?: \[[=> ]+\])? (.*)")  # "   Building [===>   ] 123/456: arrow-cast", " Downloading 12 crates"
STEP = re.compile(r" *(Compiling|Downloaded) ")


def say(line: str) -> None:
    """One line about the build."""
    print(line, file=sys.stderr, flush=True)


def follow(command: list[str]) -> int:
    """Run cargo where there is no terminal: its progress comes line by line, and now and then one of these is told."""
    environment = {"CARGO_TERM_PROGRESS_WHEN": "always", "CARGO_TERM_PROGRESS_WIDTH": "100", "CARGO_TERM_COLOR": "never"}
    cargo = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    started, at = time.monotonic(), "Starting"

    def read() -> None:
        nonlocal at
        for line in cargo.stderr:  # a carriage return ends a line, too
            if step := PROGRESS.match(line):
                at = f"{step[1]} {step[2].rstrip()}"
            elif line.strip() and not STEP.match(line):
                say(line.rstrip())

    reader = threading.Thread(target=read)
    reader.start()
    while True:
        try:
            status = cargo.wait(EVERY_SECONDS)
            reader.join()
            return status
        except subprocess.TimeoutExpired:
            minutes, seconds = divmod(int(time.monotonic() - started), 60)
            say(f"{minutes:5d} min {seconds:02d} s: {at}")


def main() -> int:
    """Say what is about to happen, and run cargo."""
    command = ["cargo", *(sys.argv[1:] or ["build"])]
    dev = command[1] == "build" and "--release" not in command
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    if not (target / ("debug" if dev else "release") / "querent").exists():
        long = "ten to twenty minutes" if dev else "half an hour"
        say(f"building querent and all it depends on in {target}: about {long} on two cores the first time, and seconds once it is there")
    shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and "CI" not in os.environ  # as cargo decides it
    say(" ".join(command))
    try:
        return subprocess.run(command, cwd=ROOT).returncode if shown else follow(command)
    except KeyboardInterrupt:  # cargo heard it as well
        say("stopped; what is built is kept, and the same command goes on from there")
        return 130


if __name__ == "__main__":
    sys.exit(main())
