// Command pack compresses the carried programs for go:embed. `make build` runs it:
//
//	pack -o runtime/payload node/containerd=tools/bin/containerd kubectl/kubectl=tools/bin/kubectl
//
// Each argument is <group>/<name>=<file>; a group is what gets unpacked together. It writes one
// <name>.zst per file and manifest.json, which package runtime/payload reads. A file whose content
// the manifest already has is not compressed again, and files no longer named are removed.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// file is one line of manifest.json, as runtime/payload.File.
type file struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the file itself, in hex
	Size   int64  `json:"size"`   // of the file itself, in bytes
	Packed int64  `json:"packed"` // compressed, in bytes
}

func main() {
	out := flag.String("o", "", "folder to write to")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := pack(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(out string, args []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	before := manifest(out)
	files := make([]file, len(args))
	errs := make([]error, len(args))
	var group sync.WaitGroup
	for i, arg := range args {
		group.Go(func() { files[i], errs[i] = packOne(out, arg, before) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.Name, b.Name) })
	if err := removeOthers(out, files); err != nil {
		return err
	}
	text, err := json.MarshalIndent(files, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "manifest.json"), append(text, '\n'), 0o644)
}

// manifest is what an earlier run left, by name; empty when there was none.
func manifest(out string) map[string]file {
	known := map[string]file{}
	text, err := os.ReadFile(filepath.Join(out, "manifest.json"))
	if err != nil {
		return known
	}
	var files []file
	if json.Unmarshal(text, &files) == nil {
		for _, f := range files {
			known[f.Name] = f
		}
	}
	return known
}

func packOne(out, arg string, before map[string]file) (file, error) {
	where, path, ok := strings.Cut(arg, "=")
	group, name, ok2 := strings.Cut(where, "/")
	if !ok || !ok2 {
		return file{}, fmt.Errorf("%q is not <group>/<name>=<file>", arg)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return file{}, err
	}
	sum := sha256.Sum256(raw)
	f := file{Group: group, Name: name, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(raw))}
	target := filepath.Join(out, name+".zst")
	if old := before[name]; old.SHA256 == f.SHA256 {
		if info, err := os.Stat(target); err == nil && info.Size() == old.Packed {
			f.Packed = old.Packed
			return f, nil
		}
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(8<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return file{}, err
	}
	packed := w.EncodeAll(raw, nil)
	f.Packed = int64(len(packed))
	temp := target + ".new"
	if err := os.WriteFile(temp, packed, 0o644); err != nil {
		return file{}, err
	}
	return f, os.Rename(temp, target)
}

func removeOthers(out string, files []file) error {
	have, err := filepath.Glob(filepath.Join(out, "*.zst"))
	if err != nil {
		return err
	}
	for _, path := range have {
		name := strings.TrimSuffix(filepath.Base(path), ".zst")
		if !slices.ContainsFunc(files, func(f file) bool { return f.Name == name }) {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
