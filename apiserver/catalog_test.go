package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/builtin"
)

// customs are n custom resources in 20 groups.
func customs(n int) (out []*api.Info) {
	for k := range n {
		plural, kind := fmt.Sprint("things", k), fmt.Sprint("Thing", k)
		for _, v := range []string{"v1", "v1beta2", "v2alpha1"}[:1+k%3] {
			i := &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: fmt.Sprintf("g%02d.example.com", k%20), Version: v, Resource: plural}, Kind: kind,
				Verbs: api.AllVerbs, Namespaced: true, HasStatus: true, Custom: &api.Custom{}}
			i.Stored = i
			out = append(out, i)
		}
	}
	return out
}

func newServer() *Server {
	var groups []Group
	for _, g := range builtin.Groups() {
		groups = append(groups, Group(g))
	}
	return New(builtin.All(), groups)
}

func TestCustomGroupsInDiscovery(t *testing.T) {
	s := newServer()
	before := len(s.catalog.Load().groups)
	read := func() (list apidiscoveryv2.APIGroupDiscoveryList, tag string) {
		d, err := s.catalog.Load().named()
		if err == nil {
			err = json.Unmarshal(d.data, &list)
		}
		if err != nil {
			t.Fatal(err)
		}
		return list, d.tag
	}
	_, first := read()
	leaving := customs(3)
	leaving[0].Custom.Leaving = true
	gateway := &api.Info{GroupVersionResource: schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1alpha9", Resource: "roads"}, Kind: "Road", Custom: &api.Custom{}}
	gateway.Stored = gateway
	s.SetCustom(append(leaving, gateway))
	list, second := read()
	if first == second {
		t.Error("the tag is the same")
	}
	var names []string
	for _, g := range list.Items[before-1:] { // the core group is none of them
		for _, v := range g.Versions {
			names = append(names, g.Name+"/"+v.Version)
		}
	}
	if want := []string{"g00.example.com/v1", "g01.example.com/v1", "g01.example.com/v1beta2", "g02.example.com/v1", "g02.example.com/v1beta2", "g02.example.com/v2alpha1"}; !slices.Equal(names, want) {
		t.Errorf("custom groups %q, want %q", names, want)
	}
	if got := list.Items[before-1].Versions[0].Resources[0].Verbs; !slices.Equal(got, []string{"delete", "deletecollection", "get", "list", "watch"}) {
		t.Errorf("what is being deleted is offered for %q", got)
	}
	n := slices.IndexFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == "networking.k8s.io" })
	if v := list.Items[n].Versions; len(v) != 2 || v[1].Version != "v1alpha9" {
		t.Errorf("a built-in group has %v", v)
	}
	if i := s.lookup(t.Context(), "g00.example.com", "v1", "things0"); i != leaving[0] {
		t.Error("not found")
	}
	s.SetCustom(nil)
	if _, third := read(); third != first {
		t.Error("the tag does not come back")
	}
	if i := s.lookup(t.Context(), "g00.example.com", "v1", "things0"); i != nil {
		t.Error("still found")
	}
}

// BenchmarkSetCustom is what a change of one definition among a thousand costs.
func BenchmarkSetCustom(b *testing.B) {
	s, infos := newServer(), customs(1000)
	for b.Loop() {
		s.SetCustom(infos)
	}
}

// BenchmarkDiscovery: first is the first request after a change of a thousand definitions, again is any other.
func BenchmarkDiscovery(b *testing.B) {
	s, infos := newServer(), customs(1000)
	r := httptest.NewRequest("GET", "/apis", nil)
	r.Header.Set("Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			s.SetCustom(infos)
			b.StartTimer()
			if err := s.discover(httptest.NewRecorder(), r, "/apis"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		for b.Loop() {
			if err := s.discover(httptest.NewRecorder(), r, "/apis"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("a group", func(b *testing.B) {
		r := httptest.NewRequest("GET", "/apis/g00.example.com/v1", nil)
		for b.Loop() {
			if err := s.discover(httptest.NewRecorder(), r, r.URL.Path); err != nil {
				b.Fatal(err)
			}
		}
	})
}
