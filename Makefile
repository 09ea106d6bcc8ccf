# bonnx. `make demo` and `make test` need Go and make only; `make help` lists the rest.

GO       ?= go
NODE     ?= node
BIN      := bin
BONNX    := $(BIN)/bonnx
FUZZTIME ?= 10m
# Passed on to the program of bench/, such as BENCHFLAGS='-clock cpu -threads 1'.
BENCHFLAGS ?=
# For bench-torch: Debian's is /usr/bin/python3, with the package python3-torch.
PYTHON ?= python3
# Passed on to every go test, such as TESTFLAGS=-v.
TESTFLAGS ?=

GOLANGCI_VERSION := v2.6.0
PROTOC_VERSION   := 3.21.12

# Everything but bench/ and race builds is pure Go.
export CGO_ENABLED ?= 0

CROSS := linux/amd64 linux/arm64 darwin/arm64 windows/amd64 js/wasm

GEN         := $(GO) run ./internal/testmodel/gen
DEMO        := $(BIN)/demo
DEMO_MODEL  := testdata/demo/stories.onnx
DEMO_PROMPT := In the morning

# Where goroutines share something; the race detector costs about ten times
# the time, so it is kept off the numeric suites.
RACE := ./internal/par/... ./internal/atomicfile/... ./internal/mmap/... ./tensor/... ./ir/... ./onnx/... ./runtime ./train/...

# The packages whose code changes with the build tag noasm, and those right above.
NOASM := ./internal/... ./ops/... ./runtime/...

# having PREFIX lists the packages with a test function whose name starts so.
having = $$(grep -rl --include='*_test.go' --exclude-dir=node_modules 'func $(1)' . | xargs -n 1 dirname | sort -u)

.PHONY: help build test demo check fmt vet lint tidy arch generated tree \
	test-race test-noasm test-isa test-neon cross test-ort ort bench bench-torch bench-operators bench-go bench-vet fuzz fuzz-short large sizes generate testmodel clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1	/' | expand -t 14

# What version tells: Go records the revision itself unless buildvcs is off.
LDFLAGS := -X github.com/bonnx/bonnx/internal/cli.revision=$(shell git rev-parse --short=12 HEAD 2>/dev/null)

build: ## build bin/bonnx, one static file
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BONNX) ./cmd/bonnx

test: ## run all tests
	$(GO) test $(TESTFLAGS) ./...

demo: build ## fine-tune a small language model on other text, in under a minute
	@mkdir -p $(DEMO)
	$(GEN) text sealog 30000 > $(DEMO)/sealog.txt
	$(GEN) sample $(DEMO_MODEL) "$(DEMO_PROMPT)"
	$(BONNX) inject $(DEMO_MODEL) -o $(DEMO)/adapted.onnx --method bone --rank 32 --force
	$(BONNX) train $(DEMO)/adapted.onnx --data $(DEMO)/sealog.txt --tokenizer bytes --seq-len 96 \
		--batch-size 8 --epochs 4 --lr 4e-3 --schedule cosine -o $(DEMO)/trained.onnx --force
	$(BONNX) merge $(DEMO)/trained.onnx -o $(DEMO)/merged.onnx --force
	$(GEN) sample $(DEMO)/merged.onnx "$(DEMO_PROMPT)"

testmodel: ## make the demo's model anew (minutes)
	$(GEN) model $(DEMO_MODEL)

check: fmt vet lint tidy arch generated cross tree ## what must hold before a change lands

fmt: ## fail on files that gofmt would change
	@out="$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go'))"; \
	if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi

vet:
	$(GO) vet ./...

lint: $(BIN)/golangci-lint-$(GOLANGCI_VERSION) ## golangci-lint, pinned
	$< run ./...

$(BIN)/golangci-lint-$(GOLANGCI_VERSION):
	GOBIN=$(CURDIR)/$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(BIN)/golangci-lint $@

tidy: ## fail where go mod tidy would change something
	$(GO) mod tidy -diff

arch: ## the import table and the project's rules about files
	$(GO) test ./internal/archtest

generate: ## rewrite generated code (needs protoc)
	$(GO) generate ./...

generated: ## fail where generated code differs from its source
	@before=$$(git diff | cksum); $(GO) generate ./internal/kernel && \
	if [ "$$before" != "$$(git diff | cksum)" ]; then echo "assembly differs from its source:"; git diff --stat; exit 1; fi
	@if ! command -v protoc >/dev/null; then \
		if [ -n "$(CI)" ]; then echo "protoc is missing"; exit 1; fi; \
		echo "protoc is not installed: generated code not checked (protobuf-compiler $(PROTOC_VERSION))"; \
	elif [ "$$(protoc --version)" != "libprotoc $(PROTOC_VERSION)" ]; then \
		if [ -n "$(CI)" ]; then echo "protoc is $$(protoc --version), not $(PROTOC_VERSION)"; exit 1; fi; \
		echo "protoc is $$(protoc --version), not $(PROTOC_VERSION): generated code not checked"; \
	else \
		before=$$(git diff | cksum); $(GO) generate ./... && \
		if [ "$$before" != "$$(git diff | cksum)" ]; then echo "generated code differs from its source:"; git diff --stat; exit 1; fi; \
	fi

