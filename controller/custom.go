package controller

import (
	"context"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/client"
)

var definitions = client.Kind[*apiextensionsv1.CustomResourceDefinition]{Resource: client.Resource{
	GroupVersionResource: apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"), Kind: "CustomResourceDefinition",
	New: func() client.Object { return &apiextensionsv1.CustomResourceDefinition{} }}}

// Custom follows the custom resources until ctx ends: f is called from one goroutine with each that is established, and again when
// it is no longer there. Of their objects there is the metadata alone (metav1.PartialObjectMetadata). It returns at once.
func Custom(ctx context.Context, c client.Client, f func(r client.Resource, there bool)) client.View {
	v := definitions.View(ctx, c, client.Selection{Outline: true})
	v.Subscribe(ctx, func(old, new *apiextensionsv1.CustomResourceDefinition) {
		was, had := served(old)
		is, has := served(new)
		switch {
		case had && has && was.GroupVersionResource == is.GroupVersionResource && old.UID == new.UID:
			return
		case had:
			f(was, false)
		}
		if has {
			f(is, true)
		}
	})
	return v.View
}

// served is what a definition defines, in one version; false: nothing yet.
func served(d *apiextensionsv1.CustomResourceDefinition) (r client.Resource, ok bool) {
	if d == nil || !slices.ContainsFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	}) {
		return r, false
	}
	for _, v := range d.Spec.Versions {
		if v.Served {
			names := d.Status.AcceptedNames
			return client.Resource{GroupVersionResource: schema.GroupVersionResource{Group: d.Spec.Group, Version: v.Name, Resource: names.Plural}, Kind: names.Kind,
				Namespaced: d.Spec.Scope == apiextensionsv1.NamespaceScoped, New: func() client.Object { return &metav1.PartialObjectMetadata{} }}, true
		}
	}
	return r, false
}

// Resources are some that are given and the custom ones that are there at a moment. Safe for concurrent use.
type Resources struct {
	mu   sync.Mutex
	all  []client.Resource
	view client.View
}

// AllResources begins to follow custom resources beside those that are given.
func AllResources(ctx context.Context, c client.Client, given []client.Resource) *Resources {
	r := &Resources{all: slices.Clone(given)}
	r.view = Custom(ctx, c, func(of client.Resource, there bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if there {
			r.all = append(r.all, of) // behind what others may be looking at
			return
		}
		r.all = slices.DeleteFunc(slices.Clone(r.all), func(o client.Resource) bool { return o.GroupVersionResource == of.GroupVersionResource })
	})
	return r
}

// Now are those that are there. Nobody may write to them.
func (r *Resources) Now() []client.Resource {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

// View is that of the definitions.
func (r *Resources) View() client.View { return r.view }
