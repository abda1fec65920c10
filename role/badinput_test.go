package role_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	deploymentSpec = `"spec":{"replicas":%s,"selector":{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":%q}},"spec":{"containers":[{"name":"c","image":"i"}]}}}`
	podSpec        = `"spec":{"containers":[{"name":"c","image":"i"}]}`
)

func TestBadInput(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	admin, nobody := p.as(t, "admin"), p.as(t, "anonymous")
	weak, wrong := p.as(t, p.token(t, ns)), p.as(t, "not.a.token")
	core, apps := "/api/v1/namespaces/"+ns, "/apis/apps/v1/namespaces/"+ns
	old := into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", core+"/configmaps", text("v1", "ConfigMap", "old")), 201)
	stale := old.ResourceVersion
	into[metav1.PartialObjectMetadata](t, admin.do(t, "PUT", core+"/configmaps/old", text("v1", "ConfigMap", "old", `"data":{"k":"v"}`)), 200)
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", apps+"/deployments", text("apps/v1", "Deployment", "here", fmt.Sprintf(deploymentSpec, "1", "a"))), 201)
	ending := p.namespace(t)
	admin.do(t, "POST", "/api/v1/namespaces/"+ending+"/configmaps", `{"metadata":{"name":"held","finalizers":["example.com/hold"]}}`)
	into[metav1.PartialObjectMetadata](t, admin.do(t, "DELETE", "/api/v1/namespaces/"+ending, ""), 200)
	const accepted = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
	const unknownFormat = "the body of the request was in an unknown format - accepted media types include: "

	tests := map[string]struct {
		who          caller
		method, path string
		headers      []string
		body         string
		code         int
		reason       metav1.StatusReason
		message      string   // "..." stands for anything
		causes       []string // "Reason field"
	}{
		"malformed JSON": {admin, "POST", core + "/configmaps", nil, `{"kind":"ConfigMap",`,
			400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({\"kind\":\"ConfigMap\",)", nil},
		"JSON that goes on after its end": {admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a") + "}",
			400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid character '}' after top-level value ({\"apiVersion\":\"v1\",\"kind\":\"Con ...)", nil},
		"a list instead of an object": {admin, "POST", core + "/configmaps", nil, `[]`,
			400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct {...} (5b5d)", nil},
		"malformed YAML": {admin, "POST", core + "/configmaps", []string{"Content-Type: application/yaml"}, "kind: ConfigMap\n  metadata: x",
			400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): ...yaml: ...mapping values are not allowed in this context (6b696e643a20436f6e6669674d61700a20206d657461646174613a2078)", nil},
		"no body": {admin, "POST", core + "/configmaps", []string{"Content-Type: application/json"}, "",
			400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)", nil},
		"another kind": {admin, "POST", core + "/configmaps", nil, text("v1", "Pod", "a", podSpec),
			400, "BadRequest", `Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion`, nil},
		"another version": {admin, "POST", "/apis/autoscaling/v2/namespaces/" + ns + "/horizontalpodautoscalers", nil, text("autoscaling/v1", "HorizontalPodAutoscaler", "a"),
			400, "BadRequest", "the API version in the data (autoscaling/v1) does not match the expected API version (autoscaling/v2)", nil},
		"unknown field, strict": {admin, "POST", core + "/pods?fieldValidation=Strict", nil, text("v1", "Pod", "a", `"spec":{"containers":[{"name":"c","image":"i","imagee":"x"}],"nodename":"n"}`),
			400, "BadRequest", `Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].imagee", unknown field "spec.nodename"`, nil},
		"duplicate field, strict": {admin, "POST", core + "/configmaps?fieldValidation=Strict", nil, `{"metadata":{"name":"a","name":"b"}}`,
			400, "BadRequest", `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "metadata.name"`, nil},
		"duplicate field in YAML, strict": {admin, "POST", core + "/configmaps?fieldValidation=Strict", []string{"Content-Type: application/yaml"}, "metadata:\n  name: a\n  name: b\n",
			400, "BadRequest", `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:...key "name" already set in map`, nil},
		"unknown field in a patch, strict": {admin, "PATCH", core + "/configmaps/old?fieldValidation=Strict", []string{"Content-Type: application/merge-patch+json"}, `{"dat":{"a":"b"}}`,
			422, "Invalid", `...patch: Invalid value: ...strict decoding error: unknown field "dat"`, []string{"FieldValueInvalid patch"}},
		"wrong type: text for a number": {admin, "POST", apps + "/deployments", nil, text("apps/v1", "Deployment", "a", fmt.Sprintf(deploymentSpec, `"three"`, "a")),
			400, "BadRequest", `Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`, nil},
		"wrong type: number for text": {admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a", `"data":{"k":1}`),
			400, "BadRequest", `ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string`, nil},
		"wrong type in a patch": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/merge-patch+json"}, `{"data":{"k":1}}`,
			422, "Invalid", `...patch: Invalid value: ...json: cannot unmarshal number into Go struct field ConfigMap.data of type string`, []string{"FieldValueInvalid patch"}},
		"an unknown fieldValidation": {admin, "POST", core + "/configmaps?fieldValidation=Perhaps", nil, text("v1", "ConfigMap", "a"),
			422, "Invalid", `CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Perhaps": supported values: "", "Ignore", "Strict", "Warn"`, []string{"FieldValueNotSupported fieldValidation"}},
		"an unknown dryRun": {admin, "POST", core + "/configmaps?dryRun=Perhaps", nil, text("v1", "ConfigMap", "a"),
			422, "Invalid", `CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Perhaps"]: supported values: "All"`, []string{"FieldValueNotSupported dryRun"}},
		"an unknown dryRun of a deletion": {admin, "DELETE", core + "/configmaps/old?dryRun=Perhaps", nil, "",
			422, "Invalid", `DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Perhaps"]: supported values: "All"`, []string{"FieldValueNotSupported dryRun"}},

		"no name": {admin, "POST", core + "/configmaps", nil, `{}`,
			422, "Invalid", `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`, []string{"FieldValueRequired metadata.name"}},
		"a bad name": {admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "Bad_Name"),
			422, "Invalid", `ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`, []string{"FieldValueInvalid metadata.name"}},
		"a bad label": {admin, "POST", core + "/configmaps", nil, `{"metadata":{"name":"a","labels":{"a b":"c"}}}`,
			422, "Invalid", `ConfigMap "a" is invalid: metadata.labels: Invalid value: "a b": name part must consist of ...`, []string{"FieldValueInvalid metadata.labels"}},
		"no containers": {admin, "POST", core + "/pods", nil, text("v1", "Pod", "a"),
			422, "Invalid", `Pod "a" is invalid: spec.containers: Required value`, []string{"FieldValueRequired spec.containers"}},
		"no selector and no template": {admin, "POST", apps + "/deployments", nil, text("apps/v1", "Deployment", "a"),
			422, "Invalid", `Deployment.apps "a" is invalid: [spec.selector: Required value, ...`,
			[]string{"FieldValueRequired spec.selector", "FieldValueInvalid spec.template.metadata.labels", "FieldValueRequired spec.template.spec.containers"}},
		"negative replicas": {admin, "POST", apps + "/deployments", nil, text("apps/v1", "Deployment", "a", fmt.Sprintf(deploymentSpec, "-1", "a")),
			422, "Invalid", `Deployment.apps "a" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`, []string{"FieldValueInvalid spec.replicas"}},
		"negative replicas through scale": {admin, "PUT", apps + "/deployments/here/scale", nil, text("autoscaling/v1", "Scale", "here", `"spec":{"replicas":-1}`),
			422, "Invalid", `Scale.autoscaling "here" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`, []string{"FieldValueInvalid spec.replicas"}},
		"a selector that does not match": {admin, "POST", apps + "/deployments", nil, text("apps/v1", "Deployment", "a", fmt.Sprintf(deploymentSpec, "1", "b")),
			422, "Invalid", `Deployment.apps "a" is invalid: spec.template.metadata.labels: Invalid value: {"app":"b"}: ` + "`selector` does not match template `labels`", []string{"FieldValueInvalid spec.template.metadata.labels"}},
		"a selector that changes": {admin, "PATCH", apps + "/deployments/here", []string{"Content-Type: application/merge-patch+json"}, `{"spec":{"selector":{"matchLabels":{"app":"b"}},"template":{"metadata":{"labels":{"app":"b"}}}}}`,
			422, "Invalid", `Deployment.apps "here" is invalid: spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable`, []string{"FieldValueInvalid spec.selector"}},
		"a ConfigMap over 1 MiB": {admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a", fmt.Sprintf(`"data":{"k":%q}`, strings.Repeat("x", 1<<20+1))),
			422, "Invalid", `ConfigMap "a" is invalid: []: Too long: may not be more than 1048576 bytes`, []string{"FieldValueTooLong []"}},
		"a body over 3 MiB": {admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a", fmt.Sprintf(`"data":{"k":%q}`, strings.Repeat("x", 3<<20))),
			413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", nil},
		"a resourceVersion on create": {admin, "POST", core + "/configmaps", nil, `{"metadata":{"name":"a","resourceVersion":"1"}}`,
			500, "", "resourceVersion should not be set on objects to be created", nil},

		"a stale resourceVersion": {admin, "PUT", core + "/configmaps/old", nil, fmt.Sprintf(`{"metadata":{"name":"old","resourceVersion":%q}}`, stale),
			409, "Conflict", `Operation cannot be fulfilled on configmaps "old": the object has been modified; please apply your changes to the latest version and try again`, nil},
		"a stale resourceVersion in a patch": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/merge-patch+json"}, fmt.Sprintf(`{"metadata":{"resourceVersion":%q}}`, stale),
			409, "Conflict", `Operation cannot be fulfilled on configmaps "old": the object has been modified; please apply your changes to the latest version and try again`, nil},
		"another uid": {admin, "PUT", core + "/configmaps/old", nil, `{"metadata":{"name":"old","uid":"0"}}`,
			409, "Conflict", `Operation cannot be fulfilled on configmaps "old": ...Precondition failed: UID in precondition: 0, UID in object meta: ` + string(old.UID), nil},
		"deletion with another uid": {admin, "DELETE", core + "/configmaps/old", nil, `{"preconditions":{"uid":"0"}}`,
			409, "Conflict", `Operation cannot be fulfilled on ConfigMap "old": the UID in the precondition (0) does not match the UID in record (` + string(old.UID) + `). The object might have been deleted and then recreated`, nil},
		"what is there already": {admin, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "old"),
			409, "AlreadyExists", `configmaps "old" already exists`, nil},
		"what is not there": {admin, "GET", core + "/configmaps/none", nil, "",
			404, "NotFound", `configmaps "none" not found`, nil},
		"update of what is not there": {admin, "PUT", core + "/configmaps/none", nil, text("v1", "ConfigMap", "none"),
			404, "NotFound", `configmaps "none" not found`, nil},
		"patch of what is not there": {admin, "PATCH", core + "/configmaps/none", []string{"Content-Type: application/merge-patch+json"}, `{}`,
			404, "NotFound", `configmaps "none" not found`, nil},
		"another name than the path's": {admin, "PUT", core + "/configmaps/old", nil, text("v1", "ConfigMap", "new"),
			400, "BadRequest", "the name of the object (new) does not match the name on the URL (old)", nil},
		"another namespace than the path's": {admin, "POST", core + "/configmaps", nil, `{"metadata":{"name":"a","namespace":"default"}}`,
			400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request", nil},
		"a namespace that is not there": {admin, "POST", "/api/v1/namespaces/none/configmaps", nil, text("v1", "ConfigMap", "a"),
			404, "NotFound", `namespaces "none" not found`, nil},
		"a pod in a namespace that is not there": {admin, "POST", "/api/v1/namespaces/none/pods", nil, text("v1", "Pod", "a", podSpec),
			404, "NotFound", `namespaces "none" not found`, nil},
		"a namespace that ends": {admin, "POST", "/api/v1/namespaces/" + ending + "/configmaps", nil, text("v1", "ConfigMap", "a"),
			403, "Forbidden", `configmaps "a" is forbidden: unable to create new content in namespace ` + ending + ` because it is being terminated`, []string{"NamespaceTerminating metadata.namespace"}},
		"a namespace that may not end": {admin, "DELETE", "/api/v1/namespaces/default", nil, "",
			403, "Forbidden", `namespaces "default" is forbidden: this namespace may not be deleted`, nil},

		"no token": {nobody, "GET", core + "/configmaps", nil, "",
			401, "Unauthorized", "Unauthorized", nil},
		"no token, no resource": {nobody, "GET", "/metrics", nil, "",
			401, "Unauthorized", "Unauthorized", nil}, // anonymous are those alone who ask for health and version,
		"a wrong token": {wrong, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a"),
			401, "Unauthorized", "Unauthorized", nil},
		"a token without rights": {weak, "POST", core + "/configmaps", nil, text("v1", "ConfigMap", "a"),
			403, "Forbidden", `configmaps is forbidden: User "system:serviceaccount:` + ns + `:default" cannot create resource "configmaps" in API group "" in the namespace "` + ns + `"`, nil},
		"a token without rights, one object": {weak, "DELETE", apps + "/deployments/here", nil, "",
			403, "Forbidden", `deployments.apps "here" is forbidden: User "system:serviceaccount:` + ns + `:default" cannot delete resource "deployments" in API group "apps" in the namespace "` + ns + `"`, nil},
		"a token without rights, all namespaces": {weak, "GET", "/api/v1/nodes", nil, "",
			403, "Forbidden", `nodes is forbidden: User "system:serviceaccount:` + ns + `:default" cannot list resource "nodes" in API group "" at the cluster scope`, nil},

		"a wrong content type": {admin, "POST", core + "/configmaps", []string{"Content-Type: text/plain"}, text("v1", "ConfigMap", "a"),
			415, "UnsupportedMediaType", unknownFormat + "application/json, application/yaml, application/vnd.kubernetes.protobuf", nil},
		"a wrong content type of a patch": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/json"}, `{}`,
			415, "UnsupportedMediaType", "415: Unsupported Media Type", nil},
		"what is sent back is not accepted": {admin, "GET", core + "/configmaps", []string{"Accept: text/html"}, "",
			406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json...", nil},
		"an unknown form of an object": {admin, "GET", core + "/configmaps", []string{"Accept: application/json;as=Picture;g=meta.k8s.io;v=v1"}, "",
			406, "NotAcceptable", accepted, nil},
		"an unknown version": {admin, "GET", "/apis/apps/v9", nil, "",
			404, "NotFound", "the server could not find the requested resource", nil},
		"an unknown resource": {admin, "GET", core + "/nothings", nil, "",
			404, "NotFound", "the server could not find the requested resource", nil},
		"an unknown subresource": {admin, "GET", core + "/configmaps/old/nothing", nil, "",
			404, "NotFound", "the server could not find the requested resource", nil},
		"a namespaced object without namespace": {admin, "GET", "/api/v1/configmaps/old", nil, "",
			404, "NotFound", "the server could not find the requested resource", nil},
		"a cluster's object below a namespace": {admin, "GET", core + "/nodes/n", nil, "",
			404, "NotFound", "the server could not find the requested resource", nil},
		"a method that the resource has not": {admin, "PUT", core + "/configmaps", nil, text("v1", "ConfigMap", "a"),
			405, "MethodNotAllowed", "the server does not allow this method on the requested resource", nil},
		"a method that the object has not": {admin, "POST", core + "/configmaps/old", nil, text("v1", "ConfigMap", "old"),
			405, "MethodNotAllowed", "the server does not allow this method on the requested resource", nil},
		"a patch of nobody": {admin, "PATCH", core + "/configmaps", []string{"Content-Type: application/merge-patch+json"}, `{}`,
			405, "MethodNotAllowed", "the server does not allow this method on the requested resource", nil},

		"a broken label selector": {admin, "GET", core + "/configmaps?labelSelector=a+in+b", nil, "",
			400, "BadRequest", "unable to parse requirement: found 'b' expected: '('", nil},
		"a broken field selector": {admin, "GET", core + "/configmaps?fieldSelector=a", nil, "",
			400, "BadRequest", "invalid selector: 'a'; can't understand 'a'", nil},
		"a field that none can select by": {admin, "GET", core + "/configmaps?fieldSelector=data.k%3Dv", nil, "",
			400, "BadRequest", `"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"`, nil},
		"a field that pods cannot be selected by": {admin, "GET", core + "/pods?fieldSelector=spec.color%3Dred", nil, "",
			400, "BadRequest", "field label not supported: spec.color", nil},
		"deletion of a collection by an unknown field": {admin, "DELETE", core + "/configmaps?fieldSelector=data.k%3Dv", nil, "",
			400, "BadRequest", `"data.k" is not a known field selector: only "metadata.name", "metadata.namespace"`, nil},
		"a limit that is no number": {admin, "GET", core + "/configmaps?limit=many", nil, "",
			400, "BadRequest", `strconv.ParseInt: parsing "many": invalid syntax`, nil},
		"a continue token that is none": {admin, "GET", core + "/configmaps?limit=1&continue=!", nil, "",
			400, "BadRequest", "invalid continue token: continue key is not valid: illegal base64 data at input byte 0", nil},
		"a continue token and a resourceVersion": {admin, "GET", core + "/configmaps?resourceVersion=1&continue=abcd", nil, "",
			400, "BadRequest", "invalid continue token: continue key is not valid: ...", nil},
		"a resourceVersion that is no number": {admin, "GET", core + "/configmaps?resourceVersion=new", nil, "",
			400, "BadRequest", `...Invalid value: "new": strconv.ParseUint: parsing "new": invalid syntax`, nil},
		"a resourceVersionMatch alone": {admin, "GET", core + "/configmaps?resourceVersionMatch=Exact", nil, "",
			422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided`, []string{"FieldValueForbidden resourceVersionMatch"}},
		"an unknown resourceVersionMatch": {admin, "GET", core + "/configmaps?resourceVersion=1&resourceVersionMatch=About", nil, "",
			422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "About": supported values: "Exact", "NotOlderThan", ""`, []string{"FieldValueNotSupported resourceVersionMatch"}},
		"initial events of a list": {admin, "GET", core + "/configmaps?sendInitialEvents=true", nil, "",
			422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list`, []string{"FieldValueForbidden sendInitialEvents"}},
		"initial events of a watch without a match": {admin, "GET", core + "/configmaps?watch=1&sendInitialEvents=true", nil, "",
			422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan`, []string{"FieldValueForbidden resourceVersionMatch"}},
		"a watch in YAML": {admin, "GET", core + "/configmaps?watch=1", []string{"Accept: application/yaml"}, "",
			406, "NotAcceptable", "only the following media types are accepted: application/json...", nil},
		"a merge patch that leaves no name": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/merge-patch+json"}, `{"metadata":null}`,
			400, "BadRequest", "the name of the object (old based on URL) was undeterminable: name must be provided", nil},
		"a merge patch with a field twice": {admin, "PATCH", core + "/configmaps/old?fieldValidation=Strict", []string{"Content-Type: application/merge-patch+json"}, `{"data":{"a":"b"},"data":{"a":"c"}}`,
			422, "Invalid", ` "" is invalid: patch: Invalid value: ...: strict decoding error: duplicate field "data"`, []string{"FieldValueInvalid patch"}},
		"a strategic merge patch with a field twice": {admin, "PATCH", core + "/configmaps/old?fieldValidation=Strict", []string{"Content-Type: application/strategic-merge-patch+json"}, `{"data":{"a":"b"},"data":{"a":"c"}}`,
			422, "Invalid", ` "" is invalid: patch: Invalid value: "map[data:map[a:c]]": strict decoding error: duplicate field "data"`, []string{"FieldValueInvalid patch"}},
		"a strategic merge patch with a number for a text": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/strategic-merge-patch+json"}, `{"metadata":{"labels":{"x":1}}}`,
			422, "Invalid", ` "" is invalid: patch: Invalid value: "map[metadata:map[labels:map[x:1]]]": cannot convert int64 to string`, []string{"FieldValueInvalid patch"}},
		"an empty dryRun": {admin, "PATCH", core + "/configmaps/old?dryRun=", []string{"Content-Type: application/merge-patch+json"}, `{}`,
			422, "Invalid", `PatchOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: [""]: supported values: "All"`, []string{"FieldValueNotSupported dryRun"}},
		"a deletecollection of nothing in an unknown way": {admin, "DELETE", core + "/configmaps?labelSelector=none", nil, `{"propagationPolicy":"Bogus"}`,
			422, "Invalid", `DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Bogus": supported values: "Foreground", "Background", "Orphan", "nil"`, []string{"FieldValueNotSupported propagationPolicy"}},
		"options of a deletion that are none": {admin, "DELETE", core + "/configmaps/old", nil, `x`,
			400, "BadRequest", "couldn't get version/kind; json parse error: invalid character 'x' looking for beginning of value", nil},
		"a group version that is posted to": {admin, "POST", "/apis/apps/v1", nil, `{}`,
			405, "MethodNotAllowed", "the server does not allow this method on the requested resource", nil},
		"a watch of what comes after a token": {admin, "GET", core + "/configmaps?watch=1&continue=x", nil, "",
			422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided`, []string{"FieldValueForbidden resourceVersionMatch"}},
		"a JSON patch that is none": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/json-patch+json"}, `{}`,
			400, "BadRequest", "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp", nil},
		"a JSON patch whose test fails": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/json-patch+json"}, `[{"op":"test","path":"/data/k","value":"w"}]`,
			422, "Invalid", "the server rejected our request due to an error in our request", nil},
		"a merge patch that is none": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/merge-patch+json"}, `{"data"`,
			400, "BadRequest", "invalid JSON patch", nil},
		"a strategic merge patch that is none": {admin, "PATCH", core + "/configmaps/old", []string{"Content-Type: application/strategic-merge-patch+json"}, `[]`,
			400, "BadRequest", "json: cannot unmarshal array into Go value of type map[string]interface {}", nil},
		"binding to nothing": {admin, "POST", core + "/pods/none/binding", nil, text("v1", "Binding", "none"),
			422, "Invalid", `Binding "none" is invalid: target.name: Required value`, []string{"FieldValueRequired target.name"}},
		"binding of nobody": {admin, "POST", core + "/pods/none/binding", nil, text("v1", "Binding", "none", `"target":{"kind":"Node","name":"n"}`),
			404, "NotFound", `pods "none" not found`, nil},
		"eviction of nobody": {admin, "POST", core + "/pods/none/eviction", nil, text("policy/v1", "Eviction", "none"),
			404, "NotFound", `pods "none" not found`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := p.revision()
			a := tt.who.do(t, tt.method, tt.path, tt.body, tt.headers...)
			s := a.status()
			if a.code != tt.code || s.Code != int32(tt.code) || s.Reason != tt.reason || s.Status != metav1.StatusFailure || !like(s.Message, tt.message) {
				t.Errorf("%s %s\n got HTTP %d, %d %s %s\nwant HTTP %d, %s %s", tt.method, tt.path, a.code, s.Code, s.Reason, cut(s.Message), tt.code, tt.reason, tt.message)
				if s.Kind == "" {
					t.Logf("body: %s", cut(string(a.body)))
				}
			}
			var causes []string
			if s.Details != nil {
				for _, c := range s.Details.Causes {
					causes = append(causes, string(c.Type)+" "+c.Field)
				}
			}
			if tt.reason != metav1.StatusReasonInternalError && fmt.Sprint(causes) != fmt.Sprint(tt.causes) {
				t.Errorf("causes %q, want %q", causes, tt.causes)
			}
			if after := p.revision(); after != before {
				t.Errorf("something was stored: revision %d, before %d", after, before)
			}
		})
	}
}

// like compares a text with one in which "..." stands for anything.
func like(got, want string) bool {
	parts := strings.Split(want, "...")
	for n, part := range parts {
		at := strings.Index(got, part)
		if at < 0 || n == 0 && at > 0 {
			return false
		}
		got = got[at+len(part):]
	}
	return got == "" || parts[len(parts)-1] == "" && len(parts) > 1
}

func cut(s string) string {
	if len(s) > 600 {
		return s[:600] + " ..."
	}
	return s
}

// TestUnknownFields: what Strict refuses, Warn says and Ignore hides; the object is stored without the field.
func TestUnknownFields(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	for n, tt := range []struct {
		query, body string
		warnings    []string
	}{
		{"", `"dat":{"a":"b"}`, []string{`299 - "unknown field \"dat\""`}},
		{"?fieldValidation=Warn", `"dat":{"a":"b"},"immutabl":true`, []string{`299 - "unknown field \"dat\""`, `299 - "unknown field \"immutabl\""`}},
		{"?fieldValidation=Warn", `"data":{"a":"b"},"data":{"c":"d"}`, []string{`299 - "duplicate field \"data\""`}},
		{"?fieldValidation=Ignore", `"dat":{"a":"b"}`, nil},
		{"?fieldValidation=Strict", `"data":{"a":"b"}`, nil},
	} {
		name := fmt.Sprintf("c%d", n)
		a := admin.do(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps"+tt.query, text("v1", "ConfigMap", name, tt.body))
		if got := a.header.Values("Warning"); a.code != http.StatusCreated || fmt.Sprint(got) != fmt.Sprint(tt.warnings) {
			t.Errorf("%s %s: HTTP %d, warnings %q, want %q", tt.query, tt.body, a.code, got, tt.warnings)
		}
		if got := admin.do(t, "GET", "/api/v1/namespaces/"+ns+"/configmaps/"+name, ""); got.code != 200 || strings.Contains(string(got.body), `"dat"`) {
			t.Errorf("stored: HTTP %d %s", got.code, got.body)
		}
	}
}

// TestLargeYAML: a body near the limit costs less than 24 times its bytes, whatever is in it.
func TestLargeYAML(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	const most = 3<<20 - 100
	head := "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: large\ndata:\n"
	fill := func(line string) string { return head + strings.Repeat(line, (most-len(head))/len(line)) }
	many := func(line string) string {
		var b strings.Builder
		b.WriteString(head)
		for n := 0; b.Len() < most-40; n++ {
			fmt.Fprintf(&b, line, n)
		}
		return b.String()
	}
	for name, body := range map[string]string{
		"lines":     fill("- b\n"),
		"dashes":    fill("-\n"),
		"keys":      many("  k%d: v\n"),
		"maps":      many("  k%d: {}\n"),
		"flow":      head + "  a: [" + strings.Repeat("{},", 1000000) + "{}]\n",
		"literal":   head + "  a: |\n" + strings.Repeat("    text, and: more\n", most/21),
		"anchors":   many("  k%d: &a v\n"),
		"long name": head + "  a: &a " + strings.Repeat("b", most/2) + "\n  c: [" + strings.Repeat("*a,", 20000) + "*a]\n",
	} {
		for what, do := range map[string]func() answer{
			"create": func() answer {
				return admin.do(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", body, "Content-Type: application/yaml")
			},
			"apply": func() answer {
				return admin.do(t, "PATCH", "/api/v1/namespaces/"+ns+"/configmaps/large?fieldManager=a", body, "Content-Type: application/apply-patch+yaml")
			},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				a, spent := costing(do)
				t.Logf("HTTP %d, %d MiB: %.200s", a.code, spent>>20, a.body)
				if a.code < 400 || a.code >= 500 {
					t.Errorf("HTTP %d", a.code)
				}
				if spent > uint64(24*len(body)) {
					t.Errorf("%d MiB for a body of %d bytes", spent>>20, len(body))
				}
			})
		}
	}
}

// costing is what a request and all else meanwhile took, in bytes.
func costing(do func() answer) (a answer, spent uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a = do()
	runtime.ReadMemStats(&after)
	return a, after.TotalAlloc - before.TotalAlloc
}

// TestCopies: a JSON patch that doubles an object again and again is refused.
func TestCopies(t *testing.T) {
	p := api(t)
	ns, admin := p.namespace(t), p.as(t, "admin")
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", "/api/v1/namespaces/"+ns+"/configmaps", text("v1", "ConfigMap", "c", `"data":{"k":"`+strings.Repeat("v", 1000)+`"}`)), 201)
	var ops []string
	for n := range 16 { // 64 MiB, if somebody did all of it
		ops = append(ops, fmt.Sprintf(`{"op":"copy","from":"/data","path":"/data/k%d"}`, n))
	}
	a, spent := costing(func() answer {
		return admin.do(t, "PATCH", "/api/v1/namespaces/"+ns+"/configmaps/c", "["+strings.Join(ops, ",")+"]", "Content-Type: application/json-patch+json")
	})
	if s := a.status(); a.code != 422 || spent > 32<<20 {
		t.Errorf("HTTP %d: %s; %d MiB", a.code, cut(s.Message), spent>>20)
	}
}
