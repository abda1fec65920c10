package role_test

import (
	"bufio"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is here was compared with Kubernetes 1.37.2's answers; its e2e suite asks for most of it.

func TestBetaTables(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	path := "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
	for _, name := range []string{"a", "b"} {
		into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", path, text("v1", "ConfigMap", name, `"data":{"k":"v"}`)), 201)
	}
	const beta, as = "meta.k8s.io/v1beta1", ";g=meta.k8s.io;v=v1beta1"
	for query, kind := range map[string]string{"/a": beta + " PartialObjectMetadata", "/a?includeObject=Object": "v1 ConfigMap", "": beta + " PartialObjectMetadata"} {
		table := into[metav1.Table](t, admin.do(t, "GET", path+query, "", "Accept: application/json;as=Table"+as), 200)
		row := string(table.Rows[0].Object.Raw)
		apiVersion, inner, _ := strings.Cut(kind, " ")
		if table.APIVersion != beta || len(table.ColumnDefinitions) != 3 || !strings.Contains(row, `"kind":"`+inner+`","apiVersion":"`+apiVersion+`"`) {
			t.Errorf("%s: %s, row %s", query, table.APIVersion, row)
		}
	}
	one := into[metav1.PartialObjectMetadata](t, admin.do(t, "GET", path+"/a", "", "Accept: application/json;as=PartialObjectMetadata"+as), 200)
	list := into[metav1.PartialObjectMetadataList](t, admin.do(t, "GET", path, "", "Accept: application/json;as=PartialObjectMetadataList"+as), 200)
	if one.APIVersion != beta || list.APIVersion != beta || len(list.Items) != 2 || list.Items[1].APIVersion != beta {
		t.Errorf("metadata in %s, a list in %s: %v", one.APIVersion, list.APIVersion, list.Items)
	}
	if a := admin.do(t, "GET", path, "", "Accept: application/json;as=Table;g=meta.k8s.io;v=v1alpha1"); a.code != 406 {
		t.Errorf("a version that never was: HTTP %d", a.code)
	}
	for _, query := range []string{"/a?", "?", "?watch=1&"} {
		a := admin.do(t, "GET", path+query+"includeObject=Some", "", "Accept: application/json;as=Table"+as)
		if a.code != 400 || !strings.Contains(a.status().Message, `includeObject: Invalid value: "Some"`) {
			t.Errorf("%s: HTTP %d: %s", query, a.code, a.body)
		}
	}
}

func TestTablesOfAWatchSayTheirColumnsOnce(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	path := "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
	for _, name := range []string{"a", "b"} {
		into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", path, text("v1", "ConfigMap", name)), 201)
	}
	a := admin.do(t, "GET", path+"?watch=1&timeoutSeconds=1", "", "Accept: application/json;as=Table;g=meta.k8s.io;v=v1")
	var columns []bool
	for lines := bufio.NewScanner(strings.NewReader(string(a.body))); lines.Scan(); {
		columns = append(columns, strings.Contains(lines.Text(), `"columnDefinitions":[`))
	}
	if len(columns) != 2 || !columns[0] || columns[1] {
		t.Errorf("which events have columns: %v", columns)
	}
}

func TestWhoReadsIndentedJSON(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	tests := map[string]struct {
		agent, query string
		indented     bool
	}{
		"a tool for people":     {"curl/8.1", "", true},
		"a browser":             {"Mozilla/5.0 (X11)", "", true},
		"one who does not want": {"Wget/1.2", "?pretty=false", false},
		"a client":              {"kubectl/v1.37", "", false},
		"one who wants":         {"kubectl/v1.37", "?pretty=1", true},
	}
	for name, tt := range tests {
		a := admin.do(t, "GET", "/api/v1/namespaces/default"+tt.query, "", "User-Agent: "+tt.agent)
		if got := strings.HasPrefix(string(a.body), "{\n"); a.code != 200 || got != tt.indented {
			t.Errorf("%s: HTTP %d, indented %v", name, a.code, got)
		}
	}
}

func TestTimeouts(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	for query, code := range map[string]int{"/version?timeout=soon": 400, "/api/v1/namespaces?timeout=1": 400, "/version?timeout=3m": 200, "/version?timeout=0s": 200,
		"/api/v1/namespaces?timeout=-5s": 200, "/api/v1/namespaces?watch=1&timeoutSeconds=1&timeout=soon": 200} {
		a := admin.do(t, "GET", query, "")
		if a.code != code || code == 400 && !strings.HasPrefix(a.status().Message, "invalid timeout specified in the request URL") {
			t.Errorf("%s: HTTP %d: %.200s", query, a.code, a.body)
		}
	}
}

// TestWhoLeavesDependents deletes without a word about dependents: ReplicationControllers and Jobs leave theirs.
func TestWhoLeavesDependents(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	ns := p.namespace(t)
	template := `"template":{"metadata":{"labels":{"a":"b"}},"spec":{"restartPolicy":%s,"containers":[{"name":"c","image":"i"}]}}`
	pods := func(restart string) string { return strings.ReplaceAll(template, "%s", `"`+restart+`"`) }
	tests := map[string]struct {
		path, object, options string
		finalizer             string // "": it goes at once
		warned                bool
	}{
		"a controller":                  {"/api/v1/namespaces/" + ns + "/replicationcontrollers", text("v1", "ReplicationController", "o", `"spec":{"replicas":0,`+pods("Always")+`}`), "", "orphan", false},
		"a job":                         {"/apis/batch/v1/namespaces/" + ns + "/jobs", text("batch/v1", "Job", "o", `"spec":{"suspend":true,`+pods("Never")+`}`), "", "orphan", true},
		"a job, with its pods":          {"/apis/batch/v1/namespaces/" + ns + "/jobs", text("batch/v1", "Job", "o", `"spec":{"suspend":true,`+pods("Never")+`}`), `{"propagationPolicy":"Background"}`, "", false},
		"a job, not leaving them":       {"/apis/batch/v1/namespaces/" + ns + "/jobs", text("batch/v1", "Job", "o", `"spec":{"suspend":true,`+pods("Never")+`}`), `{"orphanDependents":false}`, "", false},
		"a job that waits for its pods": {"/apis/batch/v1/namespaces/" + ns + "/jobs", text("batch/v1", "Job", "o", `"spec":{"suspend":true,`+pods("Never")+`}`), `{"propagationPolicy":"Foreground"}`, "foregroundDeletion", false},
		"a set": {"/apis/apps/v1/namespaces/" + ns + "/replicasets", text("apps/v1", "ReplicaSet", "o",
			`"spec":{"replicas":0,"selector":{"matchLabels":{"a":"b"}},`+pods("Always")+`}`), "", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", tt.path, tt.object), 201)
			a := admin.do(t, "DELETE", tt.path+"/o", tt.options)
			got := strings.Join(into[metav1.PartialObjectMetadata](t, a, 200).Finalizers, " ")
			if warned := strings.Contains(a.header.Get("Warning"), "child pods are preserved"); got != tt.finalizer || warned != tt.warned {
				t.Errorf("finalizers %q, want %q; warned %v", got, tt.finalizer, warned)
			}
			if tt.finalizer != "" {
				into[metav1.PartialObjectMetadata](t, admin.do(t, "PATCH", tt.path+"/o", `{"metadata":{"finalizers":null}}`, merge), 200)
			}
		})
	}
}

