package core

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func TestBundleOfAProjectedFile(t *testing.T) {
	for name, fine := range map[string]bool{
		"roots":                             true,
		"example.com:signer:roots":          true,
		"test.test:signer-hundreds-of-0:77": true,
		"example.com:signer:":               false,
		"example.com/signer":                false,
		"Roots":                             false,
	} {
		errs := validateBundleFile(&corev1.ClusterTrustBundleProjection{Name: &name, Path: "ca.pem"}, field.NewPath("clusterTrustBundle"))
		if fine != (len(errs) == 0) {
			t.Errorf("%q: %v", name, errs)
		}
	}
}
