package apiserver

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/lighter-k8s/lighter/aggregate"
	"github.com/lighter-k8s/lighter/api"
)

// catalog is what is served at one moment. It does not change: the next one takes its place, while requests that began
// with this one go on with it.
type catalog struct {
	custom   map[schema.GroupVersionResource]*api.Info
	others   map[schema.GroupVersion]aggregate.Version // what other servers serve
	groups   []Group                                   // in discovery's order
	versions map[schema.GroupVersion][]*api.Info       // by name

	// what discovery says of everything, made when somebody asks
	core, named func() (document, error)
}

// document is an encoded answer, in JSON and protobuf, with its tag.
type document struct {
	data, proto []byte
	tag         string
}

// SetCustom makes the server serve these custom resources beside the built-in ones, from the next request on.
func (s *Server) SetCustom(infos []*api.Info) {
	s.compose.Lock()
	defer s.compose.Unlock()
	s.infos = infos
	s.composed()
}

// SetOthers makes discovery show what other servers serve.
func (s *Server) SetOthers(others []aggregate.Version) {
	s.compose.Lock()
	defer s.compose.Unlock()
	s.others = others
	s.composed()
}

// composed puts the next catalog in the present one's place. s.compose is held.
func (s *Server) composed() {
	infos := s.infos
	c := &catalog{custom: make(map[schema.GroupVersionResource]*api.Info, len(infos)), versions: map[schema.GroupVersion][]*api.Info{},
		others: map[schema.GroupVersion]aggregate.Version{}}
	add := func(i *api.Info) { c.versions[i.GroupVersion()] = append(c.versions[i.GroupVersion()], i) }
	for _, i := range s.resources {
		add(i)
	}
	for _, i := range infos {
		if s.resources[i.GroupVersionResource] == nil {
			c.custom[i.GroupVersionResource] = i
			add(i)
		}
	}
	for _, list := range c.versions {
		slices.SortFunc(list, func(a, b *api.Info) int { return strings.Compare(a.Resource, b.Resource) })
	}
	for _, o := range s.others {
		if builtin := s.groups; !slices.ContainsFunc(builtin, func(g Group) bool { return g.Name == o.Group && slices.Contains(g.Versions, o.Version) }) {
			c.others[o.GroupVersion] = o
			delete(c.versions, o.GroupVersion)
		}
	}
	c.groups = withOthers(merged(s.groups, c.custom), s.others, c.others)
	c.core = sync.OnceValues(func() (document, error) { return c.aggregate(func(g Group) bool { return g.Name == "" }) })
	c.named = sync.OnceValues(func() (document, error) { return c.aggregate(func(g Group) bool { return g.Name != "" }) })
	if before := s.catalog.Swap(c); before != nil {
		for gvr := range before.custom {
			if c.custom[gvr] == nil {
				s.metrics.forget(gvr)
			}
		}
	}
}

// merged are the groups in discovery's order: built-in ones as they are given, then others by name, the newest stable
// version first. Source: Kubernetes documentation, Versions in CustomResourceDefinitions, Version priority.
func merged(builtin []Group, custom map[schema.GroupVersionResource]*api.Info) []Group {
	of := map[string]map[string]bool{}
	for gvr := range custom {
		if of[gvr.Group] == nil {
			of[gvr.Group] = map[string]bool{}
		}
		of[gvr.Group][gvr.Version] = true
	}
	sorted := func(versions map[string]bool, but []string) (out []string) {
		for v := range versions {
			if !slices.Contains(but, v) {
				out = append(out, v)
			}
		}
		slices.SortFunc(out, func(a, b string) int { return version.CompareKubeAwareVersionStrings(b, a) })
		return out
	}
	var out []Group
	for _, g := range builtin {
		if more := of[g.Name]; more != nil {
			g.Versions = append(slices.Clip(g.Versions), sorted(more, g.Versions)...)
			delete(of, g.Name)
		}
		out = append(out, g)
	}
	first := len(out)
	for name, versions := range of {
		out = append(out, Group{name, sorted(versions, nil)})
	}
	slices.SortFunc(out[first:], func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// customPriority is that of groups of custom resources among those of other servers.
const customPriority = 1000

// withOthers puts the groups of other servers, the most important first, beside those of custom resources.
func withOthers(groups []Group, others []aggregate.Version, served map[schema.GroupVersion]aggregate.Version) []Group {
	var before, after []Group
	for _, o := range others {
		if _, ok := served[o.GroupVersion]; !ok {
			continue
		}
		in := func(list []Group) bool {
			n := slices.IndexFunc(list, func(g Group) bool { return g.Name == o.Group })
			if n >= 0 && !slices.Contains(list[n].Versions, o.Version) {
				list[n].Versions = append(slices.Clip(list[n].Versions), o.Version)
			}
			return n >= 0
		}
		switch group := (Group{o.Group, []string{o.Version}}); {
		case in(groups) || in(before) || in(after):
		case o.GroupPriority > customPriority:
			before = append(before, group)
		default:
			after = append(after, group)
		}
	}
	first := slices.IndexFunc(groups, func(g Group) bool { return strings.Contains(g.Name, ".") && !strings.HasSuffix(g.Name, ".k8s.io") })
	if first < 0 {
		first = len(groups)
	}
	return slices.Concat(groups[:first], before, groups[first:], after)
}

// lookup finds a resource; nil: there is none such.
func (s *Server) lookup(ctx context.Context, group, version, plural string) *api.Info {
	gvr := schema.GroupVersionResource{Group: group, Version: version, Resource: plural}
	if i := s.resources[gvr]; i != nil {
		return i
	}
	if !strings.Contains(group, ".") {
		return nil // no custom resource has such a group
	}
	if i := s.catalog.Load().custom[gvr]; i != nil {
		return i
	}
	s.settle(ctx)
	return s.catalog.Load().custom[gvr]
}

// settle takes in what is just being defined: who was told that it is established finds it.
func (s *Server) settle(ctx context.Context) {
	if s.Settle != nil {
		s.Settle(ctx)
	}
}

// forget drops what was counted of a resource that is gone.
func (m *metrics) forget(gvr schema.GroupVersionResource) {
	of := prometheus.Labels{"group": gvr.Group, "version": gvr.Version, "resource": gvr.Resource}
	m.requests.DeletePartialMatch(of)
	m.seconds.DeletePartialMatch(of)
	m.watchers.DeletePartialMatch(of)
}
