"""A cleaner's folder in transformers: the same tokens, the same logits as ONNX Runtime gives.

usage: peers.py MODEL_FOLDER    (needs torch, transformers, onnxruntime)
"""

import sys
from pathlib import Path

import numpy
import onnxruntime
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = Path(sys.argv[1])
texts = [
    "glacier", "Wahlen in Österreich: was nun?", "sign in to your account", "https://example.org/a?b=1", "🌧 rain, rain",
    "how do central banks set interest rates", "WHY THE ORCHESTRA WENT ON STRIKE", "a", "x" * 200, " ".join(["treaty"] * 80),
]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
plain = Tokenizer.from_file(str(folder / "tokenizer.json"))
plain.enable_truncation(tokenizer.model_max_length)
assert [model.config.id2label[i] for i in (0, 1)] == ["noise", "keep"]

largest = 0.0
for text in texts:
    encoded = tokenizer(text, truncation=True, return_tensors="pt")
    assert encoded["input_ids"][0].tolist() == plain.encode(text).ids, "other tokens"
    with torch.no_grad():
        theirs = model(**{name: encoded[name] for name in ("input_ids", "attention_mask")}).logits.numpy()
    ours = session.run(["logits"], {name: encoded[name].numpy() for name in ("input_ids", "attention_mask")})[0]
    largest = max(largest, float(numpy.abs(ours - theirs).max()))
batch = tokenizer(texts, truncation=True, padding=True, return_tensors="pt")
with torch.no_grad():
    theirs = model(**{name: batch[name] for name in ("input_ids", "attention_mask")}).logits.numpy()
ours = session.run(["logits"], {name: batch[name].numpy() for name in ("input_ids", "attention_mask")})[0]
largest = max(largest, float(numpy.abs(ours - theirs).max()))
assert largest < 1e-4, largest
print(f"transformers agrees: logits within {largest:.1e}")
