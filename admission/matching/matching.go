// Package matching finds out which requests are meant by a webhook or policy: its rules, its selectors, and requests for the same
// object through another version. A request (admission.Attributes) comes in, a View of it in the version that was meant goes out.
// Source: Kubernetes documentation, Dynamic Admission Control, Matching requests; type comments of admissionregistration/v1.
package matching

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
)

// World is what matching must know of the cluster.
type World struct {
	Namespaces client.TypedView[*corev1.Namespace]
	// Versions are the records of all versions that are served of what is stored under a StoreKey.
	Versions func(storeKey string) []*api.Info
}

// Criteria say which requests are meant. Selectors that are nil take everything.
type Criteria struct {
	Rules, Except       []admissionv1.NamedRuleWithOperations
	Exact               bool // only the versions that the rules name
	Namespaces, Objects labels.Selector
}

// New makes criteria of what a webhook or policy says.
func New(rules, except []admissionv1.NamedRuleWithOperations, policy *admissionv1.MatchPolicyType, namespaces, objects *metav1.LabelSelector) (c Criteria, err error) {
	c = Criteria{Rules: rules, Except: except, Exact: policy != nil && *policy == admissionv1.Exact}
	if c.Namespaces, err = selector(namespaces); err != nil {
		return c, err
	}
	c.Objects, err = selector(objects)
	return c, err
}

// selector is nil for one that takes everything.
func selector(s *metav1.LabelSelector) (labels.Selector, error) {
	if s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0 {
		return nil, nil
	}
	return metav1.LabelSelectorAsSelector(s)
}

// Exempt tells whether nobody is asked about a request: what users add to admission cannot keep them from taking it away again, nor
// be asked what the server does on its own.
func Exempt(a *admission.Attributes) bool {
	return a.System || a.Info.Group == admissionv1.GroupName && a.Info.Resource != ""
}

// Match gives the record in whose version the request is meant; nil: it is not meant.
func (w World) Match(c *Criteria, a *admission.Attributes) (*api.Info, error) {
	i := w.rules(c.Rules, c.Exact, a)
	if i == nil || len(c.Except) > 0 && w.rules(c.Except, c.Exact, a) != nil {
		return nil, nil
	}
	if c.Objects != nil && !(labelled(c.Objects, a.Object) || labelled(c.Objects, a.Old)) {
		return nil, nil
	}
	if c.Namespaces != nil {
		if ok, err := w.inNamespace(c.Namespaces, a); !ok || err != nil {
			return nil, err
		}
	}
	return i, nil
}

// rules looks for a rule that takes the request as it is, then for one that takes another version of it.
func (w World) rules(rules []admissionv1.NamedRuleWithOperations, exact bool, a *admission.Attributes) *api.Info {
	for n := range rules {
		if Takes(&rules[n], a, a.Info) {
			return a.Info
		}
	}
	if exact || w.Versions == nil {
		return nil
	}
	others := w.Versions(a.Info.StoreKey)
	if len(others) < 2 {
		return nil
	}
	for n := range rules {
		for _, i := range others {
			if i != a.Info && Takes(&rules[n], a, i) {
				return i
			}
		}
	}
	return nil
}

// Takes tells whether a rule takes the request, seen as one for another version of its resource.
func Takes(r *admissionv1.NamedRuleWithOperations, a *admission.Attributes, i *api.Info) bool {
	return has(r.Operations, admissionv1.OperationType(a.Operation)) && has(r.APIGroups, i.Group) && has(r.APIVersions, i.Version) &&
		scoped(r.Scope, i) && named(r.ResourceNames, a.Name) &&
		slices.ContainsFunc(r.Resources, func(want string) bool { return resource(want, i.Resource, a.Subresource) })
}

func has[T ~string](list []T, one T) bool {
	return slices.ContainsFunc(list, func(s T) bool { return s == "*" || s == one })
}

func scoped(s *admissionv1.ScopeType, i *api.Info) bool {
	return s == nil || *s == admissionv1.AllScopes || (*s == admissionv1.NamespacedScope) == i.Namespaced
}

func named(names []string, name string) bool { return len(names) == 0 || slices.Contains(names, name) }

