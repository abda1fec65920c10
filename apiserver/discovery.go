package apiserver

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
)

// discover answers /api, /apis and what lies below them up to a group version's resources.
func (s *Server) discover(w http.ResponseWriter, r *http.Request, path string) error {
	s.settle(r.Context())
	parts := strings.Split(strings.Trim(path, "/"), "/")
	aggregated := wantsAggregated(r)
	if parts[0] == "apis" && len(parts) > 1 && !slices.ContainsFunc(s.catalog.Load().groups, func(g Group) bool { return g.Name == parts[1] && g.Name != "" }) {
		return noPage(w)
	}
	if !reads(r) && (len(parts) == 1 && parts[0] == "api" || len(parts) == 2 && parts[1] == "apiregistration.k8s.io") { // the others take any method, as in Kubernetes 1.37
		return methodNotAllowed()
	}
	switch {
	case len(parts) == 1 && parts[0] == "api":
		if aggregated != "" {
			return sendAggregated(w, r, aggregated, s.catalog.Load().core)
		}
		return s.sendMeta(w, r, "", "APIVersions", &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
			ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}}})
	case len(parts) == 1 && parts[0] == "apis":
		if aggregated != "" {
			return sendAggregated(w, r, aggregated, s.catalog.Load().named)
		}
		list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}}
		for _, g := range s.catalog.Load().groups {
			if g.Name != "" {
				list.Groups = append(list.Groups, apiGroup(g))
			}
		}
		return s.sendMeta(w, r, "v1", "APIGroupList", list)
	case len(parts) == 2 && parts[0] == "apis":
		for _, g := range s.catalog.Load().groups {
			if g.Name == parts[1] && g.Name != "" {
				group := apiGroup(g)
				group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
				return s.sendMeta(w, r, "v1", "APIGroup", &group)
			}
		}
	case len(parts) == 2 && parts[0] == "api":
		return s.sendResources(w, r, "", parts[1])
	case len(parts) == 3 && parts[0] == "apis":
		return s.sendResources(w, r, parts[1], parts[2])
	}
	if parts[0] != "api" && parts[0] != "apis" {
		return noPage(w)
	}
	return notFoundPath()
}

func apiGroup(g Group) metav1.APIGroup {
	out := metav1.APIGroup{Name: g.Name}
	for _, v := range g.Versions {
		out.Versions = append(out.Versions, metav1.GroupVersionForDiscovery{GroupVersion: g.Name + "/" + v, Version: v})
	}
	out.PreferredVersion = out.Versions[0]
	return out
}

func (s *Server) sendMeta(w http.ResponseWriter, r *http.Request, apiVersion, kind string, obj any) error {
	f, err := accept(r, false)
	if err != nil {
		if strings.HasPrefix(kind, "APIGroup") && strings.Trim(r.URL.Path, "/") != "apis/apiregistration.k8s.io" { // Source: what Kubernetes 1.37 says
			return badForm()
		}
		return err
	}
	data, err := encodeMeta(f, apiVersion, kind, obj)
	if err != nil {
		return err
	}
	send(w, r, http.StatusOK, f.media, data)
	return nil
}

// subresources are a record's, status and scale included, by name; a custom resource's in the order in which Kubernetes 1.37 lists them.
func subresources(i *api.Info) []api.Subresource {
	subs := slices.Clone(i.Subresources)
	has := func(name string) bool {
		return slices.ContainsFunc(subs, func(s api.Subresource) bool { return s.Name == name })
	}
	verbs := []string{"get", "patch", "update"}
	if i.HasStatus && !has("status") {
		subs = append(subs, api.Subresource{Name: "status", Kind: i.Kind, Verbs: verbs})
	}
	if i.HasScale && !has("scale") {
		subs = append(subs, api.Subresource{Name: "scale", Kind: "Scale", Group: "autoscaling", Version: "v1", Verbs: verbs})
	}
	slices.SortFunc(subs, func(a, b api.Subresource) int { return strings.Compare(a.Name, b.Name) })
	if i.Custom != nil {
		slices.Reverse(subs)
	}
	return subs
}

