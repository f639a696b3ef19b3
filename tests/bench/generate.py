"""Rollouts beside transformers and llama.cpp: the same model, the same prompts, 64 sampled tokens each, in one run.

usage: generate.py FOLDER PROFILES MODEL.gguf [TURNS]    (TURNS 3; PROFILES is a folder of `profiles` with titles of real users)

Two sizes: 8 users with a list each, and 4 users with 8 lists each. All run on two threads, and nothing ends a list early.

* querent: float32, `cargo bench --bench generate`; what all prompts begin with is computed once per run, and it counts.
* transformers: float32 (the folder that `querent export` writes), one left-padded batch, num_return_sequences.
* llama.cpp: the GGUF file itself, parallel sequences. A prompt is decoded once and shared by its lists. Shown twice: every prompt
  decoded whole, and what all prompts begin with decoded once and shared too. Drawing a token is not part of its time.

Needs polars; compares with what is there of transformers (and torch) and of llama-cpp-python (and numpy). QUERENT names the binary.
"""

import json
import os
import statistics
import sys
from pathlib import Path

from tools import ROOT, installed, machine, run_and_listen

if len(sys.argv) < 4:
    sys.exit(__doc__)
folder, profiles, model = (Path(argument).resolve() for argument in sys.argv[1:4])
if not any(profiles.glob("**/*.parquet")):
    sys.exit(f"error: PROFILES: {profiles} holds no Parquet; `cap` writes `profiles`")
there = installed(own=["polars"], peers={"transformers": ["torch", "transformers"], "llama.cpp": ["llama_cpp", "numpy"]})
import polars  # noqa: E402

if not model.exists():
    sys.exit(f"error: MODEL: there is no {model}: make setup")
turns = int(sys.argv[4]) if len(sys.argv) > 4 else 3
SIZES, NEW, THREADS, USERS = [(8, 1), (4, 8)], 64, 2, 8

PEAK = """
import re
def peak_mb():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
"""
TRANSFORMERS = PEAK + """
import json, sys, time, torch
from transformers import AutoModelForCausalLM
folder, prompts, turns, new = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
sizes = json.loads(sys.argv[5])
torch.set_num_threads(int(sys.argv[6]))
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
whole = [prompts["prefix"] + prompt for prompt in prompts["prompts"]]
for _ in range(turns):
    for users, samples in sizes:
        longest = max(map(len, whole[:users]))
        ids = torch.tensor([[0] * (longest - len(p)) + p for p in whole[:users]])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in whole[:users]])
        ask = dict(input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                   num_return_sequences=samples, pad_token_id=0, eos_token_id=None)
        with torch.inference_mode():
            start = time.perf_counter()
            model.generate(**ask, max_new_tokens=1)
            prefill = time.perf_counter() - start
            start = time.perf_counter()
            out = model.generate(**ask, max_new_tokens=new, min_new_tokens=new)
            seconds = time.perf_counter() - start
        assert out.shape == (users * samples, longest + new), out.shape
        print(json.dumps({"users": users, "samples": samples, "seconds": seconds, "prefill": prefill,
                          "decode": seconds - prefill, "peak_mb": peak_mb(),
                          "prefill_tokens": sum(map(len, whole[:users])) * samples, "decode_tokens": users * samples * new}), flush=True)
"""
LLAMA = PEAK + """
import ctypes, json, sys, time
import llama_cpp as ll, numpy
path, prompts, turns, new = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4])
sizes, threads, share_prefix = json.loads(sys.argv[5]), int(sys.argv[6]), sys.argv[7] == "share"
quiet = ll.llama_log_callback(lambda level, text, data: None)  # the library keeps a pointer to it
ll.llama_log_set(quiet, ctypes.c_void_p(0))
ll.llama_backend_init()
model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
settings = ll.llama_context_default_params()
settings.n_ctx, settings.n_batch, settings.n_ubatch, settings.n_seq_max = 16384, 2048, 512, 64
settings.n_threads = settings.n_threads_batch = threads
settings.kv_unified = True
context = ll.llama_init_from_model(model, settings)
memory = ll.llama_get_memory(context)
batch = ll.llama_batch_init(2048, 0, 64)
random = numpy.random.default_rng(0)
def decode(rows):
    # rows: (token, position, sequences, wants logits)
    for start in range(0, len(rows), 2048):
        part = rows[start : start + 2048]
        batch.n_tokens = len(part)
        for i, (token, position, sequences, wants) in enumerate(part):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wants
            batch.n_seq_id[i] = len(sequences)
            for j, sequence in enumerate(sequences):
                batch.seq_id[i][j] = sequence
        assert ll.llama_decode(context, batch) == 0
def draw(i):
    logits = numpy.ctypeslib.as_array(ll.llama_get_logits_ith(context, i), (vocabulary,))
    return int((logits + random.gumbel(size=vocabulary)).argmax())
for _ in range(turns):
    for users, samples in sizes:
        ll.llama_memory_clear(memory, True)
        everyone = list(range(users * samples))
        start, free = time.perf_counter(), 0.0
        prefix = prompts["prefix"]
        if share_prefix:
            decode([(t, i, everyone, False) for i, t in enumerate(prefix)])
        last = {}
        for user in range(users):
            own = everyone[user * samples : (user + 1) * samples]
            tokens = prefix + prompts["prompts"][user]
            first = len(prefix) if share_prefix else 0
            rows = [(t, i, own, i == len(tokens) - 1) for i, t in enumerate(tokens)][first:]
            decode(rows)
            began = time.perf_counter()
            for sequence in own:
                last[sequence] = (draw(len(rows) - 1), len(tokens))
            free += time.perf_counter() - began
        prefill = time.perf_counter() - start - free
        for _ in range(new - 1):
            decode([(token, position, [sequence], True) for sequence, (token, position) in last.items()])
            began = time.perf_counter()
            last = {s: (draw(i), position + 1) for i, (s, (_, position)) in enumerate(last.items())}
            free += time.perf_counter() - began
        seconds = time.perf_counter() - start - free
        tokens = sum(len(p) for p in prompts["prompts"][:users]) + len(prefix) * (1 if share_prefix else users)
        print(json.dumps({"users": users, "samples": samples, "seconds": seconds, "prefill": prefill, "decode": seconds - prefill,
                          "peak_mb": peak_mb(), "prefill_tokens": tokens, "decode_tokens": users * samples * new}), flush=True)
"""


