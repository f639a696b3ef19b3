# The list of commands. Everything it makes lies in ignored folders: models, .python, out, and Cargo's target folder.

QUERENT = cargo run --quiet --
PYTHON = python3
CARGO = $(PYTHON) jobs/compile.py
BENCH = QUERENT=$${CARGO_TARGET_DIR:-target}/release/querent $(PYTHON) tests/bench
unexport QUERENT_DATA # it would move the pipelines' data from where their logs lie
export PYTHONPATH = $(CURDIR)/.python
BENCH_USERS ?= 500000
GGUF = models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: help setup setup-qwen python demo demo-qwen mind demo-mind paper test test-long test-data test-peers check bench bench-abtest bench-baselines bench-cleaner bench-news bench-policy bench-scrub bench-training bench-words clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## check the tools, fetch ONNX Runtime and the demo's models
	@$(PYTHON) jobs/setup.py

setup-qwen: ## also fetch Qwen2.5: of 0.5 billion parameters (0.5 GB), a policy worth training; QWEN_SIZE=1.5b: a teacher for it (1.1 GB)
	@$(PYTHON) jobs/setup.py --qwen $(or $(QWEN_SIZE),0.5b)

python: .python/.done
.python/.done: tests/requirements.txt
	@echo "installing the Python packages of $< into .python"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts \
	  --upgrade --target .python -r $< \
	  || { echo "error: the Python packages of $< cannot be installed; is the package index reachable?" >&2; exit 1; }
	@touch $@

demo: setup ## simulated logs, from raw to a report
	@$(CARGO) build
	$(QUERENT) run jobs/configs/demo.toml --insecure-dev-key

demo-qwen: override QWEN_SIZE = 0.5b
demo-qwen: setup-qwen ## the demo with Qwen2.5 of 0.5 billion parameters as its policy: prompt-only, and trained (hours)
	@$(CARGO) build --release
	$${CARGO_TARGET_DIR:-target}/release/querent run jobs/configs/qwen.toml --insecure-dev-key

paper: setup ## the paper's tables on simulated logs, with small policies and three seeds (hours)
	@$(CARGO) build --release
	$${CARGO_TARGET_DIR:-target}/release/querent run jobs/configs/paper-simulated.toml --insecure-dev-key

mind:
	@test -f "$(MIND)/behaviors.tsv" -a -f "$(MIND)/news.tsv" \
	  || { echo "error: MIND: expected a folder with behaviors.tsv and news.tsv: make demo-mind MIND=folder" >&2; exit 2; }

demo-mind: mind setup ## real logs: make demo-mind MIND=folder
	@$(CARGO) build
	$(QUERENT) run jobs/configs/mind.toml --insecure-dev-key --set ingest.mind="$(MIND)"

test: setup python ## all tests that need nothing but this repository
	cargo test --workspace

test-long: setup python ## the long tests: 10,000 sequences of changes, 1,000 kills, 1,000 experiments, larger bounds of the commit protocol's model
	@$(CARGO) build --release
	QUERENT_SEQUENCES=10000 QUERENT_BINARY=$$(realpath $${CARGO_TARGET_DIR:-target}/release/querent) cargo test --workspace --test end-to-end -- freshness
	QUERENT_KILLS=1000 QUERENT_TRIALS=100 cargo test --workspace --test end-to-end -- faults
	cargo test --workspace --lib model -- --include-ignored
	QUERENT_TRIALS=1000 cargo test --workspace --lib abtest

test-data: setup python ## the tests on real logs: ../shared/data, or QUERENT_TEST_DATA=folder
	cargo test --workspace --features querent/real-logs --test data

test-peers: ## MODEL=folder: a cleaner in transformers; TITLES=file: the policy on real titles (needs torch, transformers, gguf)
	@$(PYTHON) -c "import torch, transformers, gguf" \
	  || { echo "error: packages are missing: $(PYTHON) -m pip install torch transformers gguf" >&2; exit 2; }
	$(if $(MODEL),$(PYTHON) tests/peers.py $(MODEL))
	@$(CARGO) build --release
	$(if $(TITLES),QUERENT=$${CARGO_TARGET_DIR:-target}/release/querent $(PYTHON) tests/policy_peers.py $(GGUF) $(TITLES))

check: ## format, lints, documentation, dependencies, tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --features querent/s3 -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet
	@command -v cargo-deny >/dev/null || { echo "error: cargo-deny is not installed: cargo install --locked cargo-deny" >&2; exit 2; }
	cargo deny check
	$(MAKE) test

