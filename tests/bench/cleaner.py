"""The cleaner's quality beside reference classifiers, on the same folds.

usage: cleaner.py PREDICTIONS [GOLD MODEL_FOLDER] [--domain web_query]

PREDICTIONS is the predictions.parquet of `train-cleaner --folds K`: every label scored by a model that never saw its fold.
The references are trained on the same labels: those of all domains outside the fold. They decide at one half; where they
have a C, cross-validation inside the training labels chooses it. GOLD is a JSONL file of {"text", "label"}, 1 keep or 0 noise,
labelled by hand: the ONNX files of MODEL_FOLDER, with its thresholds, beside references trained on all labels.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from tools import installed, machine

# The measures are scikit-learn's, and the folder that is judged runs in onnxruntime: without them there is nothing to print.
installed(own=["numpy", "onnxruntime", "polars", "sklearn", "tokenizers"], peers={}, program=False)

import numpy  # noqa: E402
import polars  # noqa: E402
from scipy.stats import binomtest  # noqa: E402
from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.metrics import average_precision_score  # noqa: E402
from sklearn.model_selection import GridSearchCV, StratifiedKFold  # noqa: E402
from sklearn.pipeline import make_pipeline, make_union  # noqa: E402
from inference import MINILM, embeddings, infer  # noqa: E402

REFERENCES = ["majority", "TF-IDF + logistic", "MiniLM + logistic"]


class Decided(NamedTuple):
    """A classifier's probabilities of keep, and what it decides."""

    scores: numpy.ndarray
    kept: numpy.ndarray


def cleaner(folder: Path, file: str, texts: list[str]) -> Decided:
    """What a model's folder says of texts."""
    keep = json.loads((folder / "config.json").read_text())["label2id"]["keep"]
    threshold = json.loads((folder / "thresholds.json").read_text()).get(file, 0.5)
    scores = infer(folder, file, texts, 64, lambda logits, _: 1 / numpy.exp(logits - logits[keep]).sum())
    return Decided(scores, scores >= threshold)


def logistic(inputs, labels: numpy.ndarray, tests, features=None) -> Decided:
    """Logistic regression over features, C chosen among the training labels alone."""
    steps = make_pipeline(*[f for f in [features] if f is not None], LogisticRegression(max_iter=2000))
    inner = StratifiedKFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(steps, {"logisticregression__C": [1, 3, 10]}, cv=inner).fit(inputs, labels)
    scores = search.predict_proba(tests)[:, 1]
    return Decided(scores, scores >= 0.5)


def references(texts, vectors, labels, test_texts, test_vectors) -> list[Decided]:
    """Every reference, trained on some texts and asked about others."""
    kept = numpy.full(len(test_texts), labels.mean() >= 0.5)
    tf_idf = make_union(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        TfidfVectorizer(analyzer="word", ngram_range=(1, 2), sublinear_tf=True),
    )
    majority = Decided(kept.astype(float), kept)
    return [majority, logistic(texts, labels, test_texts, tf_idf), logistic(vectors, labels, test_vectors)]


def table(title: str, labels: numpy.ndarray, decided: dict[str, Decided]) -> None:
    """Prints measures with 95% bootstrap intervals, and McNemar's exact test of the first classifier against each other."""
    print(f"\n{title}: {len(labels):,} texts, {labels.mean():.1%} keep")
    print(f"{'':<24} {'accuracy':<22} {'F1':<22} {'average precision':<22} McNemar: only the first right, only this, p")
    random = numpy.random.default_rng(0)
    resamples = [random.integers(len(labels), size=len(labels)) for _ in range(1000)]
    measures = [
        lambda at, d: (labels[at] == d.kept[at]).mean(),
        lambda at, d: 2 * (labels[at] & d.kept[at]).sum() / max(1, labels[at].sum() + d.kept[at].sum()),
        lambda at, d: average_precision_score(labels[at], d.scores[at]),
    ]
    first = next(iter(decided.values()))
    for name, d in decided.items():
        cells = []
        for measure in measures:
            low, high = numpy.percentile([measure(at, d) for at in resamples], [2.5, 97.5])
            cells.append(f"{measure(slice(None), d):.4f} ({low:.4f}-{high:.4f})")
        right, other = first.kept == labels, d.kept == labels
        ahead, behind = int((right & ~other).sum()), int((~right & other).sum())
        p = binomtest(ahead, ahead + behind).pvalue if ahead + behind else 1.0
        test = "" if d is first else f"{ahead}, {behind}, p = {p:.2g}"
        print(f"{name:<24} {' '.join(f'{cell:<22}' for cell in cells)} {test}".rstrip(), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].splitlines()[0])
    parser.add_argument("predictions", type=Path)
    parser.add_argument("gold", type=Path, nargs="?")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--domain", default="web_query")
    options = parser.parse_args()
    if options.gold and not options.model:
        parser.error("GOLD needs MODEL_FOLDER")
    if not (MINILM / "model.int8.onnx").exists():
        sys.exit("models/minilm has no model.int8.onnx")
    warnings.filterwarnings("ignore", message="No positive class")  # in a resample
    machine()
    rows = polars.read_parquet(options.predictions)
    if options.domain not in rows["domain"]:
        sys.exit(f"no rows of domain {options.domain}: there are {', '.join(rows['domain'].unique().sort())}")
    texts, labels, folds = rows["text"].to_numpy(), rows["label"].to_numpy(), rows["fold"].to_numpy()
    vectors = embeddings(list(texts))
    decided = {"querent": Decided(rows["keep_score"].to_numpy(), rows["kept"].to_numpy())}
    decided |= {name: Decided(numpy.zeros(len(rows)), numpy.zeros(len(rows), dtype=bool)) for name in REFERENCES}
    for fold in numpy.unique(folds):
        test, train = folds == fold, folds != fold
        for name, d in zip(REFERENCES, references(texts[train], vectors[train], labels[train], texts[test], vectors[test])):
            decided[name].scores[test], decided[name].kept[test] = d
    of_domain = (rows["domain"] == options.domain).to_numpy()
    part = {name: Decided(d.scores[of_domain], d.kept[of_domain]) for name, d in decided.items()}
    table(f"out of fold, {options.domain}", labels[of_domain], part)
    table("out of fold, all domains", labels, decided)
    if options.gold:
        lines = [json.loads(line) for line in options.gold.read_text().splitlines() if line.strip()]
        if not {line["label"] for line in lines} <= {0, 1}:
            sys.exit(f"{options.gold}: expected labels 1 (keep) and 0 (noise)")
        gold = numpy.array([line["label"] == 1 for line in lines])
        asked = numpy.array([line["text"] for line in lines], dtype=object)
        files = ["model.onnx", "model.int8.onnx"]
        decided = {f"querent {file}": cleaner(options.model, file, list(asked)) for file in files}
        decided |= zip(REFERENCES, references(texts, vectors, labels, asked, embeddings(list(asked))))
        table(f"gold, of which {len(set(asked) & set(texts)):,} texts are also among the labels", gold, decided)


main()
