// Package payload is the programs that Lighter carries inside its binary, compressed: containerd
// and its shim, runc, the CNI plugins, pause, kubectl and etcd. Package runtime unpacks them.
//
// They are in a binary built with the tag "payload" (`make build` does so, after building and
// packing them from tools/). Without the tag nothing is carried, so that plain `go build`, `go vet`
// and `go test` work in a fresh clone; package runtime then looks for the programs on PATH.
package payload

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// ErrNone is returned for what this binary does not carry.
var ErrNone = errors.New("not carried in this binary (built without the tag \"payload\")")

// File is one carried program.
type File struct {
	Group  string `json:"group"` // what is unpacked together: "node", "kubectl" or "etcd"
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // of the program, in hex
	Size   int64  `json:"size"`   // of the program, in bytes
	Packed int64  `json:"packed"` // as carried, in bytes
}

// Files lists what is carried, by name; none without the tag.
var Files = sync.OnceValue(func() (files []File) {
	text, err := packed.ReadFile("manifest.json")
	if err != nil {
		return nil
	}
	if err := json.Unmarshal(text, &files); err != nil {
		panic("runtime/payload/manifest.json is broken, run make clean: " + err.Error())
	}
	return files
})

// Group lists the files of one group and the hash of their content: 16 hex digits, equal only
// when every name and every byte is. Errors: ErrNone.
func Group(name string) (files []File, hash string, err error) {
	sum := sha256.New()
	for _, f := range Files() {
		if f.Group == name {
			files = append(files, f)
			fmt.Fprintln(sum, f.Name, f.SHA256)
		}
	}
	if files == nil {
		return nil, "", fmt.Errorf("%s: %w", name, ErrNone)
	}
	return files, hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// Copy writes the program to w and checks that it is what was packed.
func (f File) Copy(w io.Writer) error {
	src, err := packed.Open(f.Name + ".zst")
	if err != nil {
		return err
	}
	defer src.Close()
	r, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), r); err != nil {
		return fmt.Errorf("unpack %s: %w", f.Name, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != f.SHA256 {
		return fmt.Errorf("unpack %s: sha256 is %s, packed was %s", f.Name, got, f.SHA256)
	}
	return nil
}
