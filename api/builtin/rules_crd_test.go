package builtin

import "testing"

func TestCustomResourceDefinitionRules(t *testing.T) {
	doc := func(name, spec string) string {
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: " + name + "}\nspec: " + spec
	}
	boats := func(schema string) string {
		return doc("boats.example.com", "{group: example.com, scope: Namespaced, names: {plural: boats, kind: Boat}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: "+schema+"}}]}")
	}
	// Texts are the published rules' own: a schema that is the same in all versions is "spec.validation" to them.
	testRules(t, map[string]rule{
		"a small one": {doc: boats("{type: object}")},
		"the name is plural and group": {doc: doc("boat.example.com", "{group: example.com, scope: Namespaced, names: {plural: boats, kind: Boat}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}"),
			want: `metadata.name: Invalid value: "boat.example.com": must be spec.names.plural+"."+spec.group`},
		"a schema is required": {doc: doc("boats.example.com", "{group: example.com, scope: Cluster, names: {plural: boats, kind: Boat}, versions: [{name: v1, served: true, storage: true}]}"),
			want: "spec.versions[0].schema.openAPIV3Schema: Required value"},
		"one version is stored": {doc: doc("boats.example.com", "{group: example.com, scope: Cluster, names: {plural: boats, kind: Boat}, versions: [{name: v1, served: true, storage: false, schema: {openAPIV3Schema: {type: object}}}]}"),
			want: "spec.versions: Invalid value: [{\"Name\":\"v1\",\"Served\":true,\"Storage\":false,\"Deprecated\":false,\"DeprecationWarning\":null,\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}]: must have exactly one version marked as storage version\nstatus.storedVersions: Invalid value: null: must have at least one stored version"},
		"a schema is structural": {doc: boats("{type: object, properties: {a: {description: x}}}"),
			want: "spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields"},
		"an expression that is none": {doc: boats("{type: object, x-kubernetes-validations: [{rule: 'self.nothing == 1'}]}"),
			want: "spec.validation.openAPIV3Schema.x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.nothing == 1\",\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}: compilation failed: ERROR: <input>:1:5: undefined field 'nothing'\n | self.nothing == 1\n | ....^"},
		"a default that is invalid": {doc: boats("{type: object, properties: {a: {type: integer, default: x}}}"),
			want: `spec.validation.openAPIV3Schema.properties[a].default: Invalid value: "string":  in body must be of type integer: "string"`},
		"groups of the community need approval": {doc: doc("boats.sea.k8s.io", "{group: sea.k8s.io, scope: Cluster, names: {plural: boats, kind: Boat}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}"),
			want: `metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation "api-approved.kubernetes.io", see https://github.com/kubernetes/enhancements/pull/1111`},
		"a version that was stored stays": {old: boats("{type: object}"), doc: doc("boats.example.com", "{group: example.com, scope: Namespaced, names: {plural: boats, kind: Boat}, versions: [{name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}"),
			want: "status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in v1 and removes v1 from status.storedVersions"},
	})
}
