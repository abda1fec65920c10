package aggregate

import (
	"maps"
	"slices"
	"sync/atomic"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
)

// Kinds are the resources that others serve, as records of their names alone: nothing can be made or stored by them. One is the
// same record for as long as what it was found with is. Safe for concurrent use; Set is called by one at a time.
type Kinds struct {
	all atomic.Pointer[map[schema.GroupVersionResource]kind]
}

type kind struct {
	info     *api.Info
	document string // where its schema is
	current  bool   // its server answers
}

// Set makes them those that others serve now, and gives the records of before and of now.
func (k *Kinds) Set(versions []Version) (before, now []*api.Info) {
	old := k.now()
	next := map[schema.GroupVersionResource]kind{}
	for _, v := range versions {
		for _, r := range v.Discovery.Resources {
			if r.ResponseKind == nil || r.ResponseKind.Kind == "" {
				continue
			}
			of := v.GroupVersion.WithResource(r.Resource)
			one := kind{&api.Info{GroupVersionResource: of, Kind: r.ResponseKind.Kind}, v.OpenAPI, v.Discovery.Freshness == apidiscoveryv2.DiscoveryFreshnessCurrent}
			was, ok := old[of]
			if back := one.current && !was.current; ok && was.info.Kind == one.info.Kind && was.document == one.document && !back {
				one.info = was.info
			}
			next[of] = one
		}
	}
	k.all.Store(&next)
	return infos(old), infos(next)
}

func infos(of map[schema.GroupVersionResource]kind) (out []*api.Info) {
	for _, one := range of {
		out = append(out, one.info)
	}
	return out
}

func (k *Kinds) now() map[schema.GroupVersionResource]kind {
	if all := k.all.Load(); all != nil {
		return *all
	}
	return nil
}

// Resource is the record of a resource, or nil.
func (k *Kinds) Resource(r schema.GroupVersionResource) *api.Info { return k.now()[r].info }

// Kind is the record of a kind, or nil.
func (k *Kinds) Kind(of schema.GroupVersionKind) *api.Info {
	all := slices.Collect(maps.Values(k.now()))
	if n := slices.IndexFunc(all, func(one kind) bool { return one.info.GVK() == of }); n >= 0 {
		return all[n].info
	}
	return nil
}
