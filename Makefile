# The two commands of the README are `make demo` and `make test`.
SHELL := /bin/bash
DEMO := target/demo

.PHONY: help setup build demo foreign test test-web check bench soak deny train train-imagenet

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: ## Install what the project needs (safe to run twice)
	@bash scripts/setup.sh

build: setup ## Build target/release/heatcast
	cargo build --release --locked

demo: build ## Annotate the bundled clip and say where the result is
	@mkdir -p $(DEMO)
	target/release/heatcast annotate assets/clips/bbb.mp4 -o $(DEMO)/bbb.annotated.mp4 \
		--events $(DEMO)/bbb.events.jsonl --force
	@echo
	@echo "The annotated clip is $(DEMO)/bbb.annotated.mp4; what was seen is in $(DEMO)/bbb.events.jsonl."
	@echo "Play it with one of:"
	@for player in ffplay mpv vlc; do echo "    $$player $(DEMO)/bbb.annotated.mp4"; done

# Without a network the tests go on without them, and say so at the end; with
# HEATCAST_FOREIGN set, as in .ci/run, they must be there.
FOREIGN := target/foreign
foreign: setup ## Install the Python readers that tests/foreign checks our files with
	@cmp -s tests/foreign/requirements.txt $(FOREIGN)/installed.txt || { \
		rm -rf $(FOREIGN) && python3 -m venv $(FOREIGN) && \
		$(FOREIGN)/bin/pip install --quiet --disable-pip-version-check -r tests/foreign/requirements.txt && \
		cp tests/foreign/requirements.txt $(FOREIGN)/installed.txt; } || { \
		rm -rf $(FOREIGN); test -z "$$HEATCAST_FOREIGN"; }

test: foreign ## Run all tests
	G_DEBUG=fatal_warnings cargo test --locked
	@test -d $(FOREIGN) || echo "skipped: foreign readers of timeline files, for they could not be installed (see above)"

test-web: setup ## Test the monitor page in headless Chromium (needs chromium, nodejs and npm)
	@bash scripts/test-web.sh

check: setup ## Formatting, lints and documentation, warnings as errors
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || rustup component add rustfmt clippy
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked

bench: build ## Measure speed and memory beside a plain transcode and the naive script
	cargo bench --locked
	test -x target/peers/bin/pip || python3 -m venv target/peers || { echo "install python3-venv first"; exit 1; }
	target/peers/bin/pip install --quiet -r benches/peers/requirements.txt
	python3 benches/transcode.py --long --peer target/peers/bin/python

soak: build ## Run live streams with failing sources and clients: make soak MINUTES=30
	python3 benches/soak.py --minutes $(or $(MINUTES),30)

deny: ## Check licences, bans and sources of the dependencies
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing; get it with: cargo install --locked cargo-deny"; exit 1; }
	cargo deny check bans licenses sources
	@if cargo deny fetch db; then \
		cargo deny check advisories; \
	else \
		echo "advisories: not checked, for their database cannot be fetched (see above)"; \
	fi

train: ## Train models/broadcast again: make train DATASET=folder (about an hour)
	@test -f "$(DATASET)/manifest.csv" || { echo "say where the labelled pictures are: make train DATASET=folder (with manifest.csv)"; exit 1; }
	python3 -m venv target/train || { echo "install python3-venv first"; exit 1; }
	target/train/bin/pip install --quiet -r models/train/broadcast/requirements.txt
	target/train/bin/python models/train/broadcast/train.py "$(DATASET)"
	target/train/bin/python models/train/broadcast/check.py "$(DATASET)"

train-imagenet: ## Rebuild models/imagenet/model.onnx from the published weights
	python3 -m venv target/train || { echo "install python3-venv first"; exit 1; }
	target/train/bin/pip install --quiet -r models/train/imagenet/requirements.txt
	target/train/bin/python models/train/imagenet/build.py
