package pki

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Entry is what a file says of one certificate or, without Subject and Ends, of one key that signs tokens.
type Entry struct {
	Name    string     `json:"name"`
	File    string     `json:"file"`
	Kind    string     `json:"kind"` // authority, next authority, former authority, server, client, server and client, token key, retired token key
	Subject string     `json:"subject,omitempty"`
	Names   []string   `json:"names,omitempty"` // DNS names and addresses
	Issuer  string     `json:"issuer,omitempty"`
	Begins  time.Time  `json:"begins"`
	Ends    *time.Time `json:"ends,omitempty"`
	Renewed *time.Time `json:"renewed,omitempty"` // when it will be, by itself
	Step    string     `json:"step,omitempty"`    // of an authority that is followed, or follows
	Error   string     `json:"error,omitempty"`   // why nothing else is known
}

// Ended tells whether it is no longer good.
func (e Entry) Ended(now time.Time) bool { return e.Error != "" || e.Ends != nil && now.After(*e.Ends) }

// List describes the certificates (name.crt) and token keys (sa.key, sa.pub) of a directory; their names begin with prefix. A
// directory that is not there has none. life is that of certificates: keys of tokens are replaced as they are.
func List(dir, prefix string, life time.Duration) (out []Entry, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		name, ok := strings.CutSuffix(f.Name(), ".crt")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, describe(prefix+name, path, data))
		followed, err := describeSuccession(path, data, life)
		if err != nil {
			return nil, err
		}
		for i, e := range followed {
			e.Name = prefix + name
			if i == 0 {
				out[len(out)-1] = e
			} else {
				out = append(out, e)
			}
		}
	}
	keys, err := readTokenKeys(dir)
	if err != nil {
		return nil, err
	}
	for i, k := range keys {
		e := Entry{Name: prefix + TokensName, File: filepath.Join(dir, "sa.key"), Kind: "token key", Begins: k.Since}
		if i == 0 {
			at := TokenKeyDue(k.Since, life)
			e.Renewed = &at
		} else {
			e.File, e.Kind = filepath.Join(dir, "sa.pub"), "retired token key"
		}
		out = append(out, e)
	}
	return out, err
}

// describe says what is in a PEM file; of several certificates the first is meant.
func describe(name, path string, data []byte) Entry {
	e := Entry{Name: name, File: path}
	c, err := ParseCertificate(data)
	if err != nil {
		e.Error = err.Error()
		return e
	}
	e.Subject, e.Issuer, e.Begins, e.Ends = c.Subject.String(), c.Issuer.String(), c.NotBefore, &c.NotAfter
	if c.IsCA {
		at := Due(c)
		e.Kind, e.Renewed = "authority", &at
		return e
	}
	e.Names = slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		e.Names = append(e.Names, ip.String())
	}
	var kinds []string
	for usage, word := range map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "server", x509.ExtKeyUsageClientAuth: "client"} {
		if slices.Contains(c.ExtKeyUsage, usage) {
			kinds = append(kinds, word)
		}
	}
	slices.Sort(kinds)
	slices.Reverse(kinds)
	at := Due(c)
	e.Kind, e.Renewed = strings.Join(kinds, " and "), &at
	return e
}

// describeSuccession describes the authorities of a file of which one follows the other; nil: none does.
func describeSuccession(path string, data []byte, life time.Duration) ([]Entry, error) {
	s, err := readSuccession(strings.TrimSuffix(path, ".crt") + ".succession")
	if s == nil || err != nil || !SameCluster(data, s.Old) {
		return nil, err
	}
	old, next := describe("", path, s.Old), describe("", path, s.New)
	old.Renewed = nil
	if s.Step == StepTrust {
		old.Step, next.Kind, next.Renewed, next.Step = "signs", "next authority", nil, "is trusted since "+s.Since.Format(time.DateTime)
		return []Entry{old, next}, nil
	}
	old.Kind, old.Step = "former authority", "is trusted until "+s.Until(life).Format(time.DateTime)
	next.Step = "signs since " + s.Since.Format(time.DateTime)
	return []Entry{next, old}, nil
}

// ListKubeconfig describes the certificates of the users in a kubeconfig; only those of that name, unless it is "".
func ListKubeconfig(path, user string) (out []Entry, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file struct {
		Users []struct {
			Name string
			User struct {
				Certificate string `json:"client-certificate-data"`
			}
		}
	}
	name := filepath.Base(path)
	if err := yaml.Unmarshal(data, &file); err != nil {
		return []Entry{{Name: name, File: path, Error: err.Error()}}, nil
	}
	for _, u := range file.Users {
		if u.User.Certificate == "" || user != "" && u.Name != user {
			continue
		}
		pem, err := base64.StdEncoding.DecodeString(u.User.Certificate)
		if err != nil {
			out = append(out, Entry{Name: name, File: path, Error: err.Error()})
			continue
		}
		out = append(out, describe(name, path, pem))
	}
	return out, nil
}
