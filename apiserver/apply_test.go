package apiserver

import (
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
	"github.com/lighter-k8s/lighter/api/managed"
)

// FuzzConfiguration applies whatever comes to nothing and to what came of that.
func FuzzConfiguration(f *testing.F) {
	var pods *api.Info
	for _, i := range builtin.All() {
		if i.Resource == "pods" {
			pods = i
		}
	}
	for _, s := range []string{"", "a: b: c", "- a", "{}", "apiVersion: v1\nkind: Pod", "apiVersion: v1\nkind: Pod\nmetadata: x", "apiVersion: 1\nkind: [Pod]",
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","managedFields":[{}]}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":null,"ownerReferences":[{"uid":"x"},{}]}}`,
		`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c","ports":[{"containerPort":80},{"containerPort":80.5}],"resources":{"limits":{"cpu":1}}}]}}`,
		`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[null],"tolerations":[{}],"nodeSelector":{"a":null}}}`,
		"apiVersion: v1\nkind: Pod\nspec: {activeDeadlineSeconds: 9999999999999999999999}", "a: &a [*a]", "a: &a {b: 1}\n<<: *a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config, _, err := configuration(pods, data)
		if err != nil {
			return
		}
		a := managed.Apply{Manager: "m", Force: true, Now: time.Unix(1e9, 0)}
		obj, err := a.Merge(pods, nil, config)
		if err != nil {
			return
		}
		if again, err := a.Merge(pods, obj, config); err == nil && len(again.GetManagedFields()) > 1 {
			t.Errorf("owners: %v", again.GetManagedFields())
		}
	})
}
