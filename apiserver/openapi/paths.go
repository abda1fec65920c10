package openapi

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
)

// path is one URL with its operations. A parameter of all of them is said once, of the path.
type path struct {
	url    string
	in     []parameter // of the URL itself
	ops    []operation
	pretty bool // answers can be asked for pretty printed
}

// operation is one verb on one path.
type operation struct {
	method, action, id, text, tag string
	gvk                           *schema.GroupVersionKind // nil: it is about no kind
	body                          kind                     // the zero one: none
	may                           bool                     // the body may be left out
	patches                       []string                 // the media types of patches
	answer                        kind                     // the zero one: text
	codes                         []string                 // further ones than 200
	query                         []parameter
	media                         []string
	custom                        bool // it is about a custom resource
}

var (
	objects  = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	streams  = append(slices.Clone(objects), "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	anyMedia = []string{"*/*"}
)

// root is where a group version lives.
func root(group, version string) string {
	if group == "" {
		return "/api/" + version
	}
	return "/apis/" + group + "/" + version
}

// wordsOf is a group's name as operation ids spell it: "RbacAuthorization".
func wordsOf(group string) string {
	if group == "" {
		group = "core"
	}
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(strings.TrimSuffix(group, ".k8s.io"), func(r rune) bool { return r == '.' || r == '-' }) {
		b.WriteString(title(part))
	}
	return b.String()
}

// camel is a group version as operation ids spell it: "RbacAuthorizationV1".
func camel(group, version string) string { return wordsOf(group) + title(version) }

// tag is what operations of a group version are kept together by: "rbacAuthorization_v1".
func tag(group, version string) string {
	w := wordsOf(group)
	return strings.Trim(strings.ToLower(w[:1])+w[1:]+"_"+version, "_")
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// a puts the article before a kind.
func a(kind string) string {
	if kind == "Endpoints" {
		return kind
	}
	if strings.ContainsAny(kind[:1], "AEIOU") {
		return "an " + kind
	}
	return "a " + kind
}

func typeOf(v any) reflect.Type { return reflect.TypeOf(v).Elem() }

// returned are the kinds that a deletion answers with, where others' answer is a Status.
var returned = []string{"CSINode", "PersistentVolume", "CSIDriver", "VolumeAttributesClass", "PersistentVolumeClaim", "ResourceClaimTemplate", "VolumeAttachment", "DeviceClass",
	"DeviceTaintRule", "ResourcePoolStatusRequest", "ServiceAccount", "Service", "StorageClass", "ResourceClaim", "ResourceQuota", "Pod", "ResourceSlice", "PodTemplate"}

// paths lists what a resource answers to.
func paths(i *api.Info) []path {
	has := func(v string) bool { return slices.Contains(i.Verbs, v) }
	base, scope := root(i.Group, i.Version), ""
	if i.Namespaced {
		base += "/namespaces/{namespace}"
		scope = "Namespaced"
	}
	gv, kindName := camel(i.Group, i.Version), i.Kind
	gvk := i.GVK()
	op := func(method, action, id, text string, o operation) operation {
		o.method, o.action, o.id, o.text, o.tag, o.gvk = method, action, id, text, tag(i.Group, i.Version), &gvk
		if o.media == nil {
			o.media = objects
		}
		if o.custom = i.Custom != nil; o.custom { // Kubernetes 1.37 says less of these
			o.codes = slices.DeleteFunc(slices.Clone(o.codes), func(string) bool { return action == "patch" })
			if action == "get" {
				o.query = queries().get
			}
			o.media = slices.DeleteFunc(slices.Clone(o.media), func(m string) bool { return strings.Contains(m, "protobuf") || strings.Contains(m, "stream") })
		}
		return o
	}
	object, status, options := kindOf(i, false), kind{typ: typeOf(&metav1.Status{})}, kind{typ: typeOf(&metav1.DeleteOptions{})}
	inURL := func(url, called string) (in []parameter) {
		if strings.Contains(url, "{name}") {
			in = append(in, parameter{"name", "path", "string", "name of the " + called})
		}
		if strings.Contains(url, "{namespace}") {
			in = append(in, parameter{"namespace", "path", "string", "object name and auth scope, such as for teams and projects"})
		}
		return in
	}
	all, one := path{url: base + "/" + i.Resource, pretty: true}, path{url: base + "/" + i.Resource + "/{name}", pretty: true}
	listing := operation{query: queries().list, media: streams}
	lists := "list objects of kind " + kindName
	if has("watch") && i.Custom == nil {
		lists = "list or watch objects of kind " + kindName
	}
	if has("list") {
		listing.answer = kindOf(i, true)
		all.ops = append(all.ops, op("get", "list", "list"+gv+scope+kindName, lists, listing))
	}
	if has("create") {
		all.ops = append(all.ops, op("post", "post", "create"+gv+scope+kindName, "create "+a(kindName), operation{body: object, answer: object, query: queries().create, codes: []string{"201", "202"}}))
	}
	if has("deletecollection") {
		o := operation{body: options, may: true, answer: status, query: queries().deleteAll}
		if i.Custom != nil { // as Kubernetes 1.37 says it
			o = operation{answer: status, query: queries().list}
		}
		all.ops = append(all.ops, op("delete", "deletecollection", "delete"+gv+"Collection"+scope+kindName, "delete collection of "+kindName, o))
	}
	if has("get") {
		one.ops = append(one.ops, op("get", "get", "read"+gv+scope+kindName, "read the specified "+kindName, operation{answer: object}))
	}
	if has("update") {
		one.ops = append(one.ops, op("put", "put", "replace"+gv+scope+kindName, "replace the specified "+kindName, operation{body: object, answer: object, query: queries().update, codes: []string{"201"}}))
	}
	if has("patch") {
		one.ops = append(one.ops, op("patch", "patch", "patch"+gv+scope+kindName, "partially update the specified "+kindName,
			operation{answer: object, query: queries().patch, patches: patchTypes(i), codes: []string{"201"}}))
	}
	if has("delete") {
		gone := status
		if i.Custom == nil && slices.Contains(returned, kindName) && !(kindName == "DeviceTaintRule" && i.Version == "v1") { // as it happens
			gone = object
		}
		one.ops = append(one.ops, op("delete", "delete", "delete"+gv+scope+kindName, "delete "+a(kindName),
			operation{body: options, may: true, answer: gone, query: queries().delete, codes: []string{"202"}}))
	}
	out := []path{all, one}
	if i.Namespaced && has("list") {
		out = append(out, path{url: root(i.Group, i.Version) + "/" + i.Resource, pretty: true, ops: []operation{op("get", "list", "list"+gv+kindName+"ForAllNamespaces", lists, listing)}})
	}
	if has("watch") && i.Custom == nil {
		watch := operation{answer: kind{typ: typeOf(&metav1.WatchEvent{})}, query: queries().list, media: streams}
		const every = "watch individual changes to a list of %. deprecated: use the 'watch' parameter with a list operation instead."
		add := func(url, action, id, text string) {
			at := strings.Replace(url, root(i.Group, i.Version), root(i.Group, i.Version)+"/watch", 1)
			out = append(out, path{url: at, pretty: true, ops: []operation{op("get", action, "watch"+gv+id, strings.Replace(text, "%", kindName, 1), watch)}})
		}
		add(base+"/"+i.Resource, "watchlist", scope+kindName+"List", every)
		add(base+"/"+i.Resource+"/{name}", "watch", scope+kindName, "watch changes to an object of kind %. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.")
		if i.Namespaced {
			add(root(i.Group, i.Version)+"/"+i.Resource, "watchlist", kindName+"ListForAllNamespaces", every)
		}
	}
	for _, s := range parts(i) {
		out = append(out, s.paths(i, base, scope, op)...)
	}
	out = slices.DeleteFunc(out, func(p path) bool { return len(p.ops) == 0 })
	for n := range out {
		out[n].in = append(inURL(out[n].url, out[n].ops[0].gvk.Kind), out[n].in...)
	}
	return out
}

// part is a subresource, with the kind that it takes and gives.
type part struct {
	api.Subresource
	takes kind
}

// parts are a resource's subresources.
func parts(i *api.Info) (out []part) {
	verbs := []string{"get", "patch", "update"}
	if i.HasStatus {
		out = append(out, part{api.Subresource{Name: "status", Kind: i.Kind, Verbs: verbs}, kindOf(i, false)})
	}
	if i.HasScale {
		out = append(out, part{api.Subresource{Name: "scale", Kind: "Scale", Group: "autoscaling", Version: "v1", Verbs: verbs}, kind{typ: typeOf(&autoscalingv1.Scale{})}})
	}
	for _, s := range i.Subresources {
		if s.Name == "status" || s.Name == "scale" {
			continue
		}
		p := part{Subresource: s}
		gvk := i.GVK()
		if s.Version != "" {
			gvk.Group, gvk.Version = s.Group, s.Version
		}
		gvk.Kind = s.Kind
		if o, err := api.Scheme().New(gvk); err == nil {
			p.takes = kind{typ: typeOf(o)}
		}
		out = append(out, p)
	}
	return out
}

// paths are those of a subresource.
func (s part) paths(i *api.Info, base, scope string, op func(method, action, id, text string, o operation) operation) []path {
	gv, kindName, suffix := camel(i.Group, i.Version), i.Kind, title(s.Name)
	p := path{url: base + "/" + i.Resource + "/{name}/" + s.Name, pretty: true}
	if strings.HasSuffix(s.Kind, "Options") {
		return s.connections(i, p, scope, op)
	}
	if s.Name == "log" {
		log := operation{query: options(reflect.TypeFor[corev1.PodLogOptions]()), media: append([]string{"text/plain"}, objects...)}
		p.ops = []operation{op("get", "get", "read"+gv+scope+kindName+suffix, "read log of the specified "+kindName, log)}
		return []path{p}
	}
	for _, v := range s.Verbs {
		o := operation{answer: s.takes}
		switch v {
		case "get":
			o = op("get", "get", "read"+gv+scope+kindName+suffix, "read "+s.Name+" of the specified "+kindName, o)
		case "update":
			o.body, o.query, o.codes = s.takes, queries().update, []string{"201"}
			o = op("put", "put", "replace"+gv+scope+kindName+suffix, "replace "+s.Name+" of the specified "+kindName, o)
		case "patch":
			o.query, o.patches, o.codes = queries().patch, patchTypes(i), []string{"201"}
			o = op("patch", "patch", "patch"+gv+scope+kindName+suffix, "partially update "+s.Name+" of the specified "+kindName, o)
		case "create":
			o.body, o.query, o.codes = s.takes, queries().create, []string{"201", "202"}
			o = op("post", "post", "create"+gv+scope+kindName+suffix, "create "+s.Name+" of "+a(kindName), o)
		default:
			continue
		}
		o.gvk = &schema.GroupVersionKind{Group: i.Group, Version: i.Version, Kind: s.Kind}
		switch {
		case i.Custom != nil:
			o.gvk.Kind = i.Kind // as Kubernetes 1.37 says it
		case s.Version != "":
			o.gvk.Group, o.gvk.Version = s.Group, s.Version
		}
		p.ops = append(p.ops, o)
	}
	return []path{p}
}

// connections are the paths on which a stream is opened (exec), or any request passed on (proxy).
func (s part) connections(i *api.Info, p path, scope string, op func(method, action, id, text string, o operation) operation) []path {
	gv, suffix := camel(i.Group, i.Version), title(s.Name)
	if s.Name == "portforward" {
		suffix = "Portforward"
	}
	methods := []string{http.MethodGet, http.MethodPost}
	if s.Name == "proxy" {
		methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions}
	}
	p.pretty = false
	with := p
	with.url += "/{path}"
	with.in = []parameter{{"path", "path", "string", "path to the resource"}}
	for _, method := range methods {
		o := op(strings.ToLower(method), "connect", "connect"+gv+title(strings.ToLower(method))+scope+i.Kind+suffix, "connect "+method+" requests to "+s.Name+" of "+i.Kind,
			operation{query: options(s.takes.typ), media: anyMedia})
		o.gvk = &schema.GroupVersionKind{Group: i.Group, Version: i.Version, Kind: s.Kind}
		p.ops = append(p.ops, o)
		o.id += "WithPath"
		with.ops = append(with.ops, o)
	}
	if s.Name != "proxy" {
		return []path{p}
	}
	return []path{p, with}
}

// discovery is the path on which a group version lists its resources.
func discovery(group, version string) path {
	return path{url: root(group, version) + "/", ops: []operation{{method: "get", id: "get" + camel(group, version) + "APIResources", text: "get available resources", tag: tag(group, version),
		answer: kind{typ: reflect.TypeFor[metav1.APIResourceList]()}, media: objects}}}
}

// patchTypes are the kinds of patches that a resource takes.
func patchTypes(i *api.Info) []string {
	if i.Custom != nil {
		return []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}
	}
	return []string{"application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml"}
}

// shared takes the parameters out of a path's operations that all of them have, and gives them with the path's own.
func (p *path) shared() []parameter {
	count := map[parameter]int{}
	for _, o := range p.ops {
		for _, q := range o.query {
			count[q]++
		}
	}
	out := slices.Clone(p.in)
	if p.pretty {
		out = append(out, parameter{"pretty", "query", "string", "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget)."})
	}
	all := func(q parameter) bool { return count[q] == len(p.ops) }
	for q := range maps.Keys(count) {
		if all(q) {
			out = append(out, q)
		}
	}
	p.ops = slices.Clone(p.ops)
	for n, o := range p.ops {
		p.ops[n].query = slices.DeleteFunc(slices.Clone(o.query), all)
	}
	slices.SortFunc(out, parameter.compare)
	return out
}
