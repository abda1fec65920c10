package encrypt

import (
	"context"
	"errors"
	"strings"
)

// Keys is an EncryptionConfiguration that is ready for use. It does not change; KMS plugins are asked while Run runs.
type Keys struct {
	Hash string // of the file: "sha256:..."

	rules []rule
	known map[string][]provider // by the part of store keys that names a resource; nil: no rule
	named []Named
	kms   []*kms
}

// Named is a key of the configuration.
type Named struct {
	Name        string // what it writes begins with this: "aesgcm:v1:key1"; "identity"
	Fingerprint string // of its secret; "" where it has none that we know
	Writes      bool   // it is the first of its resources
}

// rule is the providers of one list of resources; the first writes, all read.
type rule struct {
	resources []string
	chain     []provider
}

// chain is the providers of a store's key, or nil: the value is as it is. A resource's key is "/registry/<resource>/...", or
// "/registry/<group>/<resource>/..." for custom ones.
func (k *Keys) chain(key string) []provider {
	if len(k.rules) == 0 {
		return nil
	}
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return nil
	}
	n := strings.IndexByte(rest, '/')
	if n < 0 {
		return nil
	}
	if c, ok := k.known[rest[:n]]; ok {
		return c
	}
	m := strings.IndexByte(rest[n+1:], '/')
	if m < 0 {
		return nil
	}
	if c, ok := k.known[rest[:n+1+m]]; ok {
		return c
	}
	if strings.IndexByte(rest[:n], '.') > 0 {
		return k.match(rest[n+1:n+1+m] + "." + rest[:n])
	}
	return nil
}

// prefix is where all keys of the API begin.
const prefix = "/registry/"

// match finds the first rule for a resource such as "secrets" or "deployments.apps".
func (k *Keys) match(resource string) []provider {
	for _, r := range k.rules {
		for _, pattern := range r.resources {
			if matches(pattern, resource) {
				if len(r.chain) == 1 && r.chain[0].prefix() == "" {
					return nil // plain text, as if there were no rule
				}
				return r.chain
			}
		}
	}
	return nil
}

// matches tells whether a pattern, "secrets", "*.", "*.apps" or "*.*", is for a resource.
func matches(pattern, resource string) bool {
	group, wild := strings.CutPrefix(pattern, "*.")
	_, of, _ := strings.Cut(resource, ".")
	return pattern == resource || pattern == "*.*" || wild && group == of
}

// prefixes are where values lie that a rule is for.
func (k *Keys) prefixes() []string {
	var out []string
	for _, r := range k.rules {
		for _, pattern := range r.resources {
			if strings.HasPrefix(pattern, "*.") || strings.Contains(pattern, ".") {
				return []string{prefix}
			}
		}
	}
	for name, c := range k.known {
		if c != nil {
			out = append(out, prefix+name+"/")
		}
	}
	return out
}

// Named are all keys of the configuration, in its order.
func (k *Keys) Named() []Named { return k.named }

// Has tells whether values that a key wrote can be read; "identity" is plain text.
func (k *Keys) Has(name string) bool {
	for _, n := range k.named {
		if n.Name == name {
			return true
		}
	}
	return name == identity
}

// Run asks the KMS plugins for their state until ctx ends.
func (k *Keys) Run(ctx context.Context) {
	done := make(chan struct{})
	for _, p := range k.kms {
		go func() { p.run(ctx); done <- struct{}{} }()
	}
	for range k.kms {
		<-done
	}
}

// Ready is nil when every KMS plugin answers; it asks those of which that is not known.
func (k *Keys) Ready(ctx context.Context) error {
	var errs []error
	for _, p := range k.kms {
		errs = append(errs, p.ready(ctx))
	}
	return errors.Join(errs...)
}

// Close ends the connections to KMS plugins.
func (k *Keys) Close() error {
	var errs []error
	for _, p := range k.kms {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}
