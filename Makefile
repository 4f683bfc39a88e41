# The settings of the demonstration, for those whose port is taken.
DEMO_ADDR ?= 127.0.0.1:14646
CARGO ?= cargo
FUZZ_SECONDS ?= 60
CHAOS ?= 20
# Most tests wait for processes: more of them than there are cores go at once. So many test programs, and so many tests of each.
TEST_PROGRAMS ?= 3
TEST_THREADS ?= 4

.DEFAULT_GOAL := help
.PHONY: help build test check man reference advisories alerts-test sinks-test demo demo-stop bench chaos fuzz packages packages-test clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the release binary, target/release/nomad-firehose
	$(CARGO) build --release --locked --bin nomad-firehose

check: ## Formatting, lints, documentation and dependencies, without the tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --offline --locked check bans licenses sources; \
	else \
		echo "skipped: licences, bans and sources of dependencies (needs cargo install cargo-deny)"; \
	fi

advisories: ## Ask the RustSec database about the dependencies (needs cargo install cargo-deny, and the network)
	$(CARGO) deny --locked check advisories

test: check ## Everything that has to pass: check, then all tests
	CARGO=$(CARGO) TEST_PROGRAMS=$(TEST_PROGRAMS) TEST_THREADS=$(TEST_THREADS) scripts/test

man: ## Write the manual pages of all subcommands into target/man/man1
	$(CARGO) run --locked --quiet --bin nomad-firehose -- man target/man/man1

reference: ## Write docs/configuration.md from the settings in the code
	$(CARGO) run --locked --quiet --bin nomad-firehose -- config --reference > docs/configuration.md.new
	mv docs/configuration.md.new docs/configuration.md

.PHONY: docs docs-test
docs: ## Make a book of the documentation (builds mdbook once)
	scripts/docs

docs-test: docs ## Run every command of the documentation that can be run, and list the others (PAGE=guarantees.md: one page)
	$(CARGO) test --locked --test docs -- --include-ignored --nocapture

alerts-test: ## Run every alert and every query of the dashboard against a real Prometheus, through each fault (about 3 minutes)
	$(CARGO) test --locked --test monitoring -- --include-ignored --test-threads 1

sinks-test: ## Run the sinks of log stores against a real OpenSearch, VictoriaLogs and OpenTelemetry collector (builds two of them once, about 3 minutes)
	$(CARGO) test --locked --test sink_loki --test sink_otlp --test sink_elasticsearch -- --ignored --nocapture --test-threads 2 real_

demo: ## Watch a recorded cluster with tail, and on the status page; Ctrl-C stops, again goes on
	@$(CARGO) build --locked --workspace --bins
	@DEMO_ADDR=$(DEMO_ADDR) scripts/demo start

demo-stop: ## Stop the demonstration's cluster and its firehose
	@scripts/demo stop

bench: ## Measure the stages, and the whole program against references in the same run
	$(CARGO) bench --locked --bench stages
	$(CARGO) bench --locked --bench whole

chaos: ## Go through each fault of replicas and of Consul CHAOS times, and those of the sinks (about 40 minutes)
	CHAOS=$(CHAOS) $(CARGO) test --locked --test failover --test variables -- --test-threads 2 --nocapture
	RECORDS=400000 $(CARGO) test --locked --test sink_amqp --test sink_elasticsearch --test sink_eventbridge --test sink_file --test sink_http --test sink_kafka --test sink_kinesis --test sink_loki --test sink_mongodb --test sink_nats --test sink_nsq --test sink_otlp --test sink_postgres --test sink_redis --test sink_sns --test sink_s3 --test sink_sqs --test sink_syslog --test dead_letters -- --ignored --nocapture

fuzz: ## Fuzz each target for FUZZ_SECONDS (needs cargo install cargo-fuzz)
	@for target in $$($(CARGO) fuzz list); do \
		RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run -s none $$target -- -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 || exit 1; \
	done

packages: ## Build the .deb and the .rpm (needs cargo install cargo-deb cargo-generate-rpm)
	scripts/packages build

packages-test: ## Install the .deb, run it, purge it, and find nothing left (needs root); the .rpm in a root of its own
	scripts/packages test

clean: ## Remove what was built
	@scripts/demo stop
	$(CARGO) clean
