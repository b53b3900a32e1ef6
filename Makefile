# Causeway. The two commands a newcomer needs are `make run` and `make test`; each does its own set-up on a
# machine that has Go. Everything else is listed by `make help`.

GO       ?= go
BIN      := bin/causeway
VERSION  := $(shell cat VERSION)
MODULE   := github.com/causeway-gateway/causeway

# One build for everybody: no cgo, no paths, no build id, no VCS stamp, so that the same source gives the same
# bytes wherever it lies (tools/reproducible.sh checks that).
BUILD_ENV   := CGO_ENABLED=0
BUILD_FLAGS := -trimpath -buildvcs=false -ldflags='-s -w -buildid= -X $(MODULE)/internal/cli.version=$(VERSION)'

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help build run test bench soak lint clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## build bin/causeway (static, reproducible)
	$(BUILD_ENV) $(GO) build $(BUILD_FLAGS) -o $(BIN) ./cmd/causeway

run: build ## build, then start a gateway with a sample server behind it
	$(BIN) up

# -p 2: the whole-system tests in e2e and the package tests share the machine, and two at a time keep the
# deadlines in both honest on two cores.
test: ## install what the tests need, then gofmt, vet and every test under the race detector
	@./tools/setup.sh test
	@./tools/gofmt.sh
	$(GO) vet ./...
	$(GO) test -race -timeout 15m -p 2 ./...
	@# what a request allocates can be counted only without the race detector, which allocates itself, and under it internal/sock does as package net
	$(GO) test ./internal/sock
	$(GO) test -run Alloc ./channel ./connpoint ./gateway ./internal/http1 ./policy

bench: build ## measure against nginx, haproxy and go-direct; writes bench/RESULTS.md
	@./tools/setup.sh bench
	$(GO) run ./bench -causeway $(BIN) $(BENCH)

# The three parts run one after the other: what is measured against the contract's five seconds, and what has to stay
# flat, has the machine to itself.
soak: ## the long forms: 5 GiB bodies, ten-minute streams, 200 kills, bad lines, half an hour of mixed load (about 2 hours)
	@./tools/setup.sh test
	CAUSEWAY_SOAK=1 $(GO) test -count=1 -timeout 90m -parallel 8 -v -run 'TestMemory|Stream|WebSocket|LongPoll' ./e2e
	CAUSEWAY_SOAK=1 $(GO) test -count=1 -timeout 90m -parallel 1 -v -run 'Kills|Silent|Draining|BadLine|NewInstance|ThousandReaders' ./e2e
	CAUSEWAY_SOAK=1 $(GO) test -count=1 -timeout 60m -v -run 'MixedLoad' ./e2e

lint: ## gofmt, vet, staticcheck, cross-builds and the reproducibility check
	@./tools/gofmt.sh
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...
	@./tools/reproducible.sh

clean: ## remove what was built
	rm -rf bin bench/work
