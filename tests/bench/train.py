"""A step of GRPO beside TRL: the same model, sizes and work, in one run.

usage: train.py FOLDER MODEL.gguf [TURNS]    (TURNS 3)

4 users, 8 lists each of exactly 64 tokens, prompts of 400 tokens, adapters of rank 16 on all linear layers, a reference policy, float32, two
threads. Rewards are drawn. The first step of each is not counted.

* querent: `cargo bench --bench step`: rollout, and everything from there to the next weights.
* TRL: GRPOTrainer on the processor, on the folder that `querent export` writes; adapters by peft, so its reference too is the model without them.

Compares with what is there of TRL (and torch, transformers, peft, datasets). QUERENT names the binary.
"""

import json
import statistics
import sys
from pathlib import Path

from tools import ROOT, installed, machine, run_and_listen

if len(sys.argv) < 3 and "--check" not in sys.argv:
    sys.exit(__doc__)
there = installed(own=[], peers={"TRL": ["torch", "transformers", "peft", "datasets", "trl"]})
folder, model = (Path(argument).resolve() for argument in sys.argv[1:3])
if not model.exists():
    sys.exit(f"error: MODEL: there is no {model}: make setup")
turns = int(sys.argv[3]) if len(sys.argv) > 3 else 3
folder.mkdir(parents=True, exist_ok=True)

TRL = """
import json, re, sys, time, torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
folder, turns, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
word = tokenizer.encode(" news", add_special_tokens=False)[0]
prompts = [tokenizer.decode([word] * 398) + f" {user}" for user in range(4 * (turns + 2))]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
settings = GRPOConfig(
    output_dir=out, use_cpu=True, per_device_train_batch_size=32, num_generations=8, max_completion_length=64, max_steps=turns + 1,
    beta=0.005, loss_type="dr_grpo", scale_rewards=False, learning_rate=1e-5, report_to=[], logging_steps=1, save_strategy="no",
    temperature=1.0, bf16=False, gradient_checkpointing=False, generation_kwargs={"min_new_tokens": 64})
def reward(completions, **_):
    return [(at % 8) / 8 - 0.5 for at in range(len(completions))]
class Watch(TrainerCallback):
    def on_step_begin(self, *_, **__):
        self.started = time.perf_counter()
    def on_step_end(self, *_, **__):
        peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
        print(json.dumps({"seconds": time.perf_counter() - self.started, "peak_mb": peak}), flush=True)
GRPOTrainer(model=model, reward_funcs=reward, args=settings, train_dataset=Dataset.from_dict({"prompt": prompts}),
            processing_class=tokenizer, peft_config=adapters, callbacks=[Watch()]).train()
"""


def lines(said: str) -> list[dict]:
    """The JSON lines, without the first: what is warm."""
    return [json.loads(line) for line in said.splitlines() if line.startswith("{") and "peak_mb" in line][1:]


print(machine())
_, said = run_and_listen(["cargo", "bench", "--quiet", "--workspace", "--bench", "step", "--", str(model), str(turns + 1)])
ours = lines(said)
rollout, update = (statistics.median(line[phase] for line in ours) for phase in ("rollout", "update"))
peak = max(line["peak_mb"] for line in ours)
print(f"querent  {rollout + update:7.1f} s a step: rollout {rollout:.1f}, update {update:.1f}; {peak:,.0f} MB at most")
if "TRL" in there:
    import os
    import subprocess

    exported = folder / "model"
    subprocess.run([os.environ["QUERENT"], "export", str(model), str(exported), "--quiet"], check=True)
    script = folder / "trl_step.py"
    script.write_text(TRL)
    _, said = run_and_listen([sys.executable, str(script), str(exported), str(turns), str(folder / "trl")])
    theirs = lines(said)
    seconds, memory = statistics.median(line["seconds"] for line in theirs), max(line["peak_mb"] for line in theirs)
    print(f"TRL      {seconds:7.1f} s a step; {memory:,.0f} MB at most")
    print(f"TRL takes {seconds / (rollout + update):.1f} times as long and {memory / peak:.1f} times the memory")
