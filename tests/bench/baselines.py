"""GRU and SASRec beside RecBole: the same clicks of ids (ml-100k, inside RecBole's wheel), sizes and loss, two threads, in one run.

usage: baselines.py FOLDER [RUNS]    (RUNS 3)

Width 64, two layers (one of the GRU), one head, the latest 50 clicks, softmax over all items. What is told: clicks learnt a second in training, and users
a second for whom all items are ranked without those they had. RecBole learns a sequence per click, in batches of 2,048, as it comes; querent
learns all clicks of a user at once. Its steps are those of its trainer, without the trainer's bookkeeping. HSTU is told alone: RecBole has none.
"""

import json
import re
import statistics
import sys
from pathlib import Path

from tools import installed, machine, run_and_listen

if len(sys.argv) < 2 and "--check" not in sys.argv:
    sys.exit(__doc__)
there = installed(own=["recbole"], peers={"RecBole": ["recbole", "torch", "pandas"]}, program=False)
folder = Path(sys.argv[1]).resolve()
runs = int(sys.argv[2]) if len(sys.argv) > 2 else 3
folder.mkdir(parents=True, exist_ok=True)
WIDTH, LENGTH = 64, 50
MODELS = {"gru": ("GRU4Rec", 1), "sasrec": ("SASRec", 2), "hstu": (None, 2)}

THEIRS = """
import json, os, sys, time, numpy, torch
# RecBole asks for names that NumPy 2 no longer has.
numpy.float_, numpy.complex_, numpy.unicode_ = numpy.float64, numpy.complex128, numpy.str_
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
model, layers, runs, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(2)
os.chdir(folder)  # RecBole leaves logs where it runs
sys.argv = sys.argv[:1]
settings = {
    "state": "ERROR", "show_progress": False, "use_gpu": False, "gpu_id": "", "checkpoint_dir": folder, "epochs": 1, "train_batch_size": 2048,
    "MAX_ITEM_LIST_LENGTH": LENGTH, "loss_type": "CE", "train_neg_sample_args": None, "embedding_size": WIDTH, "hidden_size": WIDTH,
    "inner_size": 4 * WIDTH, "n_layers": layers, "n_heads": 1, "num_layers": layers,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
}
config = Config(model=model, dataset="ml-100k", config_dict=settings)
init_seed(1, True)
dataset = create_dataset(config)
train, valid, test = data_preparation(config, dataset)
network = get_model(model)(config, train.dataset)
trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
network.train()
batches = iter(train)
for turn in range(runs + 1):
    started, learnt = time.perf_counter(), 0
    for _ in range(4):
        batch = next(batches)
        trainer.optimizer.zero_grad()
        network.calculate_loss(batch).backward()
        trainer.optimizer.step()
        learnt += len(batch)
    learning = time.perf_counter() - started
    network.eval()
    started = time.perf_counter()
    trainer.evaluate(valid, load_best_model=False)
    ranking = time.perf_counter() - started
    network.train()
    print(json.dumps({"learnt": learnt / learning, "ranked": len(valid.dataset) / ranking}), flush=True)
""".replace("WIDTH", str(WIDTH)).replace("LENGTH", str(LENGTH))


def ours(model: str, layers: int, file: Path) -> tuple[float, float]:
    """Clicks learnt and users ranked a second: medians over runs of 40 steps. What is set for the process, `querent baseline` sets itself."""
    command = ["cargo", "bench", "--quiet", "--workspace", "--bench", "ids", "--", str(file), model]
    command += ["--width", str(WIDTH), "--layers", str(layers), "--length", str(LENGTH), "--negatives", "0", "--steps", "40", "--look-every", "10"]
    told = []
    for _ in range(runs):
        _, said = run_and_listen(command, RAYON_NUM_THREADS="2", CANDLE_NUM_THREADS="1", MIMALLOC_PURGE_DELAY="10000")
        told.append([float(figure) for figure in re.search(r"learnt (\d+) clicks/s, ranked (\d+) users/s", said).groups()])
    return tuple(statistics.median(column) for column in zip(*told))


def theirs(model: str, layers: int) -> tuple[float, float]:
    """The same of RecBole, four batches a run, without the first run."""
    script = folder / "recbole_epochs.py"
    script.write_text(THEIRS)
    _, said = run_and_listen([sys.executable, str(script), model, str(layers), str(runs), str(folder)])
    told = [json.loads(line) for line in said.splitlines() if line.startswith('{"learnt"')][1:]
    return tuple(statistics.median(line[figure] for line in told) for figure in ("learnt", "ranked"))


import recbole

file = Path(recbole.__file__).parent / "dataset_example/ml-100k/ml-100k.inter"
machine()
for model, (name, layers) in MODELS.items():
    learnt, ranked = ours(model, layers, file)
    print(f"{model:8} {learnt:9,.0f} clicks/s learnt, {ranked:8,.0f} users/s ranked", flush=True)
    if name and "RecBole" in there:
        of_learning, of_ranking = theirs(name, layers)
        print(f"{name:8} {of_learning:9,.0f} clicks/s learnt, {of_ranking:8,.0f} users/s ranked: querent {learnt / of_learning:.1f} and {ranked / of_ranking:.1f} times as fast", flush=True)
