package pki

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
		if old.CheckSignatureFrom(a.Cert) != nil {
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

// RenewKubeconfig puts k's certificate in the place of an older one of the same user into a kubeconfig that has k's cluster, and
// leaves all else as it is; one that another cluster has the name in by now is left alone.
func RenewKubeconfig(path string, k Kubeconfig) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(k.CA))) {
		return nil
	}
	return editKubeconfig(path, func(file map[string]any) {
		cluster, user := entry(file, "clusters", "cluster", k.Name), entry(file, "users", "user", k.Name)
		if user == nil || cluster["certificate-authority-data"] != base64.StdEncoding.EncodeToString(k.CA) {
			return
		}
		user["client-certificate-data"], user["client-key-data"] = k.Cert, k.Key
	})
}
