package builtin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// signingRequest gives a PKCS #10 request in PEM, in base64 as documents hold it.
func signingRequest(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "u"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// certificate gives a self-signed one in PEM.
func certificate(t *testing.T, ca bool) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(2e9, 0), IsCA: ca, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestCertificateRules(t *testing.T) {
	request, cert := signingRequest(t), base64.StdEncoding.EncodeToString(certificate(t, false))
	csr := func(spec, status string) string {
		return fmt.Sprintf("apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: a}\nspec: {request: %s, %s}\nstatus: %s", request, spec, status)
	}
	good := "signerName: example.com/s, usages: [client auth]"
	approved := "{conditions: [{type: Approved, status: 'True', lastUpdateTime: '2026-01-01T00:00:00Z', lastTransitionTime: '2026-01-01T00:00:00Z'}]}"
	root := certificate(t, true)
	bundle := func(name, signer string, data []byte) string {
		return fmt.Sprintf("apiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\nmetadata: {name: '%s'}\nspec:\n  signerName: '%s'\n  trustBundle: %q", name, signer, data)
	}
	testRules(t, map[string]rule{
		"a good request":           {doc: csr(good, "{}")},
		"not a request":            {doc: strings.Replace(csr(good, "{}"), request, base64.StdEncoding.EncodeToString([]byte("x")), 1), want: `spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST`},
		"usages are required":      {doc: csr("signerName: example.com/s", "{}"), want: `spec.usages: Required value`},
		"usages differ":            {doc: csr("signerName: example.com/s, usages: [any, any]", "{}"), want: `spec.usages[1]: Duplicate value: "any"`},
		"a signer is required":     {doc: csr("usages: [any]", "{}"), want: `spec.signerName: Required value`},
		"a signer has a domain":    {doc: csr("usages: [any], signerName: s", "{}"), want: `spec.signerName: Invalid value: "s": must be a fully qualified domain and path of the form 'example.com/signer-name'`},
		"too short a life":         {doc: csr(good+", expirationSeconds: 599", "{}"), want: `spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 600 seconds (10 minutes)`},
		"a signer may not approve": {status: true, old: csr(good, "{}"), doc: csr(good, approved), want: `status.conditions: Forbidden: updates may not add a condition of type "Approved"`},
		"nor take it back":         {status: true, old: csr(good, approved), doc: csr(good, "{}"), want: `status.conditions: Forbidden: updates may not remove a condition of type "Approved"`},
		"it gives the certificate": {status: true, old: csr(good, approved), doc: csr(good, strings.Replace(approved, "}]}", "}], certificate: "+cert+"}", 1))},
		"which must be one":        {status: true, old: csr(good, "{}"), doc: csr(good, "{certificate: eA==}"), want: `status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block`},
		"and stays":                {status: true, old: csr(good, "{certificate: "+cert+"}"), doc: csr(good, "{}"), want: `status.certificate: Forbidden: updates may not modify existing certificate content`},

		"roots without a signer": {doc: bundle("a", "", root)},
		"roots of a signer":      {doc: bundle("example.com:s:a", "example.com/s", root)},
		"their name":             {doc: bundle("a", "example.com/s", root), want: `metadata.name: Invalid value: "a": ClusterTrustBundle for signerName example.com/s must be named with prefix example.com:s:`},
		"a leaf is no root":      {doc: bundle("a", "", certificate(t, false)), want: `spec.trustBundle: Invalid value: "<value omitted>": entry 0 does not have the CA bit set`},
		"a root given twice":     {doc: bundle("a", "", bytes.Repeat(root, 2)), want: `spec.trustBundle: Invalid value: "<value omitted>": duplicate trust anchor (indices 0 and 1)`},
		"no root":                {doc: bundle("a", "", nil), want: `spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided`},
	})
}

func TestAdmissionRegistrationRules(t *testing.T) {
	hook := func(rest string) string {
		return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: a}\nwebhooks: [{" + rest + "}]"
	}
	good := "name: a.example.com, sideEffects: None, admissionReviewVersions: [v1]"
	rules := ", rules: [{operations: [CREATE], apiGroups: [''], apiVersions: [v1], resources: [pods]}]"
	policy := func(spec string) string {
		return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: a}\nspec: " + spec
	}
	match := "matchConstraints: {resourceRules: [{operations: ['*'], apiGroups: [apps], apiVersions: [v1], resources: [deployments]}]}"
	testRules(t, map[string]rule{
		"a good webhook":      {doc: hook(good + rules + ", clientConfig: {service: {namespace: ns, name: s, path: /check}}")},
		"it needs an address": {doc: hook(good), want: `webhooks[0].clientConfig: Required value: exactly one of url or service is required`},
		"of https": {doc: hook(good + ", clientConfig: {url: 'http://u@h/?q=1#f'}"), want: `webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]
webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in the URL
webhooks[0].clientConfig.url: Invalid value: "f": fragments are not permitted in the URL
webhooks[0].clientConfig.url: Invalid value: "q=1": query parameters are not permitted in the URL`},
		"a name of three parts": {doc: hook("name: a.b, sideEffects: None, admissionReviewVersions: [v1], clientConfig: {url: 'https://h'}"), want: `webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots`},
		"side effects are told": {doc: hook("name: a.b.c, admissionReviewVersions: [v1], clientConfig: {url: 'https://h'}"), want: `webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun`},
		"and none but these":    {doc: hook("name: a.b.c, sideEffects: Some, admissionReviewVersions: [v1], clientConfig: {url: 'https://h'}"), want: `webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`},
		"versions are told":     {doc: hook("name: a.b.c, sideEffects: None, clientConfig: {url: 'https://h'}"), want: `webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1`},
		"with one we speak":     {doc: hook("name: a.b.c, sideEffects: None, admissionReviewVersions: [v9], clientConfig: {url: 'https://h'}"), want: `webhooks[0].admissionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1`},
		"half a minute at most": {doc: hook(good + ", timeoutSeconds: 31, clientConfig: {url: 'https://h'}"), want: `webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds`},
		"a star stands alone": {doc: hook(good + ", clientConfig: {url: 'https://h'}, rules: [{operations: ['*', CREATE], apiGroups: ['*', a], apiVersions: ['*', v1], resources: ['*/*', pods]}]"),
			want: `webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if '*' is present, must not specify other operations
webhooks[0].rules[0].apiGroups: Invalid value: ["*","a"]: if '*' is present, must not specify other API groups
webhooks[0].rules[0].apiVersions: Invalid value: ["*","v1"]: if '*' is present, must not specify other API versions
webhooks[0].rules[0].resources: Invalid value: ["*/*","pods"]: if '*/*' is present, must not specify other resources`},

		"a good policy":        {doc: policy("{" + match + ", validations: [{expression: 'true'}]}")},
		"it matches something": {doc: policy("{validations: [{expression: 'true'}]}"), want: `spec.matchConstraints: Required value`},
		"it says something":    {doc: policy("{" + match + "}"), want: "spec.validations: Required value: validations or auditAnnotations must contain at least one item\nspec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item"},
		"lines need a message": {doc: policy("{" + match + `, validations: [{expression: "a\nb"}]}`), want: `spec.validations[0].message: Required value: message must be specified if expression contains line breaks`},
		"a variable's name":    {doc: policy("{" + match + `, validations: [{expression: 'true'}], variables: [{name: in, expression: '1'}]}`), want: `spec.variables[0].name: Invalid value: "in": must be a valid CEL identifier`},
		"deny and warn": {doc: "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: a}\nspec: {policyName: p, validationActions: [Deny, Warn]}",
			want: `spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)`},
		"a mutation of the other kind": {doc: "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nmetadata: {name: a}\nspec: {reinvocationPolicy: Never, " + match + ", mutations: [{patchType: JSONPatch, applyConfiguration: {expression: x}}]}",
			want: `spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch
spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch`},
	})
}

