# Everything runs on the Node.js that npm installs (node_modules/.bin/node). The machine's Node.js only runs npm, and the bar beside it.
SHELL := /bin/sh
NODE := node_modules/.bin/node
SLUICE := $(NODE) src/cli.ts
# The compile cache saves 20 to 30 MiB of each process. `exec` makes a SIGTERM reach the program instead of its shell.
RUN := NODE_COMPILE_CACHE="$(CURDIR)/.tmp/compile-cache" exec $(NODE)
# RUN_STAMP: what the product needs is installed. STAMP: what builds and tests it, too.
RUN_STAMP := node_modules/.installed-run
STAMP := node_modules/.installed
# Packages whose tests are deleted. Listed by name, because in others a folder `test` is part of the package (@types/node).
TESTED := fastify @fastify/swagger avvio fast-json-stringify fast-uri find-my-way pino thread-stream bintrees
# What builds the dashboard, in the versions of the lock file. `make demo` installs these tools and no others.
DASHBOARD := dist/dashboard/index.html
DASHBOARD_TOOLS := vite preact uplot
COMPOSE := scripts/compose.sh
CONFIG_PATH ?= ./config/local.yaml
# Options of the benches. SCENARIO is `all` or names. Empty: the bench's default.
SCENARIO ?= all
DURATION_SEC ?=
ROUNDS ?=
BASELINE ?=
BEFORE ?=
# Options of test-node. Empty: the script's default.
VERSIONS ?=
SETTING ?=
SUITES ?=
# Options of chaos. ONLY: names of faults; empty: all. SEED: empty: a new one. PEER: haproxy or nginx. SHORT=1: seconds.
ONLY ?=
SEED ?=
PEER ?=
SHORT ?=
SOAK_MIN ?=
# SERVE=1: look at the site of the documentation.
SERVE ?=
PACE = --duration-sec=$(DURATION_SEC) --rounds=$(ROUNDS) $(if $(BASELINE),--baseline)

.DEFAULT_GOAL := help
.PHONY: help install demo run backends test test-node check build package deb bench bench-accept bench-directory bench-machines bench-peers before bench-check bench-report chaos peers \
	migrate-up migrate-down docker-up docker-down docs screenshots clean fuzz fuzz-coverage simulate services types lint config-docs sbom

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## install what package-lock.json names

# The stamps are removed first, so that an interrupted install is repeated. npm silently skips an optional package that it
# cannot get, and Node.js is one. Headers, source maps and the tests of TESTED (88 of 288 MB) are not needed.
$(RUN_STAMP): package-lock.json
	@rm -f $(RUN_STAMP) $(STAMP)
	@node scripts/npm-progress.cjs ci --omit=dev --include=optional --loglevel=error
	@$(NODE) --version >/dev/null || { echo "npm could not get a Node.js for this machine (node-* in package.json)" >&2; exit 1; }
	@rm -rf node_modules/node-*/include $(TESTED:%=node_modules/%/test)
	@find node_modules \( -name '*js.map' -o -name '*ts.map' \) -delete
	@$(RUN) --input-type=module -e "for (const name of ['primary/main', 'primary/admin/server', 'worker/main']) await import('./src/' + name + '.ts')"
	@touch $(RUN_STAMP)

# `npm install` only adds, so that a running demo keeps its files. `--no-save` leaves the lock file as it is.
$(STAMP): $(RUN_STAMP)
	@node scripts/npm-progress.cjs install --include=dev --no-save --loglevel=error
	@touch $(STAMP)

# The npm of a checkout without tools adds those of the dashboard alone.
$(DASHBOARD): scripts/build-dashboard.ts package-lock.json $(shell find src/dashboard -type f) | $(RUN_STAMP)
	@[ -e node_modules/vite ] || npm install --no-save --save-prod --omit=dev --loglevel=error \
	  $$($(NODE) -p "'$(DASHBOARD_TOOLS)'.split(' ').map((name) => name + '@' + require('./package-lock.json').packages['node_modules/' + name].version).join(' ')")
	@$(RUN) scripts/build-dashboard.ts

demo: $(RUN_STAMP) $(DASHBOARD) ## three test backends (8081-8083) and the balancer with config/local.yaml; Ctrl-C stops them
	@$(RUN) scripts/demo.ts

run: $(RUN_STAMP) ## the balancer alone (CONFIG_PATH=./config/local.yaml)
	@$(RUN) src/cli.ts serve --config "$(CONFIG_PATH)"

backends: $(RUN_STAMP) $(DASHBOARD) ## the three test backends alone (8081-8083), for a balancer of your own
	@$(RUN) scripts/demo.ts --backends-only

services: # Redis and PostgreSQL programs for the tests; they start their own servers
	@scripts/services.sh

# The layers are a test among the others (test/layers.test.ts).
test: $(STAMP) services types lint config-docs ## every test, with real Redis and PostgreSQL
	@$(NODE) scripts/run-tests.ts

test-node: $(STAMP) services ## the data path's tests on other Node.js versions, with both wires (VERSIONS="24.18.1", SETTING=socket, SUITES)
	@$(NODE) scripts/test-node.ts --versions="$(VERSIONS)" --setting="$(SETTING)" --suites="$(SUITES)"

check: $(STAMP) types lint config-docs ## types, lint, layers and the unit tests that need no services
	@$(NODE) scripts/run-tests.ts --without-services

types: $(STAMP)
	node_modules/.bin/tsc
	node_modules/.bin/tsc -p src/dashboard

# knip finds exports that nobody imports (its settings are in package.json).
lint: $(STAMP)
	node_modules/.bin/biome check
	$(NODE) node_modules/knip/bin/knip.js

config-docs: $(STAMP)
	$(NODE) scripts/config-docs.ts --check

