package encrypt

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The file, as upstream reads it: apiserver.config.k8s.io/v1. Its published Go types come with conversions and the
// tracing API's, which nothing else here needs.
const (
	APIVersion = "apiserver.config.k8s.io/v1"
	Kind       = "EncryptionConfiguration"
)

// Configuration is the file.
type Configuration struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Resources  []Resources `json:"resources"`
}

// Resources is a list of resources and what encrypts them: the first provider writes, all read.
type Resources struct {
	Resources []string   `json:"resources"`
	Providers []Provider `json:"providers"`
}

// Provider is exactly one of its fields.
type Provider struct {
	AESGCM    *Secrets  `json:"aesgcm,omitempty"`
	AESCBC    *Secrets  `json:"aescbc,omitempty"`
	Secretbox *Secrets  `json:"secretbox,omitempty"`
	KMS       *KMS      `json:"kms,omitempty"`
	Identity  *struct{} `json:"identity,omitempty"`
}

// Secrets are keys of one provider; the first writes, all read.
type Secrets struct {
	Keys []Secret `json:"keys"`
}

// Secret is a key by its name.
type Secret struct {
	Name   string `json:"name"`
	Secret []byte `json:"secret"` // base64 in the file
}

// String keeps secrets out of logs and errors.
func (s Secret) String() string { return s.Name }

// GoString is String.
func (s Secret) GoString() string { return s.Name }

// KMS is a plugin; only version v2 is spoken.
type KMS struct {
	APIVersion string           `json:"apiVersion"`
	Name       string           `json:"name"`
	CacheSize  *int32           `json:"cachesize,omitempty"`
	Endpoint   string           `json:"endpoint"` // "unix:///path"
	Timeout    *metav1.Duration `json:"timeout,omitempty"`
}

// Read reads the file, strictly.
func Read(data []byte) (*Configuration, error) {
	var c Configuration
	if err := yaml.UnmarshalStrict(data, &c); err != nil {
		var wrong base64.CorruptInputError
		if errors.As(err, &wrong) { // whose text would show a part of a secret's place only, but is no help either
			return nil, errors.New("a secret is not base64")
		}
		return nil, err
	}
	if c.APIVersion != APIVersion || c.Kind != Kind {
		return nil, fmt.Errorf("it is a %s of %s: want an %s of %s", c.Kind, c.APIVersion, Kind, APIVersion)
	}
	return &c, nil
}