// resource compares a rule's resource: "pods", "pods/log", "pods/*", "*/scale", "*", "*/*".
func resource(want, plural, sub string) bool {
	resource, subresource, _ := strings.Cut(want, "/")
	return (resource == "*" || resource == plural) && (subresource == sub || subresource == "*")
}

// labelled: an object that is not there, or cannot have labels, is not taken by a selector.
func labelled(s labels.Selector, o api.Object) bool {
	return o != nil && s.Matches(labels.Set(o.GetLabels()))
}

// inNamespace matches the labels of the request's namespace. A Namespace is matched by its own; other cluster-scoped objects always are.
func (w World) inNamespace(s labels.Selector, a *admission.Attributes) (bool, error) {
	if a.Info.Group == "" && a.Info.Resource == "namespaces" {
		return labelled(s, a.Object) || a.Object == nil && labelled(s, a.Old), nil
	}
	if !a.Info.Namespaced {
		return true, nil
	}
	ns, ok := w.Namespaces.Get("", a.Namespace)
	if !ok {
		return false, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, a.Namespace)
	}
	return s.Matches(labels.Set(ns.Labels)), nil
}

// View is a request in the version that somebody wants to see.
type View struct {
	Info        *api.Info // of the resource, in that version
	Kind        schema.GroupVersionKind
	Object, Old runtime.Object // nil where there is none; never to be written to
}

// See shows a request in the version of a record that Match gave.
func See(a *admission.Attributes, i *api.Info) (v View, err error) {
	v = View{Info: i, Kind: a.Shape().GVK()}
	if a.Connection != nil {
		v.Kind, v.Object = a.Connection.GetObjectKind().GroupVersionKind(), a.Connection
		return v, nil
	}
	object, old := a.Object, a.Old
	if a.As == nil && i != a.Info {
		v.Kind = i.GVK()
		if object, err = Convert(object, a.Info, i); err != nil {
			return v, err
		}
		if old, err = Convert(old, a.Info, i); err != nil {
			return v, err
		}
	}
	if object != nil {
		v.Object = said(object, v.Kind)
	}
	if old != nil {
		v.Old = said(old, v.Kind)
	}
	return v, nil
}

// said makes sure that the object says of which kind it is.
func said(o api.Object, k schema.GroupVersionKind) api.Object {
	if o.GetObjectKind().GroupVersionKind() == k {
		return o
	}
	o = o.DeepCopyObject().(api.Object)
	o.GetObjectKind().SetGroupVersionKind(k)
	return o
}

// Convert gives an object of one version in another one.
func Convert(o api.Object, from, to *api.Info) (api.Object, error) {
	if o == nil || from == to {
		return o, nil
	}
	o = o.DeepCopyObject().(api.Object) // conversions may share, and write to, what they are handed
	var err error
	if from.ToStored != nil {
		if o, err = from.ToStored(o); err != nil {
			return nil, err
		}
	}
	if to.Load != nil {
		return to.Load(o)
	}
	return o, nil
}

// Put makes the request's object what somebody made of it, in the version of i, with the defaults that what was added lacks.
func Put(a *admission.Attributes, i *api.Info, obj api.Object) (changed bool, err error) {
	shape := a.Shape()
	if i != a.Info && a.As == nil {
		obj.GetObjectKind().SetGroupVersionKind(i.GVK())
		if obj, err = Convert(obj, i, a.Info); err != nil {
			return false, err
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(shape.GVK())
	if shape.Default != nil {
		shape.Default(obj)
	}
	before, err := json.Marshal(a.Object)
	if err != nil {
		return false, err
	}
	reflect.ValueOf(a.Object).Elem().Set(reflect.ValueOf(obj).Elem()) // whoever waits for the chain holds this very object
	after, err := json.Marshal(a.Object)
	return !bytes.Equal(before, after), err
}

// Read decodes what somebody made of the request's object, in the version of i. Fields that the kind does not have are dropped.
func Read(a *admission.Attributes, i *api.Info, data []byte) (api.Object, error) {
	shape := a.As
	if shape == nil {
		shape = i
	}
	obj := shape.New()
	if _, err := api.DecodeJSON(obj, data); err != nil {
		return nil, err
	}
	if shape.Custom != nil {
		if _, err := shape.Custom.Receive(obj); err != nil {
			return nil, err
		}
	}
	return obj, nil
}
