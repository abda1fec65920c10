package role_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestPutBack: what was created once can be put there again as it was written, although the server filled in what was left out.
func TestPutBack(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	claim := text("v1", "PersistentVolumeClaim", "c",
		`"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"dataSource":{"kind":"PersistentVolumeClaim","name":"b"}}`)
	all := "/api/v1/namespaces/" + ns + "/persistentvolumeclaims"
	into[map[string]any](t, admin.do(t, "POST", all, claim), http.StatusCreated)
	into[map[string]any](t, admin.do(t, "PUT", all+"/c", claim), http.StatusOK)
}

// TestTriedAsStored: a dry run answers with what would be read from the store.
func TestTriedAsStored(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	for _, tried := range []string{"?dryRun=All", ""} {
		a := admin.do(t, "POST", "/api/v1/namespaces/"+ns+"/limitranges"+tried, text("v1", "LimitRange", "l", `"spec":{"limits":[]}`))
		if a.code != http.StatusCreated || !strings.Contains(string(a.body), `"limits":null`) {
			t.Errorf("%q: %d %s", tried, a.code, a.body)
		}
	}
}

// TestDeletionsAnswer: what the answer to a deletion is, and what of it is marked. Source: what Kubernetes 1.37.2 answers.
func TestDeletionsAnswer(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	kind := func(path, body string) map[string]any {
		t.Helper()
		into[map[string]any](t, admin.do(t, "POST", path, body), http.StatusCreated)
		name, _, _ := strings.Cut(body[strings.Index(body, `"name":"`)+8:], `"`)
		return into[map[string]any](t, admin.do(t, "DELETE", path+"/"+name, ""), http.StatusOK)
	}
	template := kind("/api/v1/namespaces/"+ns+"/podtemplates", text("v1", "PodTemplate", "t", `"template":{"spec":{"containers":[{"name":"a","image":"a"}]}}`))
	meta, _ := template["metadata"].(map[string]any)
	if template["kind"] != "PodTemplate" || meta["deletionTimestamp"] != nil || meta["deletionGracePeriodSeconds"] != nil || meta["generation"] != 1.0 {
		t.Errorf("of a template, which goes at once: %v", template)
	}
	if class := kind("/apis/resource.k8s.io/v1/deviceclasses", text("resource.k8s.io/v1", "DeviceClass", "of-"+ns)); class["kind"] != "DeviceClass" {
		t.Errorf("of a class: %v", class)
	}
	unsafe := "/api/v1/namespaces/" + ns + "/configmaps"
	into[map[string]any](t, admin.do(t, "POST", unsafe, text("v1", "ConfigMap", "c")), http.StatusCreated)
	for body, query := range map[string]string{`{"ignoreStoreReadErrorWithClusterBreakingPotential":true}`: "", "": "?ignoreStoreReadErrorWithClusterBreakingPotential=true"} {
		if a := admin.do(t, "DELETE", unsafe+"/c"+query, body); a.code != http.StatusConflict || !strings.Contains(string(a.body), "AdditionalErrorMsg: unsafe deletion is not allowed because the object is decodable from storage") {
			t.Errorf("of an object that can be read, by a deletion for those that cannot: %d %s", a.code, a.body)
		}
	}
	into[map[string]any](t, admin.do(t, "GET", unsafe+"/c", ""), http.StatusOK)
	space := kind("/api/v1/namespaces", text("v1", "Namespace", "ends-"+ns))
	if meta, _ = space["metadata"].(map[string]any); meta["deletionTimestamp"] == nil || meta["deletionGracePeriodSeconds"] != nil {
		t.Errorf("of a namespace, which ends when it is empty: %v", space)
	}
}

// TestNoPatchNoWarning: a body that is no patch is refused before anything is said of its version. Source: what Kubernetes 1.37.2 answers.
func TestNoPatchNoWarning(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	for kind, want := range map[string]int{"text/plain": http.StatusUnsupportedMediaType, "application/merge-patch+json": http.StatusNotFound} {
		a := admin.do(t, "PATCH", "/api/v1/namespaces/"+ns+"/endpoints/none", "{}", "Content-Type: "+kind)
		if warned := a.header.Get("Warning") != ""; a.code != want || warned != (want == http.StatusNotFound) {
			t.Errorf("%s: %d, warned: %v", kind, a.code, warned)
		}
	}
}

// TestTaintOwned: who leaves out when a taint came owns the time that is set. Source: what Kubernetes 1.37.2 answers.
func TestTaintOwned(t *testing.T) {
	p := api(t)
	a := p.as(t, "admin").do(t, "POST", "/apis/resource.k8s.io/v1/devicetaintrules?dryRun=All", text("resource.k8s.io/v1", "DeviceTaintRule", "r",
		`"spec":{"deviceSelector":{"driver":"none.example.com"},"taint":{"key":"example.com/t","effect":"NoSchedule"}}`))
	if a.code != http.StatusCreated || !strings.Contains(string(a.body), `"f:taint":{"f:effect":{},"f:key":{},"f:timeAdded":{}}`) {
		t.Errorf("%d %s", a.code, a.body)
	}
}