build: $(STAMP) types ## JavaScript for production, into dist/ (node_modules/.bin/node dist/cli.js)
	@$(NODE) scripts/build.ts

package: build ## packages/sluice-VERSION.tgz, for npm install
	@mkdir -p packages
	npm pack --ignore-scripts --loglevel=error --pack-destination packages

deb: build ## packages/sluice_VERSION_ARCHITECTURE.deb, for Debian and Ubuntu, Node.js included
	@$(NODE) scripts/deb.ts

sbom: $(RUN_STAMP) ## the list of all packages of the product (CycloneDX), into dist/sbom.cdx.json
	@$(NODE) scripts/sbom.ts

bench: $(STAMP) ## load test of Sluice with autocannon (SCENARIO=all, DURATION_SEC=5)
	@$(NODE) bench/run.ts $(SCENARIO) $(PACE)

bench-directory: $(STAMP) services ## a million clients in PostgreSQL: time, memory, stalls, changes (CLIENTS=1000000)
	@$(NODE) bench/directory.ts --clients=$(CLIENTS)

bench-machines: $(STAMP) services ## several machines on one Redis Cluster and PostgreSQL: limits, changes, a kill, costs; five minutes (SIZES=1,3,6)
	@$(NODE) bench/machines/run.ts --sizes="$(SIZES)" --duration-sec=$(DURATION_SEC)

bench-accept: $(STAMP) peers ## the modes of accept: spread over the workers, cost of a connection; four minutes (WORKERS=8, ROUNDS=3)
	@$(NODE) bench/accept-spread.ts --workers=$(WORKERS) --rounds=$(ROUNDS) --duration-sec=$(DURATION_SEC)

bench-peers: $(STAMP) peers build before ## Sluice compared with other balancers, a quarter of an hour (SCENARIO=all, ROUNDS=5, BEFORE=COMMIT)
	@$(NODE) bench/run-peers.ts $(SCENARIO) $(PACE)

before: # the sources of BEFORE, a commit, as the peer sluice-before; without BEFORE there is none
	@rm -rf .tmp/before
	@[ -z "$(BEFORE)" ] || { mkdir -p .tmp/before && git archive "$(BEFORE)" | tar -x -C .tmp/before && ln -s ../../node_modules .tmp/before/node_modules; }

bench-check: $(STAMP) ## the ratio of Sluice to nginx against bench/results/baseline.json; fails if it is over 15 % worse
	@$(NODE) bench/check.ts $(SCENARIO) $(PACE)

bench-report: $(STAMP) ## docs/benchmarks.md from the newest results
	@$(NODE) bench/report.ts

chaos: $(STAMP) build ## inject faults into a built Sluice, 25 minutes; docs/resilience.md (ONLY=flapping, SEED=7, SHORT=1, PEER=haproxy)
	@$(NODE) bench/chaos/run.ts --only="$(ONLY)" --seed="$(SEED)" --peer="$(PEER)" --soak-min="$(SOAK_MIN)" $(if $(filter 1,$(SHORT)),--short)

peers: # installs the other balancers: from Debian as root, and from npm into bench/peers/node_modules
	@scripts/peers.sh

# Each run prints its seed, its counts and the undecided differences.
fuzz: $(STAMP) ## compare with node and undici on generated traffic (FUZZ_COUNT=100000, parser 200000; FUZZ_SEED, FUZZ_SEC)
	@for kind in responses requests writer frames sessions injected-requests injected-answers; do \
	  FUZZ_COUNT="$${FUZZ_COUNT:-100000}" $(NODE) test/fuzz/$$kind.test.ts || exit 1; \
	done
	@FUZZ_COUNT="$${FUZZ_COUNT:-200000}" $(NODE) test/fuzz/parser.test.ts

fuzz-coverage: $(STAMP) ## both parsers under a coverage-guided fuzzer (FUZZ_SEC=60 for each, FUZZ_KIND=requests)
	@cd test/fuzz/coverage && npm ci --ignore-scripts --loglevel=error
	@rm -rf .tmp/fuzz-build
	@node_modules/.bin/tsc -p test/fuzz/coverage/tsconfig.json
	@$(NODE) test/fuzz/coverage/run.ts

simulate: $(STAMP) ## random fleets of limiters in virtual time, some minutes (SIM_COUNT=5000, SIM_SEC, SIM_SEED repeats one)
	@$(NODE) test/limit/simulation/simulate.ts

migrate-up: $(RUN_STAMP) ## bring the database's schema up to date (CONFIG_PATH, DATABASE_URL)
	@$(SLUICE) migrate up --config "$(CONFIG_PATH)"

migrate-down: $(RUN_STAMP) ## undo the last migration and delete the data of its tables: YES=1; without it, say what would be lost
	@$(SLUICE) migrate down $(if $(filter 1,$(YES)),--yes) --config "$(CONFIG_PATH)"

docker-up: ## build and start the compose stack; the first time it makes .env with new passwords
	@$(COMPOSE) up

docker-down: ## stop the compose stack; its data stays
	@$(COMPOSE) down

docs: $(STAMP) ## the documentation as a site, into dist-docs/ for any web server; SERVE=1 shows it at http://localhost:4173
	@$(NODE) node_modules/vitepress/bin/vitepress.js build docs
	@$(if $(filter 1,$(SERVE)),$(NODE) node_modules/vitepress/bin/vitepress.js preview docs --port 4173)

screenshots: $(STAMP) ## each page of the dashboard, light, dark and on a phone, into docs/images; two minutes
	@$(NODE) test/dashboard/screenshots.ts

clean: ## delete what was built and installed, but not ./data
	rm -rf dist dist-docs packages node_modules .tmp/compile-cache bench/peers/node_modules
