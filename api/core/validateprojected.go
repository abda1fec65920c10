package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// validateProjected checks the sources of a projected volume, and that no two write the same file.
func validateProjected(sources []corev1.VolumeProjection, path *field.Path) (errs field.ErrorList) {
	taken := api.Again[string]()
	claim := func(p, name string, at *field.Path) {
		if p != "" && taken(p) {
			errs = append(errs, field.Invalid(at, name, "conflicting duplicate paths"))
		}
	}
	need := func(value string, at *field.Path) {
		if value == "" {
			errs = append(errs, field.Required(at, ""))
		}
	}
	for i, s := range sources {
		at, n := path.Child("sources").Index(i), 0
		if r := s.Secret; r != nil {
			n++
			need(r.Name, at.Child("secret", "name"))
			errs = append(errs, validateItems(r.Items, true, at.Child("secret", "items"))...)
			for _, item := range r.Items {
				claim(item.Path, r.Name, path)
			}
		}
		if r := s.ConfigMap; r != nil {
			n++
			need(r.Name, at.Child("configMap", "name"))
			errs = append(errs, validateItems(r.Items, true, at.Child("configMap", "items"))...)
			for _, item := range r.Items {
				claim(item.Path, r.Name, path)
			}
		}
		if r := s.DownwardAPI; r != nil {
			n++
			errs = append(errs, validateDownward(r.Items, true, at.Child("downwardAPI"))...)
			for _, item := range r.Items {
				claim(item.Path, item.Path, path)
			}
		}
		if r := s.ServiceAccountToken; r != nil {
			n++
			errs = append(errs, validateTokenFile(r, at.Child("serviceAccountToken"), path.Child("path"))...)
			claim(r.Path, r.Path, path)
		}
		if r := s.ClusterTrustBundle; r != nil {
			n++
			errs = append(errs, validateBundleFile(r, at.Child("clusterTrustBundle"))...)
			claim(r.Path, r.Path, at.Child("clusterTrustBundle", "path"))
		}
		if r := s.PodCertificate; r != nil {
			n++
			in := at.Child("podCertificate")
			errs = append(errs, validateCertificateFile(r, in)...)
			claim(r.CredentialBundlePath, r.CredentialBundlePath, in.Child("credentialBundlePath"))
			claim(r.KeyPath, r.KeyPath, in.Child("keyPath"))
			claim(r.CertificateChainPath, r.CertificateChainPath, in.Child("certificateChainPath"))
		}
		if n > 1 {
			errs = append(errs, field.Forbidden(at, "may not specify more than 1 volume type per source"))
		}
	}
	return errs
}

func validateTokenFile(r *corev1.ServiceAccountTokenProjection, at, path *field.Path) (errs field.ErrorList) {
	switch in := at.Child("expirationSeconds"); {
	case r.ExpirationSeconds == nil:
		errs = append(errs, field.Required(in, ""))
	case *r.ExpirationSeconds < 10*60:
		errs = append(errs, field.Invalid(in, *r.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
	case *r.ExpirationSeconds > 1<<32:
		errs = append(errs, field.Invalid(in, *r.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if r.Path == "" {
		errs = append(errs, field.Required(path, ""))
	} else {
		errs = append(errs, localFile(r.Path, path)...)
	}
	return append(errs, fileUser(r.User, at.Child("user"))...)
}

func validateBundleFile(r *corev1.ClusterTrustBundleProjection, at *field.Path) (errs field.ErrorList) {
	switch name, signer := at.Child("name"), at.Child("signerName"); {
	case r.Name != nil && r.SignerName != nil:
		errs = append(errs, field.Invalid(at, "", "only one of name and signerName may be used"))
	case r.Name != nil:
		if *r.Name == "" {
			errs = append(errs, field.Required(name, "must be a valid object name"))
		}
		// As bundles are named: the signer's name and colons may stand before it.
		for _, msg := range api.DNSSubdomain((*r.Name)[strings.LastIndexByte(*r.Name, ':')+1:]) {
			errs = append(errs, field.Invalid(name, *r.Name, "not a valid clustertrustbundlename: "+msg))
		}
	case r.SignerName != nil:
		if *r.SignerName == "" {
			errs = append(errs, field.Required(signer, "must be a valid signer name"))
		}
		errs = append(errs, validateSignerName(*r.SignerName, signer)...)
	default:
		errs = append(errs, field.Required(at, "either name or signerName must be specified"))
	}
	if r.Path == "" {
		errs = append(errs, field.Required(at.Child("path"), ""))
	}
	errs = append(errs, localFile(r.Path, at.Child("path"))...)
	return append(errs, fileUser(r.User, at.Child("user"))...)
}

// validateSignerName: a domain of two parts or more, a slash, and a path of names with dots.
func validateSignerName(name string, path *field.Path) (errs field.ErrorList) {
	if name == "" {
		return required(path, "")
	}
	domain, rest, ok := strings.Cut(name, "/")
	if !ok || strings.Contains(rest, "/") {
		return field.ErrorList{field.Invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	errs = append(errs, each(path, domain, api.DNSSubdomain(domain))...)
	if len(strings.Split(domain, ".")) < 2 {
		errs = append(errs, field.Invalid(path, domain, "should be a domain with at least two segments separated by dots"))
	}
	if rest == "" {
		return append(errs, field.Invalid(path, rest, "validation failed for signerName path segment"))
	}
	return append(errs, each(path, rest, api.DNSSubdomain(rest))...)
}

// Key types in the order upstream's messages list them.
var certificateKeys = []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"}

func validateCertificateFile(r *corev1.PodCertificateProjection, at *field.Path) (errs field.ErrorList) {
	errs = append(errs, validateSignerName(r.SignerName, at.Child("signerName"))...)
	if at := at.Child("userAnnotations"); true {
		for _, key := range SortedKeys(r.UserAnnotations) {
			if key == "" {
				errs = append(errs, field.Required(at, ""))
				continue
			}
			bad := each(at, strings.ToLower(key), validation.IsQualifiedName(strings.ToLower(key)))
			if len(bad) == 0 && !strings.Contains(key, "/") {
				bad = append(bad, field.Invalid(at, key, "must be a domain-prefixed key (such as \"acme.io/foo\")"))
			}
			errs = append(errs, bad...)
		}
	}
	errs = append(errs, fileUser(r.User, at.Child("user"))...)
	if !slices.Contains(certificateKeys, r.KeyType) {
		errs = append(errs, &field.Error{Type: field.ErrorTypeNotSupported, Field: at.Child("keyType").String(), BadValue: r.KeyType, Detail: "supported values: \"" + strings.Join(certificateKeys, "\", \"") + "\""})
	}
	if n := r.MaxExpirationSeconds; n != nil {
		// Source: PodCertificateProjection's comment: at least an hour, at most 91 days.
		switch at := at.Child("maxExpirationSeconds"); {
		case *n < 3600:
			errs = append(errs, field.Invalid(at, *n, "if provided, maxExpirationSeconds must be >= 3600"))
		case *n > 91*24*3600:
			errs = append(errs, field.Invalid(at, *n, "if provided, maxExpirationSeconds must be <= 7862400"))
		}
	}
	paths := 0
	for _, p := range []struct{ path, name string }{{r.CredentialBundlePath, "credentialBundlePath"}, {r.KeyPath, "keyPath"}, {r.CertificateChainPath, "certificateChainPath"}} {
		if p.path != "" {
			paths++
			errs = append(errs, localFile(p.path, at.Child(p.name))...)
		}
	}
	if paths == 0 {
		errs = append(errs, field.Required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
	return errs
}
