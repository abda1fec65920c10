package pki

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// KubeconfigServer is one way to a cluster: a context and where it leads.
type KubeconfigServer struct {
	Context string
	URL     string // https://...
	CA      []byte // PEM
}

// KubeconfigServers are the servers of the file's current cluster as Write and MergeKubeconfig put them there, that of the
// current context first. One alone: no other is known.
func KubeconfigServers(path string) ([]KubeconfigServer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	file := map[string]any{}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", path, err)
	}
	current, _ := file["current-context"].(string)
	names := []string{current}
	// The current context may be a further server's, when the user chose so.
	user, _ := entry(file, "contexts", "context", current)["user"].(string)
	for _, n := range append([]string{user}, further(file, user)...) {
		if n != current {
			names = append(names, n)
		}
	}
	var out []KubeconfigServer
	for _, n := range names {
		cluster, _ := entry(file, "contexts", "context", n)["cluster"].(string)
		c := entry(file, "clusters", "cluster", cluster)
		url, _ := c["server"].(string)
		encoded, _ := c["certificate-authority-data"].(string)
		ca, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || url == "" {
			continue
		}
		out = append(out, KubeconfigServer{n, url, ca})
	}
	if len(out) == 0 {
		return nil, errors.New("no current context that leads to a server")
	}
	return out, nil
}

// entry is the value of a list's entry of that name; nil: there is none.
func entry(file map[string]any, list, field, name string) map[string]any {
	items, _ := file[list].([]any)
	for _, item := range items {
		if m, ok := item.(map[string]any); ok && m["name"] == name {
			value, _ := m[field].(map[string]any)
			return value
		}
	}
	return nil
}