// Hash recognizes a file.
func Hash(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Parse makes Keys of a file. stored says what the resources of store keys are: "services/specs" is "services".
func Parse(data []byte, stored map[string]string) (*Keys, error) {
	c, err := Read(data)
	if err != nil {
		return nil, err
	}
	k, err := c.keys()
	if err != nil {
		return nil, err
	}
	k.Hash = Hash(data)
	for at, resource := range stored {
		k.known[at] = k.match(resource)
	}
	return k, nil
}

func (c *Configuration) keys() (*Keys, error) {
	k := &Keys{known: map[string][]provider{}}
	if len(c.Resources) == 0 {
		return nil, errors.New("resources: it has none")
	}
	var earlier []string
	for i, r := range c.Resources {
		at := fmt.Sprintf("resources[%d]", i)
		if len(r.Resources) == 0 || len(r.Providers) == 0 {
			return nil, fmt.Errorf("%s: want resources and providers", at)
		}
		for _, name := range r.Resources {
			if err := checkResource(name, earlier, r.Resources); err != nil {
				return nil, fmt.Errorf("%s: resource %q: %w", at, name, err)
			}
		}
		earlier = append(earlier, r.Resources...)
		rule := rule{resources: r.Resources}
		for j, p := range r.Providers {
			chain, err := k.provider(p, j == 0)
			if err != nil {
				return nil, fmt.Errorf("%s.providers[%d]: %w", at, j, err)
			}
			rule.chain = append(rule.chain, chain...)
		}
		k.rules = append(k.rules, rule)
	}
	return k, nil
}

// checkResource refuses patterns that would have no effect, and names of what is stored under another.
func checkResource(name string, earlier, beside []string) error {
	switch {
	case name == "" || name == "*" || strings.Count(name, "*") > 1 && name != "*.*" || strings.Contains(name, "*") && !strings.HasPrefix(name, "*."):
		return errors.New(`want a resource ("secrets", "deployments.apps"), "*." for all of the core group, "*.<group>", or "*.*" for all`)
	case strings.ToLower(name) != name:
		return errors.New("want lower case")
	case strings.HasSuffix(name, ".events.k8s.io"):
		return errors.New(`events are stored as those of the core group: want "events"`)
	case strings.HasSuffix(name, ".extensions"):
		return errors.New("nothing is stored in the group extensions: name the group that replaced it")
	}
	for _, e := range earlier {
		if e == name || covers(e, name) {
			return fmt.Errorf("%q stands earlier, so this has no effect", e)
		}
	}
	same := 0
	for _, e := range beside {
		if e == name {
			same++
		}
		if e != name && covers(e, name) {
			return fmt.Errorf("%q beside it is for it already", e)
		}
	}
	if same > 1 {
		return errors.New("it is there twice")
	}
	return nil
}

// covers tells whether a pattern is for all that another one is for.
func covers(pattern, other string) bool {
	if group, wild := strings.CutPrefix(other, "*."); wild {
		return pattern == "*.*" && group != "*"
	}
	return strings.HasPrefix(pattern, "*.") && matches(pattern, other)
}

// provider makes what reads and writes; first: it is what its resources are written with.
func (k *Keys) provider(p Provider, first bool) (chain []provider, err error) {
	n := 0
	for kind, s := range map[string]*Secrets{"aesgcm": p.AESGCM, "aescbc": p.AESCBC, "secretbox": p.Secretbox} {
		if s == nil {
			continue
		}
		n++
		if len(s.Keys) == 0 {
			return nil, fmt.Errorf("%s: it has no keys", kind)
		}
		for i, key := range s.Keys {
			if key.Name == "" || strings.Contains(key.Name, ":") {
				return nil, fmt.Errorf("%s: key %q: want a name without colons", kind, key.Name)
			}
			if slices.ContainsFunc(s.Keys[:i], func(o Secret) bool { return o.Name == key.Name }) {
				return nil, fmt.Errorf("%s: key %q is there twice", kind, key.Name)
			}
			p, err := newSecret(kind, key.Name, key.Secret)
			if err != nil {
				return nil, fmt.Errorf("%s: key %q: %w", kind, key.Name, err)
			}
			chain = append(chain, p)
			k.name(Named{strings.TrimSuffix(p.prefix()[len(sealed):], ":"), Fingerprint(key.Secret), first && i == 0})
		}
	}
	if p.Identity != nil {
		n++
		chain = append(chain, plain{})
		k.name(Named{Name: identity, Writes: first})
	}
	if p.KMS != nil {
		n++
		plugin, err := k.plugin(*p.KMS)
		if err != nil {
			return nil, fmt.Errorf("kms %q: %w", p.KMS.Name, err)
		}
		chain = append(chain, plugin)
		k.name(Named{Name: strings.TrimSuffix(plugin.prefix()[len(sealed):], ":"), Writes: first})
	}
	if n != 1 {
		return nil, errors.New("want exactly one of aesgcm, aescbc, secretbox, kms and identity")
	}
	return chain, nil
}

func (k *Keys) name(n Named) {
	for i, o := range k.named {
		if o.Name == n.Name && o.Fingerprint == n.Fingerprint {
			k.named[i].Writes = o.Writes || n.Writes
			return
		}
	}
	k.named = append(k.named, n)
}

// plugin makes the client of a KMS plugin, once for each name.
func (k *Keys) plugin(c KMS) (*kms, error) {
	switch {
	case c.APIVersion != "v2":
		return nil, fmt.Errorf("apiVersion %q: want v2; version 1 is deprecated upstream and not spoken here", c.APIVersion)
	case c.Name == "" || strings.Contains(c.Name, ":"):
		return nil, errors.New("want a name without colons")
	case !strings.HasPrefix(c.Endpoint, "unix://"):
		return nil, fmt.Errorf("endpoint %q: want unix:///path/of/a/socket", c.Endpoint)
	case c.CacheSize != nil:
		return nil, errors.New("cachesize is for version 1 only")
	}
	timeout := 3 * time.Second
	if c.Timeout != nil {
		timeout = c.Timeout.Duration
	}
	if timeout <= 0 {
		return nil, errors.New("timeout: want more than 0")
	}
	for _, p := range k.kms {
		if p.name == c.Name {
			if p.endpoint != c.Endpoint {
				return nil, errors.New("it is there twice, with two endpoints")
			}
			return p, nil
		}
	}
	p, err := newKMS(c.Name, c.Endpoint, timeout)
	if err == nil {
		k.kms = append(k.kms, p)
	}
	return p, err
}
