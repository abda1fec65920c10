package openapi

import (
	"reflect"
	"slices"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// operation is one verb on one path.
type operation struct {
	method, action, id, text string
	body                     kind // the zero one: none
	answer                   kind // the zero one: text
	query                    []string
	patches                  bool
}

// help is what the query parameters mean.
var help = map[string]struct{ kind, text string }{
	"pretty":               {"string", "If 'true', then the output is pretty printed."},
	"dryRun":               {"string", "When present, indicates that modifications should not be persisted. An invalid or unrecognized dryRun directive will result in an error response and no further processing of the request. Valid values are: - All: all dry run stages will be processed"},
	"fieldManager":         {"string", "fieldManager is a name associated with the actor or entity that is making these changes."},
	"fieldValidation":      {"string", "fieldValidation instructs the server on how to handle objects in the request (POST/PUT/PATCH) containing unknown or duplicate fields. Valid values are: Ignore, Warn, Strict."},
	"labelSelector":        {"string", "A selector to restrict the list of returned objects by their labels. Defaults to everything."},
	"fieldSelector":        {"string", "A selector to restrict the list of returned objects by their fields. Defaults to everything."},
	"limit":                {"integer", "limit is a maximum number of responses to return for a list call."},
	"continue":             {"string", "The continue option should be set when retrieving more results from the server."},
	"resourceVersion":      {"string", "resourceVersion sets a constraint on what resource versions a request may be served from."},
	"resourceVersionMatch": {"string", "resourceVersionMatch determines how resourceVersion is applied to list calls."},
	"timeoutSeconds":       {"integer", "Timeout for the list/watch call. This limits the duration of the call, regardless of any activity or inactivity."},
	"watch":                {"boolean", "Watch for changes to the described resources and return them as a stream of add, update, and remove notifications."},
	"allowWatchBookmarks":  {"boolean", "allowWatchBookmarks requests watch events with type \"BOOKMARK\"."},
	"sendInitialEvents":    {"boolean", "sendInitialEvents begins a watch with what exists, ended by a bookmark."},
	"gracePeriodSeconds":   {"integer", "The duration in seconds before the object should be deleted."},
	"propagationPolicy":    {"string", "Whether and how garbage collection will be performed: Orphan, Background or Foreground."},
	"force":                {"boolean", "Force is going to \"force\" Apply requests. It must be unset for other patches."},
	"orphanDependents":     {"boolean", "Deprecated: please use the PropagationPolicy."},
}

var (
	listQuery   = []string{"allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch"}
	writeQuery  = []string{"dryRun", "fieldManager", "fieldValidation"}
	deleteQuery = []string{"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"}
)

// root is where a group version lives.
func root(group, version string) string {
	if group == "" {
		return "/api/" + version
	}
	return "/apis/" + group + "/" + version
}

// camel is a group version as operation ids spell it: "RbacAuthorizationV1".
func camel(group, version string) string {
	if group == "" {
		group = "core"
	}
	group = strings.TrimSuffix(group, ".k8s.io")
	var b strings.Builder
	for part := range strings.SplitSeq(group, ".") {
		b.WriteString(title(part))
	}
	return b.String() + title(version)
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func typeOf(v any) reflect.Type { return reflect.TypeOf(v).Elem() }

// path is one URL with its operations.
type path struct {
	url  string
	info *api.Info // whose kind it is about
	kind *api.Subresource
	ops  []operation
}

// paths lists what a resource answers to.
func paths(i *api.Info) []path {
	has := func(v string) bool { return slices.Contains(i.Verbs, v) }
	base := root(i.Group, i.Version)
	scope := ""
	if i.Namespaced {
		base += "/namespaces/{namespace}"
		scope = "Namespaced"
	}
	gv, kindName := camel(i.Group, i.Version), i.Kind
	object, none := kindOf(i, false), kind{}
	status := kind{typ: typeOf(&metav1.Status{})}
	options := kind{typ: typeOf(&metav1.DeleteOptions{})}
	var all, one []operation
	if has("list") {
		all = append(all, operation{"get", "list", "list" + gv + scope + kindName, "list or watch objects of kind " + kindName, none, kindOf(i, true), listQuery, false})
	}
	if has("create") {
		all = append(all, operation{"post", "post", "create" + gv + scope + kindName, "create a " + kindName, object, object, writeQuery, false})
	}
	if has("deletecollection") {
		all = append(all, operation{"delete", "deletecollection", "delete" + gv + "Collection" + scope + kindName, "delete collection of " + kindName, options, status,
			slices.Concat(deleteQuery, listQuery), false})
	}
	if has("get") {
		one = append(one, operation{"get", "get", "read" + gv + scope + kindName, "read the specified " + kindName, none, object, nil, false})
	}
	if has("update") {
		one = append(one, operation{"put", "put", "replace" + gv + scope + kindName, "replace the specified " + kindName, object, object, writeQuery, false})
	}
	if has("patch") {
		one = append(one, operation{"patch", "patch", "patch" + gv + scope + kindName, "partially update the specified " + kindName, none, object, append(slices.Clone(writeQuery), "force"), true})
	}
	if has("delete") {
		one = append(one, operation{"delete", "delete", "delete" + gv + scope + kindName, "delete a " + kindName, options, status, deleteQuery, false})
	}
	out := []path{{url: base + "/" + i.Resource, info: i, ops: all}}
	if len(one) > 0 {
		out = append(out, path{url: base + "/" + i.Resource + "/{name}", info: i, ops: one})
	}
	if i.Namespaced && has("list") {
		out = append(out, path{url: root(i.Group, i.Version) + "/" + i.Resource, info: i, ops: []operation{
			{"get", "list", "list" + gv + kindName + "ForAllNamespaces", "list or watch objects of kind " + kindName, none, kindOf(i, true), listQuery, false}}})
	}
	part := func(sub api.Subresource, t kind) {
		var ops []operation
		suffix := title(sub.Name)
		for _, v := range sub.Verbs {
			switch v {
			case "get":
				ops = append(ops, operation{"get", "get", "read" + gv + scope + kindName + suffix, "read " + sub.Name + " of the specified " + kindName, none, t, nil, false})
			case "update":
				ops = append(ops, operation{"put", "put", "replace" + gv + scope + kindName + suffix, "replace " + sub.Name + " of the specified " + kindName, t, t, writeQuery, false})
			case "patch":
				ops = append(ops, operation{"patch", "patch", "patch" + gv + scope + kindName + suffix, "partially update " + sub.Name + " of the specified " + kindName, none, t, append(slices.Clone(writeQuery), "force"), true})
			case "create":
				ops = append(ops, operation{"post", "post", "create" + gv + scope + kindName + suffix, "create " + sub.Name + " of a " + kindName, t, t, writeQuery, false})
			}
		}
		s := sub
		out = append(out, path{url: base + "/" + i.Resource + "/{name}/" + sub.Name, info: i, kind: &s, ops: ops})
	}
	verbs := []string{"get", "patch", "update"}
	if i.HasStatus {
		part(api.Subresource{Name: "status", Kind: kindName, Verbs: verbs}, object)
	}
	if i.HasScale {
		part(api.Subresource{Name: "scale", Kind: "Scale", Group: "autoscaling", Version: "v1", Verbs: verbs}, kind{typ: typeOf(&autoscalingv1.Scale{})})
	}
	for _, sub := range i.Subresources {
		if sub.Name == "status" || sub.Name == "scale" {
			continue
		}
		var t kind
		gvk := i.GVK()
		if sub.Version != "" {
			gvk.Group, gvk.Version = sub.Group, sub.Version
		}
		gvk.Kind = sub.Kind
		if o, err := api.Scheme().New(gvk); err == nil && !strings.HasSuffix(sub.Kind, "Options") {
			t = kind{typ: typeOf(o)}
		}
		part(sub, t)
	}
	return out
}
