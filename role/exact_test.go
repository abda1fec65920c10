package role_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestExact reads objects and lists, whole and in pages, as they were at every revision of a short story.
func TestExact(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	path := "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
	create := func(name, v string) string {
		return into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", path, text("v1", "ConfigMap", name, `"data":{"v":"`+v+`"}`)), 201).ResourceVersion
	}
	story := map[string]string{} // revision -> what is there
	story[create("a", "1")] = "a=1"
	story[create("b", "1")] = "a=1 b=1"
	story[create("c", "1")] = "a=1 b=1 c=1"
	story[into[metav1.PartialObjectMetadata](t, admin.do(t, "PATCH", path+"/a", `{"data":{"v":"2"}}`, merge), 200).ResourceVersion] = "a=2 b=1 c=1"
	if a := admin.do(t, "DELETE", path+"/b", ""); a.code != 200 {
		t.Fatalf("delete: HTTP %d", a.code)
	}
	story[fmt.Sprint(p.revision())] = "a=2 c=1"
	for at, want := range story {
		query := "?resourceVersionMatch=Exact&resourceVersion=" + at
		var got []string
		next := ""
		for first := true; first || next != ""; first = false {
			q := query + "&limit=2"
			if next != "" {
				q = "?limit=2&continue=" + next
			}
			list := into[corev1.ConfigMapList](t, admin.do(t, "GET", path+q, ""), 200)
			if list.ResourceVersion != at {
				t.Errorf("a list at %s says %s", at, list.ResourceVersion)
			}
			for _, c := range list.Items {
				got = append(got, c.Name+"="+c.Data["v"])
			}
			next = list.Continue
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("pages at %s show %q, want %q", at, s, want)
		}
		for _, name := range []string{"a", "b", "c"} {
			a := admin.do(t, "GET", path+"/"+name+query, "")
			if !strings.Contains(want, name+"=") {
				if a.code != 404 {
					t.Errorf("%s at %s: HTTP %d, want 404", name, at, a.code)
				}
				continue
			}
			if c := into[corev1.ConfigMap](t, a, 200); !strings.Contains(want, name+"="+c.Data["v"]) {
				t.Errorf("%s at %s is %s, want it as in %q", name, at, c.Data["v"], want)
			}
		}
	}
	if a := admin.do(t, "GET", path+"/a?resourceVersionMatch=Exact", ""); a.code != 400 {
		t.Errorf("exact without a revision: HTTP %d, want 400", a.code)
	}
}
