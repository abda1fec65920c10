# Everything a newcomer needs: `make demo`. The rest: `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build
.PHONY: build test prove demo clean-demo clean lint help machine payload guestbook

# Flags, tags and cgo are the same for build, vet and test, so that they share one compile of each package.
export GOFLAGS := -trimpath -buildvcs=false
export CGO_ENABLED := 0
export GOTOOLCHAIN := local
GO ?= go

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/lighter-k8s/lighter/cli.Version=$(VERSION)

# ---- the carried programs -------------------------------------------------------------------
T       := tools/bin
PAYLOAD := runtime/payload
PINS    := tools/go.mod tools/go.sum

# version of a module as pinned in tools/go.mod, v and all
pin = $(shell sed -n 's|^\t$(1) \(v[^ ]*\).*|\1|p' tools/go.mod)
K8S        = $(call pin,k8s.io/kubectl)
KUBE       = $(patsubst v0.%,v1.%,$(K8S))
kubeminor  = $(word 2,$(subst ., ,$(KUBE)))
kubestamp  = -X $(1).gitVersion=$(KUBE) -X $(1).gitMajor=1 -X $(1).gitMinor=$(kubeminor) -X $(1).gitTreeState=clean -X $(1).gitCommit=$(K8S) -X $(1).buildDate=1970-01-01T00:00:00Z
CONTAINERD = github.com/containerd/containerd/v2
CNI        = github.com/containernetworking/plugins/plugins

# One `go build` each for what shares flags. They touch what they made, so that make sees it newer.
$(T)/containerd: $(PINS)
	@echo "building containerd, its shim and the CNI plugins"
	cd tools && $(GO) build -o bin/ -tags 'no_btrfs no_aufs no_zfs no_devmapper no_tracing' \
	  -ldflags '-s -w -X $(CONTAINERD)/version.Version=$(call pin,$(CONTAINERD)) -X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$(call pin,github.com/containernetworking/plugins)' \
	  $(CONTAINERD)/cmd/containerd $(CONTAINERD)/cmd/containerd-shim-runc-v2 \
	  $(CNI)/main/bridge $(CNI)/ipam/host-local
	@touch $(T)/containerd $(T)/containerd-shim-runc-v2 $(T)/bridge $(T)/host-local

$(T)/containerd-shim-runc-v2 $(T)/bridge $(T)/host-local: $(T)/containerd ;

# runc needs a C compiler; it is static, with seccomp when the library's archive is there.
$(T)/runc: $(PINS)
	@mkdir -p $(T)
	seccomp=; if echo 'int main(void){return 0;}' | gcc -xc - -static -lseccomp -o /dev/null 2>/dev/null; then seccomp=seccomp; \
	else echo "runc: no libseccomp archive found, building without seccomp" >&2; fi; \
	echo "building runc ($${seccomp:-no seccomp})"; \
	cd tools && CGO_ENABLED=1 $(GO) build -o bin/runc -tags "$$seccomp osusergo netgo" \
	  -ldflags '-s -w -linkmode external -extldflags -static' github.com/opencontainers/runc
	@touch $@

$(T)/kubectl: $(PINS) tools/kubectl/main.go
	@echo "building kubectl $(KUBE)"
	cd tools && $(GO) build -o bin/kubectl -ldflags '-s -w $(call kubestamp,k8s.io/component-base/version) $(call kubestamp,k8s.io/client-go/pkg/version)' ./kubectl
	@touch $@

# An unmodified etcd: a member of the store of several servers, and what tests of the etcd engine run.
$(T)/etcd: $(PINS)
	@echo "building etcd"
	cd tools && $(GO) build -o bin/etcd -ldflags '-s -w' go.etcd.io/etcd/server/v3
	@touch $@

$(T)/pause: tools/pause/pause.c
	@mkdir -p $(T)
	gcc -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie -no-pie \
	  -Wall -Wextra -Werror -Wl,--build-id=none,-n,-z,noseparate-code -s -o $@ $<
	strip -R .comment $@

$(T)/pack: $(PINS) tools/pack/main.go
	cd tools && $(GO) build -o bin/pack ./pack
	@touch $@

