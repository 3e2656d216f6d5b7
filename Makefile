# The commands of this project. `make test` is what CI runs.

GO       ?= go
FUZZ     ?= 3s
SEEDS    ?= 20
DURATION ?= 30m
# Every fuzz target, as PACKAGE:NAME.
FUZZERS = $(shell grep -rho --include='*_test.go' -H '^func Fuzz[A-Za-z0-9_]*' . | sed 's,^\./\(.*\)/[^/]*:func \(.*\)$$,./\1:\2,' | sort -u)

.PHONY: test build demo fmt lint unit fuzz robust soak crowd peers cross vuln bridges-peers bench bench-quick bench-peers

## test: everything that must hold before a change lands
test: peers fmt lint cross unit fuzz
	@echo "make test: all passed"

## build: the program, here
build:
	$(GO) build -o wstape .

## demo: see it work
demo:
	$(GO) run . demo

## fmt: formatting and go.mod are as the tools leave them
fmt:
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed: $$unformatted"; exit 1; fi
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff

## lint: vet and staticcheck (pinned in tools/go.mod)
lint:
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...

## vuln: known vulnerabilities in what is used (govulncheck, pinned in tools/go.mod). It fetches a
## database, so it is not part of `make test`.
vuln:
	$(GO) tool -modfile=tools/go.mod govulncheck ./...

## cross: the other platforms at least compile
cross:
	GOOS=darwin $(GO) build ./...
	GOOS=windows $(GO) build ./...
	GOARCH=386 $(GO) vet ./tape ./internal/wire ./record

## peers: install the real peers that the end-to-end tests want, as far as this machine allows
peers:
	@sh e2e/peers/install.sh

## bridges-peers: k6 and Artillery run what is exported for them; they are installed in a scratch folder first
bridges-peers:
	@sh e2e/peers/bridges.sh

## unit: all tests, with the race detector; real peers that are missing are skipped, loudly
unit:
	$(GO) test -race -shuffle=on -timeout 20m ./...
	@$(GO) test -run '^TestPeers$$' -v ./e2e | grep -E 'peer missing|SKIP' || true

## fuzz: a short run of each fuzz target (FUZZ=10m for a long one). Go now and then ends a run that
## found nothing with "context deadline exceeded" (golang/go#75804); what it finds it writes down.
fuzz:
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	for f in $(FUZZERS); do \
		echo "fuzz $$f $(FUZZ)"; \
		if ! $(GO) test -run '^$$' -fuzz "^$${f#*:}$$" -fuzztime $(FUZZ) "$${f%:*}" >"$$log" 2>&1; then \
			cat "$$log"; \
			if grep -q 'Failing input' "$$log" || ! grep -q '^ *context deadline exceeded' "$$log"; then exit 1; fi; \
		else tail -n 1 "$$log"; fi; \
	done

## robust: random sessions, scripts and commands through a proxy that is stopped and killed, held against what
## each end saw; each of SEEDS takes about ten seconds. ROBUST_SEED=n runs one again, ROBUST_KEEP=DIR keeps what failed
robust:
	ROBUST_SEEDS=$(SEEDS) $(GO) test -run '^TestRobust$$' -count 1 -parallel 3 -timeout 12h -v ./e2e

## soak: sessions come and go for DURATION; what the proxy holds must not grow. Writes bench/SOAK.md and its plot
soak:
	$(GO) run ./bench soak -duration $(DURATION)

## crowd: 9,000 idle sessions while 100 busy ones work. Writes bench/CROWD.md
crowd:
	$(GO) run ./bench crowd

## bench: measure beside the proxies found on this machine (about 11 minutes) and write bench/RESULTS.md
bench:
	$(GO) run ./bench run

## bench-quick: the same in about a minute, to see that it runs; its numbers are noise
bench-quick:
	$(GO) run ./bench run -quick -out /dev/null

## bench-peers: install the proxies that the benchmark compares with, as far as this machine allows
bench-peers:
	@sh bench/peers/install.sh
