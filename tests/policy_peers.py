"""A policy in transformers: the same tokens on real titles, and the same logits from the exported folder.

usage: policy_peers.py MODEL.gguf TITLES    (TITLES: a file with a text per line, or MIND's news.tsv; QUERENT names the binary;
needs torch, transformers, gguf)
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

model, titles = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
lines = titles.read_text(encoding="utf-8").splitlines()
texts = [line.split("\t")[3] if line.count("\t") >= 3 else line for line in lines][:10_000]
texts += ["Zażółć gęślą jaźń 🚀 naïve café — “quotes”  double  spaces\t tab", "1234567 and 8.9%", "a <b> 'll we're", " leading"]
texts = [" ".join(text.splitlines()) for text in texts]


def probe(what: str, said: list[str]) -> list:
    """Our answers to lines."""
    command = ["cargo", "run", "-q", "-p", "querent-policy", "--example", "probe", "--", str(model), what]
    done = subprocess.run(command, input="\n".join(said) + "\n", capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


with tempfile.TemporaryDirectory() as root:
    folder = Path(root) / "exported"
    subprocess.run([os.environ["QUERENT"], "export", model, folder], check=True, stdout=subprocess.DEVNULL)
    ours = probe("tokens", texts)
    for name, tokenizer in {
        "exported folder": AutoTokenizer.from_pretrained(folder),
        "GGUF file": AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name),
    }.items():
        theirs = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        wrong = [i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b]
        print(f"{name}: tokens of {len(texts) - len(wrong):,} of {len(texts):,} texts are transformers'")
        assert not wrong or name == "GGUF file", wrong[:10]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    chat = [{"role": "system", "content": "You write queries."}, {"role": "user", "content": "Searches:\n- solar power"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)["input_ids"]
    asked = [ids for ids in [prompt, *ours[:50]] if ids]
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    largest = 0.0
    with torch.inference_mode():
        for ids, logits in zip(asked, probe("logits", [json.dumps(ids) for ids in asked])):
            theirs = network(torch.tensor([ids])).logits[0, -1]
            largest = max(largest, (theirs - torch.tensor(logits)).abs().max().item())
    assert largest < 2e-3, largest
    print(f"logits of {len(asked)} sequences: at most {largest:.1e} apart")