NODE := containerd containerd-shim-runc-v2 runc bridge host-local pause
payload: $(PAYLOAD)/manifest.json
$(PAYLOAD)/manifest.json: $(T)/pack $(T)/kubectl $(T)/etcd $(addprefix $(T)/,$(NODE))
	$(T)/pack -o $(PAYLOAD) $(foreach n,$(NODE),node/$(n)=$(T)/$(n)) kubectl/kubectl=$(T)/kubectl etcd/etcd=$(T)/etcd
	@touch $@
$(T)/pack $(T)/kubectl $(T)/etcd $(T)/containerd $(T)/runc $(T)/pause: | machine

# A real S3 server, for tests of backups: without it they are skipped and say so.
bin/versitygw: tools/s3/go.mod tools/s3/go.sum
	@echo "building an S3 server"
	@mkdir -p bin
	cd tools/s3 && $(GO) build -o ../../bin/versitygw -ldflags '-s -w' github.com/versity/versitygw/cmd/versitygw
	@touch $@

# What a bare Debian lacks of what builds, tests and the demo call; without root it only says so.
machine:
	@missing=; \
	need() { command -v $$1 >/dev/null || missing="$$missing $$2"; }; \
	[ -e /usr/include/seccomp.h ] || missing="$$missing libseccomp-dev"; \
	[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$$missing ca-certificates"; \
	need gcc 'gcc libc6-dev'; need strip binutils; need ip iproute2; need curl curl; need git git; need mount mount; need modprobe kmod; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing"; \
	  install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing </dev/null >/dev/null; }; \
	  install 2>/dev/null || { apt-get update -qq </dev/null && install; } || echo "could not install$$missing" >&2; \
	else echo "please install:$$missing" >&2; fi

# ---- lighter --------------------------------------------------------------------------------
build: payload ## build bin/lighter with everything it carries
	$(GO) build -tags payload -ldflags '$(LDFLAGS)' -o bin/lighter .

lint: $(PAYLOAD)/manifest.json ## gofmt and vet
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "not gofmt'ed:"; echo "$$bad"; exit 1; fi
	$(GO) vet -tags payload ./...
	$(GO) vet ./runtime/payload
	cd tools && $(GO) vet ./pack

guestbook: build ## the images of the example, which tests run as well
	examples/guestbook/demo.sh images

# What tests find in the environment: the programs that they run, and nothing of the caller's cluster. Those for
# which LIGHTER_KUBERNETES_API must name a folder with Kubernetes' published API documents are skipped without it.
# No result is taken from a cache: go does not see that a program which a test runs has changed.
PROGRAMS = env -u KUBECONFIG LIGHTER=$(CURDIR)/bin/lighter ETCD=$(CURDIR)/$(T)/etcd LIGHTER_TEST_ETCD=$(CURDIR)/$(T)/etcd \
  $(if $(wildcard bin/versitygw),LIGHTER_TEST_S3=$(CURDIR)/bin/versitygw)

test: lint build guestbook ## all tests, those with real containers too (as root); at most 15 minutes
	$(PROGRAMS) $(GO) test -tags payload -p 2 -count 1 -timeout 20m ./...

# A failure prints its seed: `make prove LIGHTER_SEED=...` does the same again, ROOMS=./store/... only there.
LIGHTER_SEED ?= $(shell date +%s)
ROOMS ?= ./store/... ./backup ./role ./api/managed ./watch/... ./test/...
prove: build bin/versitygw guestbook ## the long proofs: crashes, kills and random operations from LIGHTER_SEED
	@echo "LIGHTER_SEED=$(LIGHTER_SEED)"
	$(PROGRAMS) LIGHTER_TEST_S3=$(CURDIR)/bin/versitygw LIGHTER_SEED=$(LIGHTER_SEED) PROVE=$${PROVE:-1} $(GO) test -tags payload -p 1 -count 1 -timeout 4h $(ROOMS)

demo: build ## start a cluster on this machine and run the guestbook on it
	@examples/guestbook/demo.sh up

clean-demo: ## remove the demo's cluster, rules, mounts and namespaces
	@examples/guestbook/demo.sh down

clean: ## remove what was built
	rm -rf bin $(T) $(PAYLOAD)/*.zst $(PAYLOAD)/manifest.json

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
