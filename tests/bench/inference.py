"""ONNX files over texts, as plain Python runs them."""

import json
from pathlib import Path

import numpy
import onnxruntime
from tokenizers import Tokenizer

from tools import ROOT

MINILM = ROOT / "models/minilm"


def infer(folder: Path, file: str, texts: list[str], longest: int, read) -> numpy.ndarray:
    """Runs an ONNX file over texts, shortest first; `read` takes a text's part of the output, and its mask."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=json.loads((folder / "config.json").read_text())["pad_token_id"])
    session = onnxruntime.InferenceSession(str(folder / file))
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows = [None] * len(texts)
    for start in range(0, len(texts), 32):
        batch = order[start : start + 32]
        encoded = tokenizer.encode_batch([texts[i] for i in batch])
        ids, mask = (numpy.array([getattr(e, name) for e in encoded], dtype="int64") for name in ["ids", "attention_mask"])
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": numpy.zeros_like(ids)}
        output = session.run(None, {i.name: feed[i.name] for i in session.get_inputs()})[0]
        for i, part, of_text in zip(batch, output, mask):
            rows[i] = read(part, of_text)
    return numpy.array(rows)


def embeddings(texts: list[str]) -> numpy.ndarray:
    """MiniLM: the mean over a text's tokens, of length one."""

    def mean(hidden, mask):
        vector = (hidden * mask[:, None]).sum(axis=0) / mask.sum()
        return vector / numpy.linalg.norm(vector)

    return infer(MINILM, "model.int8.onnx", texts, 128, mean)
