"""Article vectors as Python's onnxruntime makes them, text by text, from the same ONNX file.

usage: vectors.py MODEL_FOLDER DATA
"""

import sys
from pathlib import Path

import numpy
import onnxruntime
import polars
from tokenizers import Tokenizer

model, data = Path(sys.argv[1]), Path(sys.argv[2])
tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
tokenizer.no_padding()
tokenizer.enable_truncation(256)
session = onnxruntime.InferenceSession(str(model / "model.int8.onnx"))
news = polars.read_parquet(data / "news/**/*.parquet").select("news_id", "title", "abstract")
vectors = polars.read_parquet(data / "news_vectors/**/*.parquet")
both = news.join(vectors, on="news_id", validate="1:1").sort("news_id")
assert both.height == news.height == vectors.height
worst = 1.0
for title, abstract, vector in both.select("title", "abstract", "vector").head(200).iter_rows():
    ids = numpy.array([tokenizer.encode(title if abstract is None else f"{title} {abstract}").ids], dtype=numpy.int64)
    tokens = session.run(None, {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)})[0][0]
    mean, vector = tokens.mean(axis=0), numpy.array(vector)
    assert abs(numpy.linalg.norm(vector) - 1) < 1e-5
    worst = min(worst, float(mean @ vector / numpy.linalg.norm(mean)))
assert worst >= 0.9999, worst
print(f"cosine at least {worst:.7f}")