tree: # in CI, fail where a step before left or changed a file
	@if [ -n "$(CI)" ] && [ -n "$$(git status --porcelain)" ]; then echo "the tree is not clean:"; git status --short; exit 1; fi

test-race: ## the tests where goroutines meet, under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test $(TESTFLAGS) -race -short $(RACE)
	CGO_ENABLED=1 $(GO) test $(TESTFLAGS) -race -run 'Hammer|AdaptersInASession|ProgramStays|WithAdapter' .

test-noasm: ## the tests of portable code alone
	$(GO) test $(TESTFLAGS) -tags noasm $(NOASM)

test-isa: ## the tests of kernels and operators as on a CPU without AVX-512
	BONNX_CPU=avx2 $(GO) test $(TESTFLAGS) -count=1 ./internal/kernel ./ops ./runtime

test-neon: ## the tests of kernels on arm64, emulated (needs qemu-user)
	@qemu=$$(command -v qemu-aarch64-static || command -v qemu-aarch64); \
	if [ -z "$$qemu" ]; then \
		if [ -n "$(CI)" ]; then echo "qemu-user is missing"; exit 1; fi; \
		echo "qemu-user is not installed: arm64 not tested"; exit 0; \
	fi; \
	GOARCH=arm64 $(GO) test $(TESTFLAGS) -exec "$$qemu" ./internal/cpu ./internal/par ./internal/kernel

cross: ## build for every system that is promised
	@for target in $(CROSS); do \
		echo "CGO_ENABLED=0 $$target"; \
		CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/} $(GO) build ./... || exit 1; \
	done

ort: testdata/ort/node_modules/.package-lock.json

testdata/ort/node_modules/.package-lock.json: testdata/ort/package-lock.json
	cd testdata/ort && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

test-ort: ort ## the tests against ONNX Runtime (needs node and npm)
	BONNX_ORT=1 $(GO) test $(TESTFLAGS) -count=1 -run '^TestORT' $(call having,TestORT)

bench: ort ## side by side with ONNX Runtime, gonum and OpenBLAS, into docs/benchmarks.md (needs a C compiler)
	cd bench && CGO_ENABLED=1 $(GO) run . -o ../docs/benchmarks.md $(BENCHFLAGS)

bench-torch: ort ## training steps against PyTorch, with PYTHON=a Python that has it, into docs/benchmarks-torch.md
	cd bench && CGO_ENABLED=1 $(GO) run . -sections torch -python $(PYTHON) -o ../docs/benchmarks-torch.md $(BENCHFLAGS)

bench-operators: ort ## single operators against ONNX Runtime, into docs/benchmarks-operators.md
	cd bench && CGO_ENABLED=1 $(GO) run . -sections operators -o ../docs/benchmarks-operators.md $(BENCHFLAGS)

bench-go: ## Go benchmarks of every package, for benchstat
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-vet: ## go vet of the module of bench (needs a C compiler)
	cd bench && CGO_ENABLED=1 $(GO) vet . && $(GO) mod tidy -diff

fuzz: ## every fuzz test for FUZZTIME (10m)
	@for pkg in $(call having,Fuzz); do \
		for name in $$(grep -ho 'func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -c6-); do \
			echo "$$pkg $$name $(FUZZTIME)"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
		done; \
	done

large: ## inject into a gigabyte of weights, inline and external, watching memory
	BONNX_LARGE=1 $(GO) test -count=1 -v -run 'Large|InjectReadsNoWeights' ./onnx ./cmd/bonnx

# What make sizes measures: all, or names with commas between; and flags, such as -rounds 1.
SIZES      ?= all
SIZESFLAGS ?=

sizes: build ort ## measure models of true size, about 4 GB of disk: docs/sizes.md (needs node; a quarter of an hour)
	$(GO) build -o $(BIN)/gen ./internal/testmodel/gen
	$(GO) run ./internal/testmodel/sizes -dir $(BIN)/sizes -bonnx $(BONNX) -gen $(BIN)/gen -only '$(SIZES)' $(SIZESFLAGS)

fuzz-short: ## every fuzz test for ten seconds
	@$(MAKE) --no-print-directory fuzz FUZZTIME=10s

clean: ## remove what the targets above wrote
	rm -rf $(BIN) testdata/ort/node_modules coverage.out
