package role_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
)

// TestFurtherVersions makes an object of every version that is not served by default and reads it in that version and in the
// one that it is stored in.
func TestFurtherVersions(t *testing.T) {
	server := serveVersions(t, map[string]string{"api/all": "true"})
	const (
		policy  = `{failurePolicy: Ignore, reinvocationPolicy: IfNeeded, matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}, mutations: [{patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: \"add\", path: \"/metadata/annotations/x\", value: \"y\"}]"}}]}`
		binding = `{policyName: p, paramRef: {name: x, parameterNotFoundAction: Deny}}`
		taint   = `{deviceSelector: {driver: gpu.example.com, pool: p}, taint: {key: example.com/k, value: v, effect: NoSchedule, timeAdded: "2026-01-01T00:00:00Z"}}`
		class   = `{selectors: [{cel: {expression: "true"}}], config: [{opaque: {driver: gpu.example.com, parameters: {a: 1}}}]}`
		claim   = `{devices: {requests: [{name: r, exactly: {deviceClassName: c, count: 2, allocationMode: ExactCount}}, {name: s, firstAvailable: [{name: t, deviceClassName: c}]}], constraints: [{requests: [r], matchAttribute: gpu.example.com/a}]}}`
		flat    = `{devices: {requests: [{name: r, deviceClassName: c, count: 2, allocationMode: ExactCount}, {name: s, firstAvailable: [{name: t, deviceClassName: c}]}], constraints: [{requests: [r], matchAttribute: gpu.example.com/a}]}}`
		slice   = `{driver: gpu.example.com, nodeName: n1, pool: {name: p, generation: 1, resourceSliceCount: 1}, devices: [{name: d, attributes: {a: {int: 3}}, capacity: {mem: {value: 4Gi}}}]}`
		basic   = `{driver: gpu.example.com, nodeName: n1, pool: {name: p, generation: 1, resourceSliceCount: 1}, devices: [{name: d, basic: {attributes: {a: {int: 3}}, capacity: {mem: {value: 4Gi}}}}]}`
		leader  = `{leaseName: x, binaryVersion: 1.37.0, emulationVersion: 1.37.0, strategy: OldestEmulationVersion}`
	)
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	bundle := string(pemOf(ca))
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := `{signerName: example.com/s, podName: p, podUID: 0f2c219b-bc61-4391-91cd-e3bbe7091087, serviceAccountName: default, serviceAccountUID: 0f2c219b-bc61-4391-91cd-e3bbe7091088, nodeName: n1, nodeUID: 0f2c219b-bc61-4391-91cd-e3bbe7091089, maxExpirationSeconds: 3600, stubPKCS10Request: ` + base64.StdEncoding.EncodeToString(request) + `}`
	for _, c := range []struct{ group, version, plural, kind, namespace, spec, stable, as string }{
		{"admissionregistration.k8s.io", "v1beta1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", "", policy, "v1", policy},
		{"admissionregistration.k8s.io", "v1alpha1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", "", policy, "v1", policy},
		{"admissionregistration.k8s.io", "v1beta1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", "", binding, "v1", binding},
		{"admissionregistration.k8s.io", "v1alpha1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", "", binding, "v1", binding},
		{"coordination.k8s.io", "v1beta1", "leasecandidates", "LeaseCandidate", "default", leader, "v1alpha2", leader},
		{"coordination.k8s.io", "v1alpha2", "leasecandidates", "LeaseCandidate", "default", leader, "v1beta1", leader},
		{"resource.k8s.io", "v1beta2", "deviceclasses", "DeviceClass", "", class, "v1", class},
		{"resource.k8s.io", "v1beta1", "deviceclasses", "DeviceClass", "", class, "v1", class},
		{"resource.k8s.io", "v1beta2", "devicetaintrules", "DeviceTaintRule", "", taint, "v1", taint},
		{"resource.k8s.io", "v1alpha3", "devicetaintrules", "DeviceTaintRule", "", taint, "v1", taint},
		{"resource.k8s.io", "v1beta2", "resourceclaims", "ResourceClaim", "default", claim, "v1", claim},
		{"resource.k8s.io", "v1beta1", "resourceclaims", "ResourceClaim", "default", flat, "v1", claim},
		{"resource.k8s.io", "v1beta2", "resourceclaimtemplates", "ResourceClaimTemplate", "default", "{spec: " + claim + "}", "v1", "{spec: " + claim + "}"},
		{"resource.k8s.io", "v1beta1", "resourceclaimtemplates", "ResourceClaimTemplate", "default", "{spec: " + flat + "}", "v1", "{spec: " + claim + "}"},
		{"resource.k8s.io", "v1beta2", "resourceslices", "ResourceSlice", "", slice, "v1", slice},
		{"resource.k8s.io", "v1beta1", "resourceslices", "ResourceSlice", "", basic, "v1", slice},
		{"resource.k8s.io", "v1alpha3", "resourcepoolstatusrequests", "ResourcePoolStatusRequest", "", `{driver: gpu.example.com, limit: 7}`, "", ""},
		{"internal.apiserver.k8s.io", "v1alpha1", "storageversions", "StorageVersion", "", `{}`, "", ""},
		{"storagemigration.k8s.io", "v1beta1", "storageversionmigrations", "StorageVersionMigration", "", `{resource: {group: apps, resource: deployments}}`, "v1", `{resource: {group: apps, resource: deployments}}`},
		{"certificates.k8s.io", "v1beta1", "clustertrustbundles", "ClusterTrustBundle", "", "{trustBundle: " + jsonText(bundle) + "}", "v1", "{trustBundle: " + jsonText(bundle) + "}"},
		{"certificates.k8s.io", "v1beta1", "podcertificaterequests", "PodCertificateRequest", "default", certificate, "v1", certificate},
	} {
		t.Run(c.group+"/"+c.version+"/"+c.plural, func(t *testing.T) {
			at := func(version string) string {
				if c.namespace != "" {
					return "/apis/" + c.group + "/" + version + "/namespaces/" + c.namespace + "/" + c.plural
				}
				return "/apis/" + c.group + "/" + version + "/" + c.plural
			}
			name := "apps.a" // a StorageVersion has such a name
			body, err := yaml.YAMLToJSON([]byte(fmt.Sprintf("{apiVersion: %s/%s, kind: %s, metadata: {name: %s, finalizers: [example.com/hold]}, spec: %s}", c.group, c.version, c.kind, name, c.spec)))
			if err != nil {
				t.Fatal(err)
			}
			made := server.do(t, "POST", at(c.version), string(body))
			if made.code != 201 {
				t.Fatalf("HTTP %d: %s", made.code, made.body)
			}
			holds := func(version, spec string) {
				t.Helper()
				got := into[map[string]any](t, server.do(t, "GET", at(version)+"/"+name, ""), 200)
				if got["apiVersion"] != c.group+"/"+version || got["kind"] != c.kind {
					t.Errorf("%s answers with a %v %v", version, got["apiVersion"], got["kind"])
				}
				var want any
				if err := yaml.Unmarshal([]byte(spec), &want); err != nil {
					t.Fatal(err)
				}
				if text := lacks(want, got["spec"], "spec"); text != "" {
					t.Errorf("%s: %s", version, text)
				}
			}
			holds(c.version, c.spec)
			if c.stable != "" {
				holds(c.stable, c.as)
			}
			other := c.stable
			if other == "" {
				other = c.version
			}
			into[map[string]any](t, server.do(t, "PATCH", at(other)+"/"+name, `{"metadata":{"labels":{"seen":"yes"}}}`, "Content-Type: application/merge-patch+json"), 200)
			list := into[struct {
				Kind  string
				Items []struct {
					Metadata struct{ Labels map[string]string }
				}
			}](t, server.do(t, "GET", at(c.version)+"?labelSelector=seen", ""), 200)
			if list.Kind != c.kind+"List" || len(list.Items) != 1 || list.Items[0].Metadata.Labels["seen"] != "yes" {
				t.Errorf("list %+v", list)
			}
			apply := strings.Replace(string(body), `"finalizers":["example.com/hold"],`, "", 1)
			into[map[string]any](t, server.do(t, "PATCH", at(c.version)+"/"+name+"?fieldManager=test&force=true", apply, "Content-Type: application/apply-patch+yaml"), 200)
			into[map[string]any](t, server.do(t, "DELETE", at(c.version)+"/"+name, ""), 200)
			server.do(t, "PATCH", at(other)+"/"+name, `{"metadata":{"finalizers":null}}`, "Content-Type: application/merge-patch+json")
			if gone := server.do(t, "GET", at(c.version)+"/"+name, ""); gone.code != 404 {
				t.Errorf("it is still there: HTTP %d", gone.code)
			}
		})
	}
}

