# Meshlite. `make help` lists the targets; the text behind ## is their help.

SHELL := /usr/bin/env bash -euo pipefail
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
BIN := bin
TOOLS := .tools/bin
E2E_TOOLS := envoy envoy-1.37 consul etcd kube-apiserver kubectl python-pika
FUZZTIME ?= 20s
SOAK ?= 20
KILLS ?= 50
# Go files of the project: tools and work folders under .tools stand apart.
GOFILES = $$(find . -name '*.go' -not -path './.tools/*')
# Packages with tests that start real programs; they carry the build tag e2e.
E2E = $$(grep -rl --include='*_test.go' '^//go:build e2e' cmd internal test | xargs -n1 dirname | sort -u | sed 's|^|./|')

# RabbitMQ is the one part that the system's packages have to give; a machine that
# cannot have it runs everything but the tests of the broker, and says so.
BROKER = hack/tools.sh rabbitmq-server || { export MESHLITE_WITHOUT_RABBITMQ=1; echo "The tests of the broker are left out, and nothing else: RabbitMQ is not here." >&2; }

##@ Start here

help: ## List these targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## See it work: real Envoys, file catalog, under two minutes after the first download
	@hack/tools.sh envoy
	@$(GO) run ./hack/demo

demo-consul: ## The same on a real Consul (its first build takes five minutes or so)
	@hack/tools.sh envoy consul
	@$(GO) run ./hack/demo --consul

build: ## Build xds-server and meshctl into bin/
	$(GO) build -trimpath -o $(BIN)/ ./cmd/...

images: ## Build container images into bin/images; PUSH=REPOSITORY pushes them
	@hack/tools.sh envoy
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN)/ ./cmd/...
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(GO) run ./hack/image $(if $(PUSH),--push $(PUSH))

##@ Tests

test: tools check e2e ## Everything, on a fresh clone: tools, check, end-to-end tests

check: ## Format, vet, lint, generated files, sizes, unit tests with the race detector
	@hack/tools.sh golangci-lint controller-gen client-gen
	@$(MAKE) fmt-check vet lint generate-check sizes test-unit

test-unit: ## Unit tests with the race detector; need no tools
	$(GO) test -race -timeout 10m ./...

e2e: ## End-to-end tests with real Envoy, Consul, kube-apiserver and RabbitMQ
	@hack/tools.sh $(E2E_TOOLS)
	@$(BROKER); $(GO) test -tags e2e -race -count=1 -p 1 -timeout 30m $(E2E)

fuzz: ## Each fuzz target for FUZZTIME (20s)
	@grep -rn --include='*_test.go' '^func Fuzz' . --exclude-dir=.tools \
		| sed -E 's|^(.*)/[^/]*_test.go:[0-9]+:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' \
		| while read -r dir name; do \
			echo "$$name ($$dir)"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$dir"; \
		done

bench: ## Benchmarks side by side with other implementations, with the machine's size
	@hack/tools.sh $(E2E_TOOLS)
	@echo "machine: $$(nproc 2>/dev/null || sysctl -n hw.ncpu) cores, $$(awk '/MemTotal/ {printf "%.0f GiB", $$2/1048576}' /proc/meminfo 2>/dev/null), $$($(GO) version)"
	@$(BROKER); $(GO) test -run '^$$' -bench . -benchmem -timeout 30m ./bench/...

soak: ## The tests that find races by luck, SOAK times (20), end-to-end tests thrice, with KILLS (50) of a server
	$(GO) test -race -count=$(SOAK) -timeout 60m ./internal/...
	@hack/tools.sh $(E2E_TOOLS)
	@$(BROKER); MESHLITE_KILLS=$(KILLS) $(GO) test -tags e2e -race -count=3 -p 1 -timeout 90m $(E2E)

golden: ## Rewrite golden files; review the diff as you would code
	@for dir in $$(grep -rl --include='*_test.go' 'flag.Bool("update"' cmd internal | xargs -n1 dirname | sort -u); do \
		$(GO) test "./$$dir" -update; \
	done

##@ Code

generate: ## Rewrite generated code, CRDs and reference pages
	@hack/tools.sh controller-gen client-gen
	$(TOOLS)/controller-gen object paths=./internal/policy/v1alpha1/...
	$(TOOLS)/controller-gen crd paths=./internal/policy/v1alpha1/... output:crd:dir=manifests/crds
	$(TOOLS)/client-gen --clientset-name versioned --fake-clientset=false --go-header-file /dev/null \
		--input-base "" --input meshlite.dev/internal/policy/v1alpha1 \
		--output-dir internal/kube/generated --output-pkg meshlite.dev/internal/kube/generated
	$(GO) run ./hack/gendocs

generate-check: ## Fail where generated files are not up to date
	@hack/generate-check.sh

fmt: ## Format Go files
	gofmt -w $(GOFILES)

fmt-check: ## Fail where a Go file is not formatted
	@out=$$(gofmt -l $(GOFILES)); [[ -z $$out ]] || { echo "not formatted; run make fmt:"; echo "$$out"; exit 1; }

vet: ## go vet, tests behind tags included
	$(GO) vet -tags e2e ./...

lint: ## golangci-lint
	@hack/tools.sh golangci-lint
	$(TOOLS)/golangci-lint run

sizes: ## No file over 500 lines, no function over 100
	@$(GO) run ./hack/sizes

##@ House

tools: ## Install all tools into .tools/bin, once per version (first time twenty minutes or so)
	@hack/tools.sh

clean: ## Remove what was built; the tools stay
	rm -rf $(BIN) coverage.out

.PHONY: help demo demo-consul build images test check test-unit e2e fuzz bench soak golden generate generate-check fmt fmt-check vet lint sizes tools clean
