package pki

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"sigs.k8s.io/yaml"
)

// Reissue replaces the certificate kept as <dir>/name.crt and its key by a new one for the same subject, names and purposes, signed by
// the authority that signed the old one, which is one of these. No process uses it meanwhile, or it reads it anew for each connection.
func Reissue(dir, name string, authorities ...*Authority) error {
	path := filepath.Join(dir, name+".crt")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	old, err := ParseCertificate(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if old.IsCA {
		return fmt.Errorf("%s is an authority", name)
	}
	for _, a := range authorities {
		if !slices.ContainsFunc(a.Trusted(), func(c *x509.Certificate) bool { return old.CheckSignatureFrom(c) == nil }) {
			continue
		}
		pair, err := a.Issue(Spec{CommonName: old.Subject.CommonName, Organizations: old.Subject.Organization,
			DNSNames: old.DNSNames, IPs: old.IPAddresses, Usages: old.ExtKeyUsage})
		if err != nil {
			return err
		}
		return pair.Save(path, filepath.Join(dir, name+".key"))
	}
	return errors.New("it was not signed by an authority of this data directory")
}

// RenewKubeconfig puts k's certificate and authorities in the place of older ones of the same user into a kubeconfig that has k's
// cluster, and leaves all else as it is; one that another cluster has the name in by now is left alone.
func RenewKubeconfig(path string, k Kubeconfig) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if ours, err := hasCluster(data, k); !ours || err != nil {
		return err
	}
	return editKubeconfig(path, func(file map[string]any) {
		user := entry(file, "users", "user", k.Name)
		if user == nil || !ofCluster(entry(file, "clusters", "cluster", k.Name), k) {
			return
		}
		user["client-certificate-data"], user["client-key-data"] = k.Cert, k.Key
		for _, name := range append(further(file, k.Name), k.Name) {
			if c := entry(file, "clusters", "cluster", name); ofCluster(c, k) {
				c["certificate-authority-data"] = k.CA
			}
		}
	})
}

// hasCluster tells whether a kubeconfig has k's cluster, under its name.
func hasCluster(data []byte, k Kubeconfig) (bool, error) {
	file := map[string]any{}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return false, err
	}
	return ofCluster(entry(file, "clusters", "cluster", k.Name), k), nil
}

func ofCluster(cluster map[string]any, k Kubeconfig) bool {
	encoded, _ := cluster["certificate-authority-data"].(string)
	ca, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && SameCluster(ca, k.CA)
}
