// Package runtime is what makes containers on this node: it unpacks the programs that Lighter
// carries, runs containerd as a child that outlives Lighter, loads images into it, writes the
// network configuration that it reads, and removes every trace when a node is reset. Package role
// calls it; the kubelet then speaks CRI to Containerd.Socket and needs nothing else from here.
//
// A node's runtime lives in <data-dir>, so that several nodes share a machine, each in a network
// namespace of its own:
//
//	programs/<hash>/        the unpacked programs
//	containerd/             images, snapshots and metadata; survives a reboot
//	cni/net.d/  cni/state/  network configuration; the addresses handed out
//	registry/               per registry host a hosts.toml (mirrors, plain http)
//	run/                    sockets and mounts of what runs now; means nothing after a reboot
//	log/containerd.log      and containerd.log.1; etcd.log of a server with a member of its own
//
// Sockets must fit in 107 bytes: below a long <data-dir>, run/ is /run/lighter/<hash> instead.
package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"path/filepath"
)

// Dirs are the places of one node's runtime, all absolute.
type Dirs struct {
	Data, Programs, Root, Run, State, Log           string
	CNIConf, CNIState, Registry, Socket, ShimSocket string
}

// longest is what a socket below run/ may add to its path: "/s/" and the 64 digits of a shim.
const longest = len("/s/") + 64

// NewDirs says where the runtime of the node with this data directory is. It creates nothing.
func NewDirs(data string) (Dirs, error) {
	data, err := resolve(data)
	if err != nil {
		return Dirs{}, err
	}
	run := filepath.Join(data, "run")
	if len(run)+longest > 107 {
		sum := sha256.Sum256([]byte(data))
		run = "/run/lighter/" + hex.EncodeToString(sum[:6])
	}
	return Dirs{
		Data: data, Run: run,
		Programs:   filepath.Join(data, "programs"),
		Root:       filepath.Join(data, "containerd"),
		CNIConf:    filepath.Join(data, "cni/net.d"),
		CNIState:   filepath.Join(data, "cni/state"),
		Registry:   filepath.Join(data, "registry"),
		Log:        filepath.Join(data, "log/containerd.log"),
		State:      filepath.Join(run, "containerd"),
		Socket:     filepath.Join(run, "containerd.sock"),
		ShimSocket: filepath.Join(run, "s"),
	}, nil
}

// resolve makes a path absolute and free of symbolic links, also where its end does not exist yet:
// running programs and mounts are recognised by their paths, and the kernel knows no links.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) || path == "/" {
		return real, err
	}
	parent, err := resolve(filepath.Dir(path))
	return filepath.Join(parent, filepath.Base(path)), err
}