func (s *Server) sendResources(w http.ResponseWriter, r *http.Request, group, version string) error {
	infos := s.catalog.Load().versions[schema.GroupVersion{Group: group, Version: version}]
	if len(infos) == 0 {
		return notFoundPath()
	}
	if !reads(r) {
		return methodNotAllowed()
	}
	gv := infos[0].GVK().GroupVersion()
	list := &metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList"}, GroupVersion: gv.String()}
	if group != "" {
		list.APIVersion = "v1"
	}
	for _, i := range infos {
		main := metav1.APIResource{Name: i.Resource, SingularName: i.Singular, Namespaced: i.Namespaced, Kind: i.Kind,
			Verbs: offered(i), ShortNames: i.Short, Categories: i.Categories}
		if !i.Virtual {
			main.StorageVersionHash = versionHash(i)
		}
		list.APIResources = append(list.APIResources, main)
		for _, sub := range subresources(i) {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: i.Resource + "/" + sub.Name, Namespaced: i.Namespaced,
				Group: sub.Group, Version: sub.Version, Kind: sub.Kind, Verbs: sub.Verbs})
		}
	}
	return s.sendMeta(w, r, list.APIVersion, "APIResourceList", list)
}

// versionHash changes when the version in which objects are stored does; it is Kubernetes' own for the same version.
func versionHash(i *api.Info) string {
	version := i.Stored.StoredVersion()
	if i.Group == apiextensionsv1.GroupName { // see store/forms
		version = apiextensionsv1.GroupName + "/v1beta1"
	}
	if i.Stored.Group == "" {
		version = "/" + version
	}
	sum := sha256.Sum256([]byte(version + "/" + i.Stored.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

// wantsAggregated is the media type in which everything is wanted at once; "": it is not.
func wantsAggregated(r *http.Request) string {
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		media, p, err := mime.ParseMediaType(strings.TrimSpace(part))
		if err == nil && (media == typeJSON || media == typeProtobuf) && p["as"] == "APIGroupDiscoveryList" && p["g"] == "apidiscovery.k8s.io" && p["v"] == "v2" {
			return media
		}
	}
	return ""
}

// sendAggregated answers with everything at once. Source: API concepts, Aggregated discovery.
func sendAggregated(w http.ResponseWriter, r *http.Request, media string, all func() (document, error)) error {
	d, err := all()
	if err != nil {
		return err
	}
	w.Header().Set("ETag", d.tag)
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Cache-Control", "public")
	if r.Header.Get("If-None-Match") == d.tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	data := d.data
	if media == typeProtobuf {
		data = d.proto
	}
	send(w, r, http.StatusOK, media+";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", data)
	return nil
}

// aggregate describes the groups that take takes.
func (c *catalog) aggregate(take func(Group) bool) (document, error) {
	list := &apidiscoveryv2.APIGroupDiscoveryList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}}
	for _, g := range c.groups {
		if !take(g) {
			continue
		}
		group := apidiscoveryv2.APIGroupDiscovery{}
		group.Name = g.Name
		for _, v := range g.Versions {
			if o, ok := c.others[schema.GroupVersion{Group: g.Name, Version: v}]; ok {
				group.Versions = append(group.Versions, o.Discovery)
				continue
			}
			version := apidiscoveryv2.APIVersionDiscovery{Version: v, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			for _, i := range c.versions[schema.GroupVersion{Group: g.Name, Version: v}] {
				version.Resources = append(version.Resources, aggregated(i))
			}
			group.Versions = append(group.Versions, version)
		}
		list.Items = append(list.Items, group)
	}
	data, err := encodeMeta(form{media: typeJSON}, "", "", list)
	if err != nil {
		return document{}, err
	}
	proto, err := encodeMeta(form{media: typeProtobuf}, list.APIVersion, list.Kind, list)
	return document{data, proto, fmt.Sprintf("%q", fmt.Sprintf("%X", sha256.Sum256(data)))}, err
}

// offered are the verbs that discovery shows: of a custom resource whose definition is being deleted there is nothing to write.
func offered(i *api.Info) []string {
	if i.Custom != nil && i.Custom.Leaving {
		return []string{"delete", "deletecollection", "get", "list", "watch"}
	}
	return i.Verbs
}

func aggregated(i *api.Info) apidiscoveryv2.APIResourceDiscovery {
	scope := apidiscoveryv2.ScopeCluster
	if i.Namespaced {
		scope = apidiscoveryv2.ScopeNamespace
	}
	gvk := i.GVK()
	out := apidiscoveryv2.APIResourceDiscovery{Resource: i.Resource, Scope: scope, SingularResource: i.Singular, Verbs: offered(i),
		ShortNames: i.Short, Categories: i.Categories,
		ResponseKind: &metav1.GroupVersionKind{Kind: gvk.Kind}} // of the group and version that it stands in: left out, as upstream does
	for _, sub := range subresources(i) {
		kind := &metav1.GroupVersionKind{Group: sub.Group, Version: sub.Version, Kind: sub.Kind}
		out.Subresources = append(out.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub.Name, ResponseKind: kind, Verbs: sub.Verbs})
	}
	return out
}
