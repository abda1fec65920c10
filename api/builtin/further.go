package builtin

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/admissionregistration"
	"github.com/lighter-k8s/lighter/api/apiserverinternal"
	"github.com/lighter-k8s/lighter/api/certificates"
	"github.com/lighter-k8s/lighter/api/coordination"
	"github.com/lighter-k8s/lighter/api/resource"
	"github.com/lighter-k8s/lighter/api/storagemigration"
)

// Further lists the resources of alpha and beta versions, which are served when they are asked for.
func Further() []*api.Info {
	return slices.Concat(
		certificates.Further,
		admissionregistration.Further,
		coordination.Further,
		resource.Further,
		apiserverinternal.Further,
		storagemigration.Further,
	)
}

// further are their versions in the order of preference, after those that Groups has.
var further = map[string][]string{
	"certificates.k8s.io":          {"v1beta1"},
	"admissionregistration.k8s.io": {"v1beta1", "v1alpha1"},
	"coordination.k8s.io":          {"v1beta1", "v1alpha2"},
	"resource.k8s.io":              {"v1beta2", "v1beta1", "v1alpha3"},
	"internal.apiserver.k8s.io":    {"v1alpha1"},
	"storagemigration.k8s.io":      {"v1beta1"},
}

// Choice is what --runtime-config makes of the built-in resources.
type Choice struct {
	// All are the resources that the server knows: those that are always there, served or not, since its own parts stand on
	// them, and the further ones that are served.
	All    []*api.Info
	Served []*api.Info
	Groups []Group // of those that are served
}

// kinds of versions that have a word of their own, by how they are called.
var kinds = map[string]*regexp.Regexp{
	"api/all":   regexp.MustCompile(``),
	"api/ga":    regexp.MustCompile(`^v[0-9]+$`),
	"api/beta":  regexp.MustCompile(`^v[0-9]+beta[0-9]+$`),
	"api/alpha": regexp.MustCompile(`^v[0-9]+alpha[0-9]+$`),
}

// Choose reads a --runtime-config: "api/all", "api/ga", "api/beta" and "api/alpha" stand for kinds of versions,
// "<group>/<version>" (the core group's: "v1") for one and "<group>/<version>/<resource>" for a resource, with "true", the same as
// "", or "false". The narrower counts. Source: kube-apiserver reference, --runtime-config.
func Choose(settings map[string]string) (Choice, error) {
	on, versions := map[string]bool{}, map[string]bool{} // by group/version
	all := slices.Concat(All(), Further())
	for _, i := range all {
		v := i.Group + "/" + i.Version
		versions[v], on[v] = true, kinds["api/ga"].MatchString(i.Version)
	}
	values := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		value, err := strconv.ParseBool(settings[key])
		if err != nil && settings[key] != "" {
			if kinds[key] != nil {
				return Choice{}, fmt.Errorf("invalid value %s=%s", key, settings[key])
			}
			return Choice{}, fmt.Errorf("invalid value of %s: %s, err: %w", key, settings[key], err)
		}
		values[key] = value || settings[key] == ""
	}
	if v, ok := values["api/all"]; ok && !v && len(values) == 1 {
		return Choice{}, fmt.Errorf("invalid runtime-config with only api/all=false")
	}
	for _, kind := range []string{"api/all", "api/ga", "api/beta", "api/alpha"} { // one kind of versions is narrower than all
		for v := range versions {
			_, version, _ := strings.Cut(v, "/")
			if value, given := values[kind]; given && kinds[kind].MatchString(version) {
				on[v] = value
			}
		}
	}
	resources := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		parts := strings.Split(strings.TrimPrefix(key, "api/"), "/")
		if parts[0] == "v1" {
			parts = append([]string{""}, parts...)
		}
		group := parts[0]
		switch {
		case kinds[key] != nil || key == "api/legacy":
		case len(parts) < 2:
			return Choice{}, fmt.Errorf("runtime-config invalid key %s", key)
		case !slices.ContainsFunc(all, func(i *api.Info) bool { return i.Group == group }):
			return Choice{}, fmt.Errorf("unknown api groups %s", key)
		case !versions[group+"/"+parts[1]]:
			return Choice{}, fmt.Errorf("group version %s that has not been registered", group+"/"+parts[1])
		case len(parts) == 2:
			on[group+"/"+parts[1]] = values[key]
		default:
			resources[strings.Join([]string{group, parts[1], parts[2]}, "/")] = values[key]
		}
	}
	served := func(i *api.Info) bool {
		v := i.Group + "/" + i.Version
		if value, ok := resources[v+"/"+i.Resource]; ok {
			return value
		}
		return on[v]
	}
	c := Choice{All: All()}
	for _, i := range Further() {
		if served(i) {
			c.All = append(c.All, i)
		}
	}
	for _, i := range c.All {
		if served(i) {
			c.Served = append(c.Served, i)
		}
	}
	c.Groups = groupsOf(c.Served)
	return c, nil
}

// groupsOf are the groups with the versions that are served, in discovery's order.
func groupsOf(served []*api.Info) (out []Group) {
	order := slices.Clone(groups)
	at := slices.IndexFunc(order, func(g Group) bool { return g.Name == "storagemigration.k8s.io" })
	order = slices.Insert(order, at, Group{Name: "internal.apiserver.k8s.io"})
	for _, g := range order {
		versions := slices.DeleteFunc(slices.Concat(g.Versions, further[g.Name]), func(v string) bool {
			return !slices.ContainsFunc(served, func(i *api.Info) bool { return i.Group == g.Name && i.Version == v })
		})
		if len(versions) > 0 {
			out = append(out, Group{g.Name, versions})
		}
	}
	return out
}
