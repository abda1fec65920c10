package role_test

import (
	"encoding/json"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	records "github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apps"
	"github.com/lighter-k8s/lighter/api/batch"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// TestStorageVersionHash: clients that migrate stored objects compare these between servers. Source: a kube-apiserver 1.37.2.
func TestStorageVersionHash(t *testing.T) {
	admin := api(t).as(t, "admin")
	for path, want := range map[string]string{
		"/api/v1 configmaps": "qFsyl6wFWjQ=", "/api/v1 pods": "xPOwRZ+Yhw8=", "/api/v1 events": "r2yiGXH7wu8=",
		"/apis/events.k8s.io/v1 events": "r2yiGXH7wu8=", "/apis/autoscaling/v1 horizontalpodautoscalers": "qwQve8ut294=",
		"/apis/apps/v1 deployments": "8aSe+NMegvE=", "/apis/certificates.k8s.io/v1 clustertrustbundles": "v5yhuVertL4=",
		"/apis/certificates.k8s.io/v1 podcertificaterequests": "wYA9yXQH8fg=", "/apis/resource.k8s.io/v1 devicetaintrules": "i+85+TcIKpA=",
		"/apis/storagemigration.k8s.io/v1 storageversionmigrations": "pCjmmKOkLy4=", "/apis/networking.k8s.io/v1 ingresses": "39NQlfNR+bo=",
	} {
		group, resource, _ := strings.Cut(path, " ")
		for _, r := range into[metav1.APIResourceList](t, admin.do(t, "GET", group, ""), 200).APIResources {
			if r.Name == resource && r.StorageVersionHash != want {
				t.Errorf("%s: %s, want %s", path, r.StorageVersionHash, want)
			}
		}
	}
}

// TestStoredByAnother: what Kubernetes' own API server stored lacks some defaults, which it fills in when it reads; so does
// this one.
func TestStoredByAnother(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	ns := p.namespace(t)
	put := func(i *records.Info, obj records.Object) {
		t.Helper()
		obj.SetNamespace(ns)
		obj.SetUID("u")
		value, err := records.EncodeStored(i, obj)
		if err != nil {
			t.Fatal(err)
		}
		at, err := p.Direct.Registry.Store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: watch.Key(i, ns, obj.GetName()), Value: value}}})
		if err == nil {
			err = p.Direct.Registry.State.Wait(t.Context(), uint64(at))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j"}}
	job.Spec.Template.Labels = map[string]string{"a": "b"}
	put(batch.Job, job)
	if got := into[batchv1.Job](t, admin.do(t, "GET", "/apis/batch/v1/namespaces/"+ns+"/jobs/j", ""), 200); got.Labels["a"] != "b" {
		t.Errorf("labels of the job: %v", got.Labels)
	}
	put(core.PersistentVolumeClaim, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}})
	if got := into[corev1.PersistentVolumeClaim](t, admin.do(t, "GET", "/api/v1/namespaces/"+ns+"/persistentvolumeclaims/c", ""), 200); got.Status.Phase != corev1.ClaimPending {
		t.Errorf("phase of the claim: %q", got.Status.Phase)
	}

	// Claim templates say what they are; their protobuf form does not. What is read can be written.
	path := "/apis/apps/v1/namespaces/" + ns + "/statefulsets"
	set := `"spec":{"serviceName":"s","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}},
		"volumeClaimTemplates":[{"metadata":{"name":"d"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}]}`
	made := into[appsv1.StatefulSet](t, admin.do(t, "POST", path, text("apps/v1", "StatefulSet", "s", set)), 201)
	read := admin.do(t, "GET", path+"/s", "")
	got := into[appsv1.StatefulSet](t, read, 200)
	for _, s := range []appsv1.StatefulSet{made, got} {
		if c := s.Spec.VolumeClaimTemplates[0]; c.Kind != "PersistentVolumeClaim" || c.APIVersion != "v1" {
			t.Errorf("a claim template is a %s %s", c.APIVersion, c.Kind)
		}
	}
	stored, err := p.Direct.Registry.Store.Get(t.Context(), watch.Key(apps.StatefulSet, ns, "s"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := records.DecodeStored(apps.StatefulSet, stored.Value); err != nil || o.(*appsv1.StatefulSet).Spec.VolumeClaimTemplates[0].Kind == "" {
		t.Errorf("decoded: %+v, %v", o, err)
	}
	put(apps.StatefulSet, func() *appsv1.StatefulSet { s := made.DeepCopy(); s.Name = "t"; return s }()) // not offered as a typed object
	other := into[appsv1.StatefulSet](t, admin.do(t, "GET", path+"/t", ""), 200)
	body, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	if a := admin.do(t, "PUT", path+"/t", string(body)); a.code != 200 {
		t.Errorf("what was read is refused: %s", a.body)
	}
}
