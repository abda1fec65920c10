package api

import "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

// HasPlan tells whether objects of i become JSON without being decoded.
func HasPlan(i *Info) bool { return planOf(i) != nil }

// ReadLoose reads an object without a Go type, what managers own apart from the rest however little it is.
func ReadLoose(raw []byte) (map[string]any, error) {
	u := &unstructured.Unstructured{}
	err := readLoose(raw, u, 0)
	return u.Object, err
}

// Apart tells whether what managers own is read apart.
func Apart(raw []byte) bool {
	_, _, ok := apart(raw, 0)
	return ok
}

var IsCanonical = isCanonical
