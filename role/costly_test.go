package role_test

import (
	"encoding/base64"
	varint "encoding/binary"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestCostly: no request takes more than 32 MiB or 24 times its bytes, client included, whatever is in it.
func TestCostly(t *testing.T) {
	p := api(t)
	ns, admin, nobody := p.namespace(t), p.as(t, "admin"), p.as(t, "anonymous")
	core := "/api/v1/namespaces/" + ns
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", core+"/configmaps", text("v1", "ConfigMap", "c", `"data":{"k":"v"}`)), 201)
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", core+"/pods", text("v1", "Pod", "p", podSpec)), 201)
	const most = 3<<20 - 1000
	many := func(format string, bytes int) string {
		var b strings.Builder
		for n := 0; b.Len() < bytes-60; n++ {
			if n > 0 {
				b.WriteByte(',')
			}
			if strings.Contains(format, "%") {
				fmt.Fprintf(&b, format, n)
			} else {
				b.WriteString(format)
			}
		}
		return b.String()
	}
	mixed := func(format string, bytes int) string { // numbers in no order
		var b strings.Builder
		for n := uint64(1); b.Len() < bytes-60; n++ {
			fmt.Fprintf(&b, format+",", n*2654435761%1000003)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	ops := func(n int, op string) string { return strings.TrimSuffix(strings.Repeat(op+",", n), ",") }
	envelope := func(version, kind, raw string) string {
		u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}, Raw: []byte(raw)}
		body, err := u.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return "k8s\x00" + string(body)
	}
	binary := func(kind, raw string) string { return envelope("v1", kind, raw) }
	nested := func(field int, inside string) string {
		return string(varint.AppendUvarint(varint.AppendUvarint(nil, uint64(field<<3|2)), uint64(len(inside)))) + inside
	}
	deep := func(field, levels int) (out string) {
		for range levels {
			out = nested(field, out)
		}
		return out
	}
	scaler := func(labels int) string {
		return `{"metadata":{"name":"h","labels":{` + many(`"k%05d":"v"`, 13*labels) + `}},"spec":{"scaleTargetRef":{"apiVersion":"apps/v1","kind":"Deployment","name":"d"},"maxReplicas":2}}`
	}
	json, js, sm, mp, pb := "Content-Type: application/json", "Content-Type: application/json-patch+json", "Content-Type: application/strategic-merge-patch+json", "Content-Type: application/merge-patch+json", "Content-Type: application/vnd.kubernetes.protobuf"
	apply := "Content-Type: application/apply-patch+yaml"
	policies := func(list string) string {
		return `{"metadata":{"name":"x"},"spec":{"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["secrets"]}]},"validations":[` + list + `]}}`
	}
	policy := func(expression string) string { return policies(`{"expression":"` + expression + `"}`) }
	encoded := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	const front = `{"op":"add","path":"/x","value":[]},`
	patches, pods, maps := core+"/configmaps/c", core+"/pods", core+"/configmaps"
	const policyPath, reviews = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies", "/apis/authentication.k8s.io/v1/tokenreviews"
	// Of each kind one that is refused for what it would cost, and one that is just below the bound.
	definition := func(name, properties string) string {
		return `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"` + name + `s.costly.example.com"},"spec":{"group":"costly.example.com","scope":"Namespaced","names":{"plural":"` + name + `s","singular":"` + name + `","kind":"` + strings.ToUpper(name) +
			`","listKind":"` + name + `List"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","properties":{` + properties + `}}}}}}]}}`
	}
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", maps, `{"metadata":{"name":"wide"},"data":{`+many(`"k%05d":"v"`, 13*20000)+`}}`), 201)
	request := func(bytes int) string {
		return `{"metadata":{"name":"c"},"spec":{"request":"` + base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERTIFICATE REQUEST-----\n"+strings.Repeat(strings.Repeat("A", 64)+"\n", bytes/65)+"-----END CERTIFICATE REQUEST-----\n")) +
			`","signerName":"example.com/a","usages":["digital signature"]}}`
	}
	claim := func(n int) string {
		selector := `{"cel":{"expression":"` + strings.Repeat(`device.attributes[\"a\"].b.matches(\"a+\") || `, 200) + `true"}}`
		return `{"metadata":{"name":"x"},"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"c","selectors":[` + ops(n, selector) + `]}}]}}}`
	}
	managed := func(fields string) string {
		return `{"metadata":{"name":"x","managedFields":[{"manager":"a","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{` + fields + `}}]},"data":{"a":"b"}}`
	}
	const claims = "/apis/resource.k8s.io/v1/namespaces/"
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", claims+ns+"/resourceclaims?dryRun=All", claim(1)), 201) // which makes the compiler
	for name, tt := range map[string]struct {
		method, path, kind, body string
		code                     int // 0: whatever
	}{
		"JSON patch, in front of a list":             {"PATCH", patches, js, "[" + front + ops(9999, `{"op":"add","path":"/x/0","value":0}`) + "]", 413},
		"JSON patch, in front of a list, near":       {"PATCH", patches, js, "[" + front + ops(1900, `{"op":"add","path":"/x/0","value":0}`) + "]", 200},
		"JSON patch, out of a long list":             {"PATCH", patches, js, `[{"op":"add","path":"/x","value":[` + many("0", 100000) + `]},` + ops(300, `{"op":"remove","path":"/x/0"}`) + "]", 413},
		"JSON patch, a list that is moved":           {"PATCH", patches, js, "[" + front + ops(2000, `{"op":"add","path":"/x/0","value":0},{"op":"move","from":"/x","path":"/y"},{"op":"add","path":"/y/0","value":0},{"op":"move","from":"/y","path":"/x"}`) + "]", 413},
		"JSON patch, many tests":                     {"PATCH", patches, js, "[" + ops(9999, `{"op":"test","path":"/data/k","value":"v"}`) + "]", 200},
		"JSON patch, values":                         {"PATCH", patches, js, `[{"op":"add","path":"/x","value":[` + many("{}", most) + `]}]`, 413},
		"JSON patch, containers":                     {"PATCH", pods + "/p", js, `[{"op":"add","path":"/spec/containers","value":[` + many("{}", 120000) + `]}]`, 413},
		"merge patch, values":                        {"PATCH", patches, mp, `{"x":[` + many("{}", most) + `]}`, 413},
		"merge patch, values, near":                  {"PATCH", patches, mp, `{"x":[` + many("{}", 3*24000) + `]}`, 0},
		"merge patch, keys":                          {"PATCH", patches, mp, `{"x":{` + many(`"k%d":{}`, most) + `}}`, 413},
		"merge patch, keys, near":                    {"PATCH", patches, mp, `{"x":{` + many(`"k%05d":{}`, 12*24000) + `}}`, 0},
		"strategic merge patch, containers":          {"PATCH", pods + "/p", sm, `{"spec":{"containers":[` + many(`{"name":"c%d"}`, 60000) + `]}}`, 413},
		"strategic merge patch, containers, near":    {"PATCH", pods + "/p", sm, `{"spec":{"containers":[` + many(`{"name":"c%03d"}`, 16*990) + `]}}`, 422},
		"strategic merge patch, order":               {"PATCH", pods + "/p", sm, `{"spec":{"$setElementOrder/containers":[` + many(`{"name":"c%d"}`, 60000) + `],"containers":[{"name":"c"}]}}`, 413},
		"strategic merge patch, order, near":         {"PATCH", pods + "/p", sm, `{"spec":{"$setElementOrder/containers":[` + many(`{"name":"c%03d"}`, 16*990) + `],"containers":[` + many(`{"name":"c%03d"}`, 16*990) + `]}}`, 422},
		"strategic merge patch, finalizers":          {"PATCH", pods + "/p", sm, `{"metadata":{"finalizers":[` + many(`"a.b/c%d"`, 60000) + `]}}`, 413},
		"JSON, containers":                           {"POST", pods, json, text("v1", "Pod", "q", `"spec":{"containers":[`+many("{}", 120000)+`]}`), 413},
		"JSON, containers, near":                     {"POST", pods, json, text("v1", "Pod", "q", `"spec":{"containers":[`+many("{}", 3*4000)+`]}`), 422},
		"JSON, owners":                               {"POST", maps, json, `{"metadata":{"name":"d","ownerReferences":[` + many("{}", 120000) + `]}}`, 413},
		"JSON, owners, near":                         {"POST", maps, json, `{"metadata":{"name":"d","ownerReferences":[` + many("{}", 3*6000) + `]}}`, 422},
		"protobuf, containers":                       {"POST", pods, pb, binary("Pod", nested(1, nested(1, "q"))+nested(2, strings.Repeat("\x12\x00", 50000))), 413},
		"protobuf, containers, near":                 {"POST", pods, pb, binary("Pod", nested(1, nested(1, "q"))+nested(2, strings.Repeat("\x12\x00", 4096))), 422},
		"protobuf, owners":                           {"POST", maps, pb, binary("ConfigMap", nested(1, nested(1, "q")+strings.Repeat("\x6a\x00", 50000))), 413},
		"protobuf, owners, near":                     {"POST", maps, pb, binary("ConfigMap", nested(1, nested(1, "q")+strings.Repeat("\x6a\x00", 8000))), 422},
		"JSON, another version":                      {"POST", "/apis/autoscaling/v1/namespaces/" + ns + "/horizontalpodautoscalers?dryRun=All", json, scaler(30000), 413},
		"JSON, another version, near":                {"POST", "/apis/autoscaling/v1/namespaces/" + ns + "/horizontalpodautoscalers?dryRun=All", json, scaler(19900), 201},
		"protobuf, schemas":                          {"POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", pb, envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", nested(2, nested(7, nested(4, nested(1, deep(28, 9900)))))), 422},
		"protobuf, schemas, too deep":                {"POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", pb, envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", nested(2, nested(7, nested(4, nested(1, deep(28, 10100)))))), 413},
		"protobuf, keys":                             {"POST", maps, pb, binary("ConfigMap", nested(1, nested(1, "q"))+strings.Repeat("\x12\x00", 500000)), 413},
		"protobuf, deep":                             {"POST", maps, pb, "k8s\x00" + strings.Repeat("\x12\xff\xff\x7f", 500000), 400},
		"apply, fields":                              {"PATCH", maps + "/a?fieldManager=a", apply, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{` + many(`"k%05d":"v"`, 13*50000) + `}}`, 413},
		"apply, fields, near":                        {"PATCH", maps + "/a?fieldManager=a", apply, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{` + many(`"k%05d":"v"`, 13*13900) + `}}`, 201},
		"apply, to many fields":                      {"PATCH", maps + "/wide?fieldManager=a", apply, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"wide"},"data":{"another":"v"}}`, 200},
		"label selector of a list":                   {"GET", maps + "?labelSelector=" + url.QueryEscape("a in ("+many("v%d", 50000)+")"), json, "", 400},
		"label selector of a list, near":             {"GET", maps + "?labelSelector=" + url.QueryEscape("a in ("+many("v%d", 32000)+")"), json, "", 200},
		"label selector of many parts, near":         {"GET", maps + "?labelSelector=" + url.QueryEscape(many("a%d!=v", 32000)), json, "", 200},
		"field selector, near":                       {"GET", maps + "?fieldSelector=" + url.QueryEscape(many("metadata.name!=v%d", 32000)), json, "", 200},
		"continue token":                             {"GET", maps + "?limit=1&continue=" + strings.Repeat("e30", 40000), json, "", 400},
		"query":                                      {"GET", maps + "?" + strings.Repeat("a&", 300000), json, "", 414},
		"query, near":                                {"GET", maps + "?" + strings.Repeat("a&", 60000), json, "", 200},
		"path":                                       {"GET", "/api/v1/namespaces/" + strings.Repeat("a/", 300000), json, "", 414},
		"expression of a policy, long":               {"POST", policyPath, json, policy(strings.Repeat("true && ", 28000) + "true"), 422},
		"expression of a policy, deep":               {"POST", policyPath, json, policy(strings.Repeat("(", 40000) + "true" + strings.Repeat(")", 40000)), 422},
		"expression of a policy, a list":             {"POST", policyPath, json, policy("1 in [" + many("1", 200000) + "]"), 422},
		"expression of a device class":               {"POST", "/apis/resource.k8s.io/v1/deviceclasses", json, `{"metadata":{"name":"d"},"spec":{"selectors":[{"cel":{"expression":"` + strings.Repeat("true && ", 40000) + `true"}}]}}`, 422},
		"validations of a policy":                    {"POST", policyPath, json, policies(many(`{"expression":"object.metadata.name != 'n%d'"}`, 90000)), 422},
		"validations of a policy, near":              {"POST", policyPath + "?dryRun=All", json, policies(many(`{"expression":"object.metadata.name != 'n%03d'"}`, 49*400)), 201},
		"rules of a definition":                      {"POST", definitions, json, definition("a", `"f":{"type":"string","maxLength":10,"x-kubernetes-validations":[`+many(`{"rule":"self != 'a%d'"}`, 500000)+`]}`), 422},
		"rules of a definition, near":                {"POST", definitions + "?dryRun=All", json, definition("b", `"f":{"type":"string","maxLength":10,"x-kubernetes-validations":[`+many(`{"rule":"self != 'a%03d'"}`, 27*450)+`]}`), 201},
		"rules of a definition, of many fields":      {"POST", definitions, json, definition("c", many(`"f%d":{"type":"string","maxLength":10,"x-kubernetes-validations":[{"rule":"self != 'a'"}]}`, 900000)), 422},
		"default of a definition":                    {"POST", definitions, json, definition("e", `"f":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"default":{"fieldsV1":{`+many(`"k%d":{}`, 2000000)+`}}}`), 413},
		"default of a definition in protobuf":        {"POST", definitions, pb, inProtobuf(t, &apiextensionsv1.CustomResourceDefinition{}, definition("e", `"f":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"default":{"fieldsV1":{`+many(`"k%d":{}`, 2000000)+`}}}`)), 413},
		"CBOR":                                       {"POST", maps, "Content-Type: application/cbor", "\xd9\xd9\xf7" + strings.Repeat("\x81", 2000000), 415},
		"bearer token":                               {"GET", maps, "Authorization: Bearer " + strings.Repeat("e30.", 200000), "", 401},
		"bearer token of large parts":                {"GET", maps, "Authorization: Bearer " + encoded(`{"alg":"RS256","x":[`+many("{}", 300000)+`]}`) + "." + encoded(`{"iss":"x","x":[`+many("{}", 300000)+`]}`) + ".AA", "", 401},
		"field paths of managers":                    {"POST", maps + "?dryRun=All", json, managed(`"f:data":{` + many(`"f:k%06d":{}`, 400000) + `}`), 201},
		"field paths of managers, values":            {"POST", maps + "?dryRun=All", json, managed(`"f:metadata":{"f:finalizers":{` + many(`"v:\"a/b%05d\"":{}`, 400000) + `}}`), 201},
		"field paths of managers, keys":              {"POST", maps + "?dryRun=All", json, managed(`"f:metadata":{"f:ownerReferences":{` + many(`"k:{\"uid\":\"%05d\"}":{}`, 400000) + `}}`), 201},
		"field paths of managers, most":              {"POST", maps + "?dryRun=All", json, managed(`"f:data":{` + many(`"f:%x":{}`, most-300) + `}`), 201},
		"field paths of managers, most, deep":        {"POST", maps + "?dryRun=All", json, managed(`"f:data":{` + many(`"f:%x":{"f:a":{"f:b":{"f:c":{}}}}`, most-300) + `}`), 201},
		"field paths of managers, most, numbers":     {"POST", maps + "?dryRun=All", json, managed(`"f:metadata":{"f:finalizers":{` + mixed(`"v:%d":{}`, most-300) + `}}`), 201},
		"field paths of managers, most, fractions":   {"POST", maps + "?dryRun=All", json, managed(`"f:metadata":{"f:finalizers":{` + mixed(`"v:%d.5":{}`, most-300) + `}}`), 201},
		"JSON patch, a deep path":                    {"PATCH", patches, js, `[{"op":"add","path":"` + strings.Repeat("/a", 700000) + `","value":0}]`, 422},
		"JSON, deep":                                 {"POST", maps + "?dryRun=All", json, `{"metadata":{"name":"x"},"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}", 0},
		"request for a certificate":                  {"POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", json, request(1500000), 422},
		"request for a certificate, near":            {"POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", json, request(250000), 422},
		"selectors of devices":                       {"POST", claims + ns + "/resourceclaims", json, claim(32), 422},
		"patch of an object with many owned fields":  {"PATCH", maps + "/wide", mp, `{"metadata":{"labels":{"a":"b"}}}`, 200},
		"token of many parts":                        {"POST", reviews, json, `{"spec":{"token":"` + strings.Repeat("e30.", 500000) + `"}}`, 201},
		"token with a large header and large claims": {"POST", reviews, json, `{"spec":{"token":"` + encoded(`{"alg":"RS256","x":[`+many("{}", 900000)+`]}`) + "." + encoded(`{"iss":"x","x":[`+many("{}", 900000)+`]}`) + `.AA"}}`, 201},
		"selector of an access review":               {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json, `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods","labelSelector":{"rawSelector":"` + many("a%d!=v", most) + `"}}}}`, 0},
		"selector of an object, parts":               {"POST", "/apis/policy/v1/namespaces/" + ns + "/poddisruptionbudgets", json, `{"metadata":{"name":"x"},"spec":{"selector":{"matchExpressions":[` + many(`{"key":"k%d","operator":"In","values":["a"]}`, 1200000) + `]}}}`, 413},
		"selector of an object, values":              {"POST", "/apis/policy/v1/namespaces/" + ns + "/poddisruptionbudgets", json, `{"metadata":{"name":"y"},"spec":{"selector":{"matchExpressions":[{"key":"k","operator":"In","values":[` + many(`"v%d"`, 800000) + `]}]}}}`, 201},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			who := admin
			if strings.HasPrefix(tt.kind, "Authorization: ") {
				who = nobody
			}
			a, spent := costing(func() answer { return who.do(t, tt.method, tt.path, tt.body, tt.kind) })
			t.Logf("COST HTTP %d, %d bytes, %.1f MiB, %s: %.150s", a.code, len(tt.body)+len(tt.path), float64(spent)/(1<<20), time.Since(began).Round(time.Millisecond), a.body)
			if tt.code != 0 && a.code != tt.code {
				t.Errorf("HTTP %d, want %d: %.300s", a.code, tt.code, a.body)
			}
			if spent > max(32<<20, uint64(24*(len(tt.body)+len(tt.path)))) {
				t.Errorf("%d MiB for %d bytes", spent>>20, len(tt.body)+len(tt.path))
			}
		})
	}
}

