package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

// Kubeconfig is a kubeconfig file with one cluster, one user and one context, all of one name, and a cluster and a context
// for each further server of the same cluster.
type Kubeconfig struct {
	Name      string   // of cluster, user and context
	Server    string   // https://...
	CA        []byte   // PEM
	Cert, Key []byte   // PEM; the user's certificate, or
	Token     string   // the user's bearer token
	Namespace string   // "" is default
	Others    []string // URLs of further servers; their names are Name, a hyphen and the host
}

// Marshal is the file's YAML.
func (k Kubeconfig) Marshal() ([]byte, error) {
	file := map[string]any{}
	k.mergeInto(file)
	return yaml.Marshal(file)
}

// Write writes the kubeconfig as a file of its own, mode 0600.
func (k Kubeconfig) Write(path string) error {
	data, err := k.Marshal()
	if err != nil {
		return err
	}
	return writeIfOther(path, data, 0o600)
}

// MergeKubeconfig puts k's cluster, user and context into the file at path, which need not
// exist, and makes the context the current one. All else in the file stays as it is (its comments
// excepted), as do its owner and, through a symbolic link, its place. What is created belongs to the owner
// of the directory it is made in, so that root may do it for another user. Mode 0600.
func MergeKubeconfig(path string, k Kubeconfig) error {
	return editKubeconfig(path, k.mergeInto)
}

// RemoveKubeconfig takes the cluster, user and context of that name out of the file again.
func RemoveKubeconfig(path, name string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return editKubeconfig(path, func(file map[string]any) {
		gone := append(further(file, name), name)
		for _, list := range []string{"clusters", "users", "contexts"} {
			for _, n := range gone {
				file[list] = without(file[list], n)
			}
		}
		if current, ok := file["current-context"].(string); ok && slices.Contains(gone, current) {
			file["current-context"] = ""
		}
	})
}

func (k Kubeconfig) mergeInto(file map[string]any) {
	for key, value := range map[string]any{"apiVersion": "v1", "kind": "Config", "preferences": map[string]any{}} {
		if _, ok := file[key]; !ok {
			file[key] = value
		}
	}
	user := map[string]any{}
	if k.Token != "" {
		user["token"] = k.Token
	}
	if k.Cert != nil {
		user["client-certificate-data"], user["client-key-data"] = k.Cert, k.Key
	}
	context := map[string]any{"cluster": k.Name, "user": k.Name}
	if k.Namespace != "" {
		context["namespace"] = k.Namespace
	}
	cluster := map[string]any{"server": k.Server}
	if k.CA != nil {
		cluster["certificate-authority-data"] = k.CA
	}
	put := func(list, field string, value map[string]any) {
		file[list] = append(without(file[list], k.Name), map[string]any{"name": k.Name, field: value})
	}
	for _, name := range further(file, k.Name) { // those of servers that are gone
		file["clusters"], file["contexts"] = without(file["clusters"], name), without(file["contexts"], name)
	}
	put("clusters", "cluster", cluster)
	put("users", "user", user)
	put("contexts", "context", context)
	for _, other := range k.Others {
		u, err := url.Parse(other)
		if err != nil {
			continue
		}
		name := k.Name + "-" + u.Hostname()
		cluster, context := maps.Clone(cluster), maps.Clone(context)
		cluster["server"], context["cluster"] = other, name
		file["clusters"] = append(without(file["clusters"], name), map[string]any{"name": name, "cluster": cluster})
		file["contexts"] = append(without(file["contexts"], name), map[string]any{"name": name, "context": context})
	}
	file["current-context"] = k.Name
}

// further are the names of contexts of further servers: the user's of that name, on a cluster "<name>-<address>".
func further(file map[string]any, name string) (names []string) {
	contexts, _ := file["contexts"].([]any)
	for _, item := range contexts {
		m, _ := item.(map[string]any)
		of, _ := m["context"].(map[string]any)
		n, _ := m["name"].(string)
		host, ok := strings.CutPrefix(n, name+"-")
		if ok && of["user"] == name && of["cluster"] == n && net.ParseIP(host) != nil {
			names = append(names, n)
		}
	}
	return names
}

// without is a kubeconfig's list less the entry of that name.
func without(list any, name string) []any {
	items, _ := list.([]any)
	out := []any{}
	for _, item := range items {
		if m, ok := item.(map[string]any); !ok || m["name"] != name {
			out = append(out, item)
		}
	}
	return out
}

func editKubeconfig(path string, edit func(map[string]any)) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	if err := makeDirs(filepath.Dir(path)); err != nil {
		return fmt.Errorf("create the kubeconfig's directory: %w", err)
	}
	unlock, err := lock(path + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	data, err := os.ReadFile(path)
	owner := path
	if errors.Is(err, fs.ErrNotExist) {
		owner = filepath.Dir(path)
	} else if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	file := map[string]any{}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	if file == nil {
		file = map[string]any{} // the YAML was "null" or nothing
	}
	for _, list := range []string{"clusters", "users", "contexts"} {
		if _, ok := file[list].([]any); file[list] != nil && !ok {
			return fmt.Errorf("kubeconfig %s: %s is not a list", path, list)
		}
	}
	edit(file)
	if data, err = yaml.Marshal(file); err != nil {
		return err
	}
	return writeFile(path, data, 0o600, func(f *os.File) error { return chownLike(f.Name(), owner) })
}

// lock takes the lock file that kubectl takes while it writes a kubeconfig.
func lock(path string) (unlock func(), err error) {
	for range 20 {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0)
		if err == nil {
			f.Close()
			return func() { os.Remove(path) }, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock kubeconfig: %w", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("another program holds %s; delete it if none does", path)
}

// makeDirs is MkdirAll with mode 0700 where each new directory has its parent's owner.
func makeDirs(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDirs(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return chownLike(dir, parent)
}

// chownLike gives path the owner of another file, where this process may and it differs.
func chownLike(path, like string) error {
	info, err := os.Stat(like)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, int(owner.Uid), int(owner.Gid))
}