func TestFlowControlRules(t *testing.T) {
	level := func(spec string) string {
		return "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: PriorityLevelConfiguration\nmetadata: {name: a}\nspec: " + spec
	}
	schema := func(spec string) string {
		return "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nmetadata: {name: a}\nspec: " + spec
	}
	testRules(t, map[string]rule{
		"queues with defaults":   {doc: level("{type: Limited, limited: {limitResponse: {type: Queue, queuing: {}}}}")},
		"more hands than queues": {doc: level("{type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 4, handSize: 8}}}}"), want: `spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)`},
		"too much entropy":       {doc: level("{type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 10000000, handSize: 9}}}}"), want: `spec.limited.limitResponse.queuing.handSize: Invalid value: 9: required entropy bits of deckSize 10000000 and handSize 9 should not be greater than 60`},
		"only one is exempt":     {doc: level("{type: Exempt}"), want: `spec.type: Invalid value: "Exempt": must be "Exempt" if and only if name is "exempt"`},
		"limited needs limits":   {doc: level("{type: Limited}"), want: `spec.limited: Required value`},
		"a level is named":       {doc: schema("{priorityLevelConfiguration: {name: ''}}"), want: `spec.priorityLevelConfiguration.name: Required value: must reference a priority level`},
		"a precedence too high":  {doc: schema("{priorityLevelConfiguration: {name: p}, matchingPrecedence: 10001}"), want: `spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000`},
		"a subject of its kind":  {doc: schema("{priorityLevelConfiguration: {name: p}, rules: [{subjects: [{kind: User}], nonResourceRules: [{verbs: [get], nonResourceURLs: [healthz]}]}]}"), want: "spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'\nspec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"healthz\": must start with slash"},
	})
}

