package api

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Taking is a record for the kind that a subresource takes, such as an Eviction; the resource's own where it says of none.
func (i *Info) Taking(subresource string) *Info {
	for _, sub := range i.Subresources {
		if sub.Name == subresource {
			return i.taking(sub)
		}
	}
	return i
}

func (i *Info) taking(sub Subresource) *Info {
	group, version := sub.Group, sub.Version
	if version == "" {
		group, version = i.Group, i.Version
	}
	gvk := schema.GroupVersionKind{Group: group, Version: version, Kind: sub.Kind}
	out := &Info{GroupVersionResource: gvk.GroupVersion().WithResource(i.Resource + "/" + sub.Name), Kind: sub.Kind, Namespaced: i.Namespaced,
		New: func() Object {
			obj, err := Scheme().New(gvk)
			if err != nil {
				panic(fmt.Sprintf("subresource %s of %s: %v", sub.Name, i.Resource, err))
			}
			return obj.(Object)
		}}
	out.Default = func(Object) {}
	out.Stored = out
	return out
}