bench: python ## beside DuckDB and Polars; BENCH_USERS=50000 for a quick one
	@$(CARGO) build --release
	$(BENCH)/cap.py out/bench $(BENCH_USERS)
	$(BENCH)/ingest.py out/bench $$(( $(BENCH_USERS) / 10 ))

# The others first say which tools are not installed, and go on without these.
bench-cleaner: ## MODEL=folder: `clean` beside a plain Python loop (transformers)
	@test -n "$(MODEL)" || { echo "error: MODEL: expected a cleaner's folder: make bench-cleaner MODEL=folder" >&2; exit 2; }
	@$(PYTHON) tests/bench/clean.py --check out/bench $(MODEL)
	@$(MAKE) --no-print-directory setup python
	@$(CARGO) build --release
	$(BENCH)/clean.py out/bench $(MODEL)

bench-news: ## vectors beside onnxruntime, index beside faiss, metrics beside pytrec_eval (torch, transformers, faiss-cpu, ranx)
	@$(PYTHON) tests/bench/embed.py --check out/bench-embed
	@$(PYTHON) tests/bench/index.py --check out/bench-index
	@$(PYTHON) tests/bench/evaluate.py --check out/bench-evaluate
	@$(MAKE) --no-print-directory setup python
	@$(CARGO) build --release
	@$(CARGO) bench --no-run --workspace --bench index
	$(BENCH)/embed.py out/bench-embed
	$(BENCH)/index.py out/bench-index
	$(BENCH)/evaluate.py out/bench-evaluate

bench-words: ## NEWS=file: BM25 beside bm25s over MIND's news.tsv (bm25s, PyStemmer, numba)
	@test -f "$(NEWS)" || { echo "error: NEWS: expected MIND's news.tsv: make bench-words NEWS=folder/news.tsv" >&2; exit 2; }
	@$(PYTHON) tests/bench/bm25.py --check out/bench-words $(NEWS)
	@$(MAKE) --no-print-directory python
	@cargo bench --no-run --workspace --bench bm25
	$(BENCH)/bm25.py out/bench-words $(NEWS)

bench-abtest: ## A/B analysis of 10 million user-days beside tea-tasting (tea-tasting, which needs Python 3.12)
	@$(PYTHON) tests/bench/abtest.py --check out/bench-abtest
	@$(MAKE) --no-print-directory python
	@$(CARGO) build --release
	$(BENCH)/abtest.py out/bench-abtest

bench-baselines: ## training beside RecBole, on the clicks in its wheel; lists of 100,000 users beside PyTorch (recbole, torch)
	@$(PYTHON) tests/bench/baselines.py --check out/bench-baselines
	@$(PYTHON) tests/bench/recommend.py --check out/bench-baselines
	@$(MAKE) --no-print-directory setup python
	@$(CARGO) build --release
	@$(CARGO) bench --no-run --workspace --bench ids
	$(BENCH)/baselines.py out/bench-baselines
	$(BENCH)/recommend.py out/bench-baselines

bench-policy: ## PROFILES=folder: rollouts beside transformers and llama.cpp (torch, transformers, llama-cpp-python)
	@test -n "$(PROFILES)" || { echo "error: PROFILES: expected a folder of profiles: make bench-policy PROFILES=out/mind/profiles" >&2; exit 2; }
	@$(PYTHON) tests/bench/generate.py --check out/bench-policy $(PROFILES) $(GGUF)
	@$(MAKE) --no-print-directory setup python
	@$(CARGO) build --release
	@$(CARGO) bench --no-run -p querent-policy --bench generate
	$(BENCH)/generate.py out/bench-policy $(PROFILES) $(GGUF)

bench-scrub: ## what is scrubbed beside Microsoft Presidio, on invented sentences (presidio-analyzer)
	@$(PYTHON) tests/bench/scrub.py --check out/bench-scrub
	@$(MAKE) --no-print-directory python
	@$(CARGO) build --release
	$(BENCH)/scrub.py out/bench-scrub

bench-training: ## a step of GRPO and one of distillation beside TRL (torch, transformers, peft, datasets, trl)
	@$(PYTHON) tests/bench/train.py --check
	@$(MAKE) --no-print-directory setup python
	@$(CARGO) build --release
	@$(CARGO) bench --no-run --workspace --bench step
	$(BENCH)/train.py out/bench-training $(GGUF)

clean: ## delete out/ (with what demo-qwen and paper trained for hours) and .python
	rm -rf out .python