func TestDeviceRules(t *testing.T) {
	claim := func(spec string) string {
		return "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: a}\nspec: {devices: " + spec + "}"
	}
	slice := func(spec string) string {
		return "apiVersion: resource.k8s.io/v1\nkind: ResourceSlice\nmetadata: {name: a}\nspec: " + spec
	}
	testRules(t, map[string]rule{
		"one device of a class":  {doc: claim("{requests: [{name: gpu, exactly: {deviceClassName: gpu.example.com}}]}")},
		"a request of no kind":   {doc: claim("{requests: [{name: gpu}]}"), want: "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"},
		"names differ":           {doc: claim("{requests: [{name: g, exactly: {deviceClassName: c}}, {name: g, exactly: {deviceClassName: c}}]}"), want: `spec.devices.requests[1]: Duplicate value: {"name":"g","exactly":{"deviceClassName":"c","allocationMode":"ExactCount","count":1}}`},
		"no count with all":      {doc: claim("{requests: [{name: g, exactly: {deviceClassName: c, allocationMode: All, count: 2}}]}"), want: `spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'`},
		"a constraint on nobody": {doc: claim("{constraints: [{requests: [x], matchAttribute: a.io/b}]}"), want: `spec.devices.constraints[0].requests[0]: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`},
		"a claim stays": {old: claim("{requests: []}"), doc: claim("{requests: [{name: gpu, exactly: {deviceClassName: c}}]}"),
			want: `spec: Invalid value: null: field is immutable`},
		"reserved before allocated": {status: true, old: claim("{}"), doc: claim("{}") + "\nstatus: {reservedFor: [{resource: pods, name: p, uid: u}]}", want: "status.reservedFor: Forbidden: may not be specified when `allocated` is not set"},
		"devices of a node":         {doc: slice("{driver: d.io, nodeName: n1, pool: {name: n1, resourceSliceCount: 1}, devices: [{name: d0, attributes: {model: {string: x}}}]}")},
		"devices of nobody":         {doc: slice("{driver: d.io, pool: {name: n1, resourceSliceCount: 1}}"), want: "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"},
		"an attribute of nothing":   {doc: slice("{driver: d.io, nodeName: n1, pool: {name: n1, resourceSliceCount: 1}, devices: [{name: d0, attributes: {model: {}}}]}"), want: "spec.devices[0].attributes[model]: Invalid value: \"\": must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"},
	})
}

func TestEventRules(t *testing.T) {
	event := func(rest string) string {
		return "apiVersion: events.k8s.io/v1\nkind: Event\nmetadata: {name: a, namespace: default}\n" + rest
	}
	good := "eventTime: '2026-01-01T00:00:00.000000Z'\nreportingController: a.io/x\nreportingInstance: x-1\naction: Pulling\nreason: Pulled\ntype: Normal\nregarding: {kind: Pod, namespace: default, name: p}\n"
	testRules(t, map[string]rule{
		"a whole event":    {doc: event(good)},
		"it has a time":    {doc: event(strings.Replace(good, "eventTime: '2026-01-01T00:00:00.000000Z'\n", "", 1)), want: `eventTime: Required value`},
		"no fields of old": {doc: event(good + "deprecatedCount: 3\n"), want: `count: Invalid value: "": needs to be unset`},
		"a note stays":     {old: event(good + "note: a\n"), doc: event(good + "note: b\n"), want: `message: Invalid value: "b": field is immutable`},
		"an unknown type":  {doc: event(strings.Replace(good, "Normal", "Odd", 1)), want: `type: Invalid value: "": has invalid value: Odd`},
	})
}
