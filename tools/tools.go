// Package tools pins the programs that Lighter carries: containerd and its shim, runc, the CNI
// plugins, kubectl and etcd. They are built unmodified, from this module's go.mod, and run as
// children; the main module never links them. `make build` compiles them into bin/, and the
// command pack compresses them for runtime/payload.
package tools
