"""A cleaner's folder as others see it: onnx's checker, onnxruntime and tokenizers; the scores are those in clean_events.

usage: onnx_models.py MODEL_FOLDER DATA
"""

import json
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
import polars
from tokenizers import Tokenizer

folder, data = Path(sys.argv[1]), Path(sys.argv[2])
config = json.loads((folder / "config.json").read_text())
assert config["id2label"] == {"0": "noise", "1": "keep"}, config
thresholds = json.loads((folder / "thresholds.json").read_text())
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
special = [tokenizer.token_to_id(token) for token in ("<s>", "<pad>", "</s>", "<unk>")]
assert special == [0, 1, 2, 3], special
tokenizer.enable_truncation(config["max_position_embeddings"] - 2)

columns = ["text", "keep_score"]
kept = polars.read_parquet(data / "clean_events/**/*.parquet", hive_partitioning=False).select(columns)
dropped = polars.read_parquet(data / "clean_events.dropped/**/*.parquet", hive_partitioning=False).select(columns)
threshold = thresholds["model.int8.onnx"]
assert kept["keep_score"].min() >= threshold > (dropped["keep_score"].max() or -1)
scored = polars.concat([kept, dropped]).unique("text").sort("text")
texts = scored["text"].to_list()
ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]

for name in ("model.onnx", "model.int8.onnx"):
    model = onnx.load(folder / name)
    onnx.checker.check_model(model, full_check=True)
    assert all(entry.version >= 17 for entry in model.opset_import), model.opset_import
    session = onnxruntime.InferenceSession(str(folder / name))
    assert {i.name for i in session.get_inputs()} == {"input_ids", "attention_mask"}
    assert [o.name for o in session.get_outputs()] == ["logits"]
    scores = []
    # Padded to the longest and in another order: the mask must hide it.
    for start in range(0, len(ids), 32):
        batch = ids[start:start + 32]
        longest = max(map(len, batch))
        padded = numpy.array([row + [1] * (longest - len(row)) for row in batch], dtype=numpy.int64)
        mask = numpy.array([[1] * len(row) + [0] * (longest - len(row)) for row in batch], dtype=numpy.int64)
        logits = session.run(["logits"], {"input_ids": padded, "attention_mask": mask})[0]
        scores.extend(1 / (1 + numpy.exp(logits[:, 0] - logits[:, 1])))
    difference = numpy.abs(numpy.array(scores) - scored["keep_score"].to_numpy()).max()
    if name == "model.int8.onnx":
        assert difference < 1e-5, difference
        print(f"scores agree within {difference:.1e} on {len(texts)} texts")
    else:
        print(f"float32 and int8 within {difference:.3f}")