// TestFurtherVersionsAreNoWayAround: what admission and quota know of a type holds in each of its versions.
func TestFurtherVersionsAreNoWayAround(t *testing.T) {
	server := serveVersions(t, map[string]string{"api/beta": "true"})
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	for _, step := range []struct {
		path, body, as string
		code           int
	}{
		{"/apis/rbac.authorization.k8s.io/v1/clusterroles", `{"metadata":{"name":"bundles"},"rules":[{"apiGroups":["certificates.k8s.io"],"resources":["clustertrustbundles"],"verbs":["create"]}]}`, "", 201},
		{"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", `{"metadata":{"name":"bundles"},"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"bundles"},"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"eve"}]}`, "", 201},
		{"/apis/certificates.k8s.io/v1/clustertrustbundles", `{"metadata":{"name":"example.com:s:a"},"spec":{"signerName":"example.com/s","trustBundle":` + jsonText(string(pemOf(ca))) + `}}`, "eve", 403},
		{"/apis/certificates.k8s.io/v1beta1/clustertrustbundles", `{"metadata":{"name":"example.com:s:a"},"spec":{"signerName":"example.com/s","trustBundle":` + jsonText(string(pemOf(ca))) + `}}`, "eve", 403},
		{"/api/v1/namespaces/default/resourcequotas", `{"metadata":{"name":"few"},"spec":{"hard":{"c.deviceclass.resource.k8s.io/devices":"1"}}}`, "", 201},
		{"/api/v1/namespaces/default/resourcequotas/few/status", `{"status":{"hard":{"c.deviceclass.resource.k8s.io/devices":"1"},"used":{"c.deviceclass.resource.k8s.io/devices":"0"}}}`, "", 200},
		{"/apis/resource.k8s.io/v1/namespaces/default/resourceclaims", `{"metadata":{"name":"a"},"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"c","count":2}}]}}}`, "", 403},
		{"/apis/resource.k8s.io/v1beta2/namespaces/default/resourceclaims", `{"metadata":{"name":"a"},"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"c","count":2}}]}}}`, "", 403},
		{"/apis/resource.k8s.io/v1beta1/namespaces/default/resourceclaims", `{"metadata":{"name":"a"},"spec":{"devices":{"requests":[{"name":"r","deviceClassName":"c","count":2}]}}}`, "", 403},
		{"/apis/resource.k8s.io/v1beta1/namespaces/default/resourceclaims", `{"metadata":{"name":"a"},"spec":{"devices":{"requests":[{"name":"r","deviceClassName":"c","count":1}]}}}`, "", 201},
	} {
		var headers []string
		if step.as != "" {
			headers = append(headers, "Impersonate-User: "+step.as)
		}
		method := "POST"
		if strings.HasSuffix(step.path, "/status") {
			method, headers = "PATCH", append(headers, "Content-Type: application/merge-patch+json")
		}
		if a := server.do(t, method, step.path, step.body, headers...); a.code != step.code {
			t.Errorf("%s: HTTP %d, want %d: %s", step.path, a.code, step.code, a.body)
		}
	}
}