func TestReplaceWhatIsNotThere(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	path := "/apis/policy/v1/namespaces/" + p.namespace(t) + "/poddisruptionbudgets"
	if a := admin.do(t, "PUT", path+"/b", text("policy/v1", "PodDisruptionBudget", "b")); a.code != 404 {
		t.Errorf("HTTP %d: %s", a.code, a.body)
	}
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", path, text("policy/v1", "PodDisruptionBudget", "b")), 201)
	if a := admin.do(t, "PUT", path+"/b", text("policy/v1", "PodDisruptionBudget", "b")); a.code != 422 {
		t.Errorf("without a version, HTTP %d: %s", a.code, a.body)
	}
}

func TestComponents(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	const path = "/api/v1/componentstatuses"
	states := func(query string) string {
		var out []string
		for _, c := range into[corev1.ComponentStatusList](t, admin.do(t, "GET", path+query, ""), 200).Items {
			out = append(out, c.Name+"="+string(c.Conditions[0].Status))
		}
		return strings.Join(out, " ")
	}
	for query, want := range map[string]string{"": "scheduler=False controller-manager=False etcd-0=True", // this plane runs without the two
		"?labelSelector=a=b": "", "?fieldSelector=metadata.name=etcd-0": "etcd-0=True"} {
		if got := states(query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
	if c := into[corev1.ComponentStatus](t, admin.do(t, "GET", path+"/etcd-0", ""), 200); c.Conditions[0].Message != "ok" {
		t.Errorf("%+v", c)
	}
	if a := admin.do(t, "GET", path+"/none", ""); a.code != 404 || a.status().Message != `componentstatus "none" not found` {
		t.Errorf("HTTP %d: %s", a.code, a.body)
	}
	if table := into[metav1.Table](t, admin.do(t, "GET", path, "", "Accept: application/json;as=Table;g=meta.k8s.io;v=v1"), 200); len(table.Rows) != 3 {
		t.Errorf("table %+v", table)
	}
}

func TestHealthChecksAreCounted(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	for _, path := range []string{"/readyz", "/livez", "/livez"} {
		if a := admin.do(t, "GET", path, ""); a.code != 200 {
			t.Fatalf("%s: HTTP %d", path, a.code)
		}
	}
	body := string(admin.do(t, "GET", "/metrics/slis", "").body)
	for _, want := range []string{`kubernetes_healthcheck{name="store",type="readyz"} 1`, `kubernetes_healthchecks_total{name="ping",status="success",type="livez"} `} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is missing in %s", want, body)
		}
	}
}
