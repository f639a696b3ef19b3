"""A step of GRPO and one of distillation beside TRL: the same model, sizes and work, in one run.

usage: train.py FOLDER MODEL.gguf [TURNS]    (TURNS 3)

4 users, 8 lists each of exactly 64 tokens, prompts of 400 tokens, adapters of rank 16 on all linear layers, float32, two threads. GRPO has a
reference policy, and its rewards are drawn; distillation has a teacher of the student's size. The first step of each is not counted.

* querent: `cargo bench --bench step`: rollout, and everything from there to the next weights.
* TRL: GRPOTrainer and DistillationTrainer on the processor, on the folder that `querent export` writes; adapters by peft. TRL takes the 32
  lists in four portions of 8, by accumulation: all at once need more than 24 GiB.

Compares with what is there of TRL (and torch, transformers, peft, datasets). QUERENT names the binary.
"""

import json
import os
import re
import statistics
import subprocess
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
from trl import DistillationConfig, DistillationTrainer, GRPOConfig, GRPOTrainer
what, folder, turns, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
word = tokenizer.encode(" news", add_special_tokens=False)[0]
prompts = [tokenizer.decode([word] * 398) + f" {user}" for user in range(4 * (turns + 2))]
def model():
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
adapters = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
settings = dict(
    output_dir=out, use_cpu=True, per_device_train_batch_size=8, gradient_accumulation_steps=4, max_completion_length=64,
    max_steps=turns + 1, learning_rate=1e-5, report_to=[], logging_steps=1, save_strategy="no", temperature=1.0, bf16=False,
    gradient_checkpointing=False, generation_kwargs={"min_new_tokens": 64})
def reward(completions, **_):
    return [(at % 8) / 8 - 0.5 for at in range(len(completions))]
class Watch(TrainerCallback):
    def on_step_begin(self, *_, **__):
        self.started = time.perf_counter()
    def on_step_end(self, *_, **__):
        peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024 / 1e6
        print(json.dumps({"seconds": time.perf_counter() - self.started, "peak_mb": peak}), flush=True)
rest = dict(processing_class=tokenizer, peft_config=adapters, callbacks=[Watch()])
if what == "GRPO":
    of = GRPOConfig(**settings, num_generations=8, beta=0.005, loss_type="dr_grpo", scale_rewards=False)
    data = Dataset.from_dict({"prompt": prompts})
    GRPOTrainer(model=model(), reward_funcs=reward, args=of, train_dataset=data, **rest).train()
else:
    of = DistillationConfig(**settings, beta=1.0, shuffle_dataset=False)
    data = Dataset.from_dict({"prompt": [prompt for prompt in prompts for _ in range(8)]})
    DistillationTrainer(model=model(), teacher_model=model().eval(), args=of, train_dataset=data, **rest).train()
"""


def lines(said: str) -> list[dict]:
    """What a step said, without the first: what is warm. A trainer's own progress may stand before it in its line."""
    return [json.loads(found) for found in re.findall(r'\{[^{}]*"peak_mb"[^{}]*\}', said)][1:]


def trl(what: str) -> list[dict]:
    """TRL's steps of a trainer."""
    script = folder / "trl_step.py"
    script.write_text(TRL)
    _, said = run_and_listen([sys.executable, str(script), what, str(exported), str(turns), str(folder / "trl")])
    return lines(said)


def median(said: list[dict], phase: str) -> float:
    return statistics.median(line[phase] for line in said)


machine()
exported = folder / "model"
if "TRL" in there:
    subprocess.run([os.environ["QUERENT"], "export", str(model), str(exported), "--quiet"], check=True)
for what, arguments in [("GRPO", []), ("distillation", [str(model)])]:
    _, said = run_and_listen(["cargo", "bench", "--quiet", "--workspace", "--bench", "step", "--", str(model), str(turns + 1), *arguments])
    ours = lines(said)
    rollout, update, scoring = (median(ours, phase) for phase in ("rollout", "update", "scoring"))
    whole, peak = rollout + update, max(line["peak_mb"] for line in ours)
    print(f"{what}: querent  {whole:7.1f} s a step: rollout {rollout:.1f}, update {update:.1f}; {peak:,.0f} MB at most")
    if arguments:
        print(f"{what}: the teacher alone reads the lists in {scoring:.1f} s, {scoring / whole:.0%} of the step")
    if "TRL" in there:
        theirs = trl(what)
        seconds, memory = median(theirs, "seconds"), max(line["peak_mb"] for line in theirs)
        print(f"{what}: TRL      {seconds:7.1f} s a step; {memory:,.0f} MB at most")
        print(f"{what}: TRL takes {seconds / whole:.1f} times as long and {memory / peak:.1f} times the memory")
