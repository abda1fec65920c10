# Everything a newcomer needs: `make demo`. The rest: `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build
.PHONY: build test prove demo clean-demo clean lint help machine payload

# -trimpath is set for all so that build, vet and test share one compile of each package.
export GOFLAGS := -trimpath -buildvcs=false
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
	cd tools && CGO_ENABLED=0 $(GO) build -o bin/ -tags 'no_btrfs no_aufs no_zfs no_devmapper no_tracing' \
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
	cd tools && CGO_ENABLED=0 $(GO) build -o bin/kubectl -ldflags '-s -w $(call kubestamp,k8s.io/component-base/version) $(call kubestamp,k8s.io/client-go/pkg/version)' ./kubectl
	@touch $@

$(T)/pause: tools/pause/pause.c
	@mkdir -p $(T)
	gcc -Os -static -nostdlib -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -fno-pie -no-pie \
	  -Wall -Wextra -Werror -Wl,--build-id=none,-n,-z,noseparate-code -s -o $@ $<
	strip -R .comment $@

$(T)/pack: $(PINS) tools/pack/main.go
	cd tools && CGO_ENABLED=0 $(GO) build -o bin/pack ./pack
	@touch $@

NODE := containerd containerd-shim-runc-v2 runc bridge host-local pause
payload: $(PAYLOAD)/manifest.json
$(PAYLOAD)/manifest.json: $(T)/pack $(T)/kubectl $(addprefix $(T)/,$(NODE))
	$(T)/pack -o $(PAYLOAD) $(foreach n,$(NODE),node/$(n)=$(T)/$(n)) kubectl/kubectl=$(T)/kubectl
	@touch $@
$(T)/pack $(T)/kubectl $(T)/containerd $(T)/runc $(T)/pause: | machine

# An unmodified etcd, for tests of the etcd store.
bin/etcd: $(PINS)
	@mkdir -p bin
	cd tools && CGO_ENABLED=0 $(GO) build -o ../bin/etcd -ldflags '-s -w' go.etcd.io/etcd/server/v3
	@touch $@

# What a bare Debian lacks; without root it only says so.
machine:
	@missing=; \
	[ -e /usr/include/seccomp.h ] || missing="$$missing libseccomp-dev"; \
	command -v gcc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	command -v mount >/dev/null || missing="$$missing mount"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing$$missing"; \
	  install() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing </dev/null >/dev/null; }; \
	  install 2>/dev/null || { apt-get update -qq </dev/null && install; } || echo "could not install$$missing" >&2; \
	else echo "please install:$$missing" >&2; fi

# ---- lighter --------------------------------------------------------------------------------
build: payload ## build bin/lighter with everything it carries
	CGO_ENABLED=0 $(GO) build -tags payload -ldflags '$(LDFLAGS)' -o bin/lighter .

lint: ## gofmt and vet
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "not gofmt'ed:"; echo "$$bad"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags payload ./runtime/...
	cd tools && CGO_ENABLED=0 $(GO) vet ./pack

test: build bin/etcd lint ## all tests, those with real containers too (as root); at most 15 minutes
	LIGHTER=$(CURDIR)/bin/lighter ETCD=$(CURDIR)/bin/etcd $(GO) test -tags payload -p 2 -timeout 14m ./...

prove: build bin/etcd ## the long proofs: random seeds, crashes, races; PROVE=10m each
	LIGHTER=$(CURDIR)/bin/lighter ETCD=$(CURDIR)/bin/etcd PROVE=$${PROVE:-10m} $(GO) test -tags 'payload prove' -p 1 -count 1 -timeout 0 ./...

demo: build ## start a cluster on this machine and run the guestbook on it
	@examples/guestbook/demo.sh up

clean-demo: ## remove the demo's cluster, rules, mounts and namespaces
	@examples/guestbook/demo.sh down

clean: ## remove what was built
	rm -rf bin $(T) $(PAYLOAD)/*.zst $(PAYLOAD)/manifest.json

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