// message is an object that has a protobuf form.
type message interface {
	runtime.Object
	Marshal() ([]byte, error)
}

// inProtobuf is a body in JSON as one in protobuf, by way of an empty object of its type.
func inProtobuf(t *testing.T, o message, body string) string {
	t.Helper()
	if err := json.Unmarshal([]byte(body), o); err != nil {
		t.Fatal(err)
	}
	raw, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	u := runtime.Unknown{Raw: raw}
	u.APIVersion, u.Kind = o.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	data, err := u.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return "k8s\x00" + string(data)
}

// TestTooLargeToStore: what upstream's store does not take ours does not take either, and says it as upstream does; nothing is said to a dry run.
func TestTooLargeToStore(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	body := func(bytes int) string {
		return `{"metadata":{"name":"larges.stored.example.com"},"spec":{"group":"stored.example.com","scope":"Namespaced","names":{"plural":"larges","singular":"large","kind":"Large","listKind":"LargeList"},` +
			`"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","description":"` + strings.Repeat("a", bytes) + `"}}}]}}`
	}
	for name, tt := range map[string]struct {
		query string
		bytes int
		code  int
	}{
		"more":           {"", 1600 << 10, 500},
		"more, dry":      {"?dryRun=All", 1600 << 10, 201},
		"nearly as much": {"?dryRun=All", 1500 << 10, 201},
	} {
		a := admin.do(t, "POST", definitions+tt.query, body(tt.bytes))
		if s := a.status(); a.code != tt.code || a.code == 500 && (s.Message != "etcdserver: request is too large" || s.Reason != "") {
			t.Errorf("%s: HTTP %d %s %.200s", name, a.code, s.Reason, a.body)
		}
	}
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", definitions, body(1500<<10)), 201)
	admin.do(t, "DELETE", definitions+"/larges.stored.example.com", "")
}