def behaviours() -> list:
    """The first users with 30 to 50 behaviours, in the order of their ids."""
    rows = polars.read_parquet(f"{profiles}/**/*.parquet", hive_partitioning=False).sort("user_id")
    lists = [[[b["domain"], b["text"]] for b in row] for row in rows["behaviours"].to_list()]
    chosen = [row for row in lists if 30 <= len(row) <= 50][:USERS]
    if len(chosen) < USERS:
        sys.exit(f"error: PROFILES: {profiles} has {len(chosen)} users with 30 to 50 behaviours, and {USERS} are needed")
    return chosen


machine()
folder.mkdir(parents=True, exist_ok=True)
(folder / "behaviours.json").write_text(json.dumps(behaviours()))
exported = folder / "exported"
if "transformers" in there and not exported.exists():
    run_and_listen([os.environ["QUERENT"], "export", model, exported])
arguments = [str(folder / "prompts.json")]
settings = [str(NEW), json.dumps(SIZES), str(THREADS)]
os.chdir(ROOT)
commands = {
    "querent": ["cargo", "bench", "-q", "-p", "querent-policy", "--bench", "generate", "--", str(model), str(folder / "behaviours.json"), *arguments, "1"],
    "transformers": [sys.executable, "-c", TRANSFORMERS, str(exported), *arguments, "1", *settings],
    "llama.cpp": [sys.executable, "-c", LLAMA, str(model), *arguments, "1", *settings, "whole"],
    "llama.cpp, prefix shared": [sys.executable, "-c", LLAMA, str(model), *arguments, "1", *settings, "share"],
}
runs = {tool: command for tool, command in commands.items() if tool == "querent" or tool.split(",")[0] in there}
found = {tool: {size: [] for size in SIZES} for tool in runs}
for _ in range(turns):
    for tool, command in runs.items():
        said = run_and_listen(command, OMP_NUM_THREADS=str(THREADS), RAYON_NUM_THREADS=str(THREADS))[1]
        for line in (json.loads(line) for line in said.splitlines() if line.startswith("{")):
            found[tool][line["users"], line["samples"]].append(line)

prompts = json.loads((folder / "prompts.json").read_text())
lengths = [len(prompts["prefix"]) + len(prompt) for prompt in prompts["prompts"]]
print(f"prompts of {min(lengths)} to {max(lengths)} tokens, {len(prompts['prefix'])} of them common to all")
for size in SIZES:
    print(f"\n{size[0]} users, N = {size[1]}")
    print(f"{'':<26} {'users/s':>24} {'prefill, tokens/s':>18} {'decode, tokens/s':>18} {'peak, MB':>10}")
    for tool in commands:
        if tool not in runs:
            print(f"{tool:<26} {'not installed':>24}")
            continue
        lines = found[tool][size]
        assert len(lines) == turns, (tool, lines)
        rates = [size[0] / line["seconds"] for line in lines]
        middle = statistics.median
        print(
            f"{tool:<26} {f'{middle(rates):.3f} ({min(rates):.3f} to {max(rates):.3f})':>24}"
            f" {middle(line['prefill_tokens'] / line['prefill'] for line in lines):18,.0f}"
            f" {middle(line['decode_tokens'] / line['decode'] for line in lines):18,.0f}"
            f" {max(line['peak_mb'] for line in lines):10,.0f}"
        )
    for tool in list(runs)[1:]:
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(found[tool][size], found["querent"][size])]
        print(f"querent : {tool}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
