# make demo    run the product here: no configuration, no other service
# make test    format, lints, docs, layering, all tests against real servers and clients
# make lint    the part of it that needs no server
# make fuzz    the parsers that read bytes from strangers, fuzzed for a while
# make bench   the comparison with direct access to a backend, as a table
# make sim     simulated schedules: SEEDS=N of them, or SEED=x alone, told line by line (SHRINK=1 makes it small)
# make soak    the long variants of the tests: SEEDS=N schedules, then ROUNDS=N times those with real processes and clients

export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/s3-orchestrator/target
# What the simulation reads.
export SEED SEEDS FROM CUTS SHRINK LOG MUTATION KEPT

SAY = @printf '\n== %s\n'

.PHONY: demo test lint fuzz bench sim soak tools build

demo: tools/have-rust
	$(SAY) "building the release binary (a few minutes the first time)"
	cargo build --release --locked -p s3-orchestrator
	$(SAY) "starting the demo; its data stays in .demo"
	"$(CARGO_TARGET_DIR)/release/s3-orchestrator" demo

test: lint fuzz
	$(SAY) "installing the servers and clients that tests use (quick when they are there)"
	tools/test-env servers clients debian npm
	$(SAY) "building and running all tests"
	cargo test --locked --workspace --no-fail-fast

lint: tools/have-rust
	$(SAY) "format"
	cargo fmt --all --check
	$(SAY) "lints, warnings denied"
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(SAY) "licences, bans and sources of all that is built in"
	tools/test-env lint
	"$$(tools/test-env --path cargo-deny)/cargo-deny" --locked --log-level error check bans licenses sources
	$(SAY) "documentation, warnings denied"
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

fuzz: tools/have-rust
	$(SAY) "fuzzing the parsers of what strangers send (built in a few minutes the first time, then ten seconds each)"
	tools/fuzz

bench: tools/have-rust
	cargo run --release --locked -p bench

sim: tools/have-rust
	cd testing/sim && cargo test --locked --release -p sim --test it -- --nocapture schedules_hold_the_laws

soak: tools/have-rust
	tools/test-env servers clients debian npm
	S3O_SOAK=1 SEEDS=$(or $(SEEDS),200000) cargo test --locked --release --workspace
	for round in $$(seq 2 $(or $(ROUNDS),1)); do \
	  S3O_SOAK=1 cargo test --locked --release -p e2e || exit 1; \
	done

.PHONY: tools/have-rust
tools/have-rust:
	@tools/have-rust