func jsonText(s string) string { data, _ := json.Marshal(s); return string(data) }

// serveVersions starts a server with a --runtime-config and gives its administrator's client.
func serveVersions(t *testing.T, runtimeConfig map[string]string) (admin caller) {
	t.Helper()
	dir := t.TempDir()
	serve(t, dir, func(c *config.Config) { c.Server.Store, c.Server.RuntimeConfig = "memory", runtimeConfig })
	rc, err := clientcmd.BuildConfigFromFlags("", role.KubeconfigPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	admin.url = strings.TrimSuffix(rc.Host, "/")
	if admin.http, err = rest.HTTPClientFor(rc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.http.CloseIdleConnections)
	return admin
}

// lacks says what of want is not in got; got may have more.
func lacks(want, got any, path string) string {
	switch w := want.(type) {
	case map[string]any:
		g, _ := got.(map[string]any)
		for key, value := range w {
			if text := lacks(value, g[key], path+"."+key); text != "" {
				return text
			}
		}
	case []any:
		g, _ := got.([]any)
		if len(g) != len(w) {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
		for n := range w {
			if text := lacks(w[n], g[n], fmt.Sprintf("%s[%d]", path, n)); text != "" {
				return text
			}
		}
	default:
		if fmt.Sprint(want) != fmt.Sprint(got) {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
	}
	return ""
}

// TestRuntimeConfigTakesAway: what is off is not answered, and the server's own parts live on.
func TestRuntimeConfigTakesAway(t *testing.T) {
	server := serveVersions(t, map[string]string{"batch/v1/cronjobs": "false", "policy/v1": "false", "coordination.k8s.io/v1beta1": "true"})
	for path, code := range map[string]int{
		"/apis/batch/v1/jobs": 200, "/apis/batch/v1/cronjobs": 404, "/apis/policy/v1": 404, "/apis/policy/v1/poddisruptionbudgets": 404, "/apis/policy": 404,
		"/apis/coordination.k8s.io/v1beta1/leasecandidates": 200, "/apis/coordination.k8s.io/v1alpha2/leasecandidates": 404, "/apis/resource.k8s.io/v1beta1": 404,
		"/openapi/v3/apis/policy/v1": 404, "/openapi/v3/apis/coordination.k8s.io/v1beta1": 200,
	} {
		if a := server.do(t, "GET", path, ""); a.code != code {
			t.Errorf("%s: HTTP %d, want %d", path, a.code, code)
		}
	}
	if _, err := tryServe(t, t.TempDir(), func(c *config.Config) {
		c.Server.Store, c.Server.RuntimeConfig = "memory", map[string]string{"apps/v7": "true"}
	}); err == nil || !strings.Contains(err.Error(), "group version apps/v7 that has not been registered") {
		t.Errorf("apps/v7: %v", err)
	}
}
