package builtin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
)

// Gone with 1.37: APILifecycleRemoved of k8s.io/api v0.37 says so, or the resource waits for a feature that is off with
// api/all=true as well. A kube-apiserver 1.37.2 that is told api/all=true serves none of them.
var gone137 = []string{
	"certificates.k8s.io/v1alpha1/clustertrustbundles", "networking.k8s.io/v1beta1/ipaddresses", "networking.k8s.io/v1beta1/servicecidrs",
	"scheduling.k8s.io/v1alpha2/podgroups", "scheduling.k8s.io/v1alpha2/workloads", "storage.k8s.io/v1beta1/volumeattributesclasses",
}

func TestAllVersionsEqualPublished(t *testing.T) {
	dir := os.Getenv("LIGHTER_KUBERNETES_API")
	if dir == "" {
		t.Skip("LIGHTER_KUBERNETES_API is not set: it names a folder with Kubernetes' published API documents (discovery/aggregated_v2.json)")
	}
	data, err := os.ReadFile(filepath.Join(dir, "discovery", "aggregated_v2.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	all, err := Choose(map[string]string{"api/all": "true"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]line{}
	for _, g := range list.Items {
		var versions []string
		for _, v := range g.Versions {
			published(want, g.Name, v)
			versions = append(versions, v.Version)
		}
		for _, ours := range all.Groups {
			if ours.Name == g.Name {
				theirs := slices.DeleteFunc(versions, func(v string) bool { return !slices.Contains(ours.Versions, v) })
				mine := slices.DeleteFunc(slices.Clone(ours.Versions), func(v string) bool { return !slices.Contains(theirs, v) })
				if !slices.Equal(theirs, mine) {
					t.Errorf("%s prefers %v, published %v", g.Name, mine, theirs)
				}
			}
		}
	}
	want["storage.k8s.io/v1/csinodes"].Sub["status"] = line{Kind: "CSINode", Verbs: []string{"get", "patch", "update"}} // since 1.37
	for _, key := range gone137 {
		if _, ok := want[key]; !ok {
			t.Errorf("%s was never published", key)
		}
		delete(want, key)
	}
	got := map[string]line{}
	for _, i := range all.Served {
		if key := i.Group + "/" + i.Version + "/" + i.Resource; i.Group != "" && !since137[key] {
			got[key] = ours(i)
		}
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("discovery with api/all=true (-published +ours):\n%s", d)
	}
}

// A version that is called Renamed has the other's protobuf form, no field more or less.
func TestRenamedVersionsAreTheSame(t *testing.T) {
	moved := []string{"resourceclaims", "resourceclaimtemplates", "resourceslices"} // in v1beta1, by a conversion of their own
	for _, i := range Further() {
		if i.Stored == i || i.Version == "v1beta1" && slices.Contains(moved, i.Resource) {
			continue
		}
		// Tags have the name of the field, and of an enumeration's type, beside what the form is.
		gone := map[string][]string{"podcertificaterequests": {"Spec.PKIXPublicKey", "Spec.ProofOfPossession"}}[i.Resource]
		plain := func(list []string) (out []string) {
			for _, f := range list {
				if name, _, _ := strings.Cut(f, " "); slices.Contains(gone, name) {
					continue // v1 has it no more: kubelets of 1.36 and before set it
				}
				out = append(out, strings.Split(f, ",casttype")[0])
			}
			slices.Sort(out)
			return out
		}
		if d := gocmp.Diff(plain(form(i.Stored.Type, nil)), plain(form(i.Type, nil))); d != "" {
			t.Errorf("%s (-stored +it):\n%s", i.GVK(), d)
		}
	}
}

func TestChoose(t *testing.T) {
	gvs := func(c Choice) (out []string) {
		for _, g := range c.Groups {
			for _, v := range g.Versions {
				out = append(out, g.Name+"/"+v)
			}
		}
		return out
	}
	standard, err := Choose(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(standard.Groups, Groups()) || len(standard.Served) != len(All()) {
		t.Errorf("by default %v", standard.Groups)
	}
	for _, c := range []struct{ settings, has, lacks, err string }{
		{settings: "api/beta=true", has: "resource.k8s.io/v1beta1 resource.k8s.io/v1 storagemigration.k8s.io/v1beta1", lacks: "resource.k8s.io/v1alpha3 internal.apiserver.k8s.io/v1alpha1"},
		{settings: "api/alpha=true", has: "resource.k8s.io/v1alpha3 internal.apiserver.k8s.io/v1alpha1", lacks: "resource.k8s.io/v1beta1"},
		{settings: "api/all=true,api/beta=false", has: "resource.k8s.io/v1alpha3 apps/v1", lacks: "resource.k8s.io/v1beta1"},
		{settings: "api/all=false,v1=true,apps/v1=true", has: "/v1 apps/v1", lacks: "batch/v1 resource.k8s.io/v1alpha3"},
		{settings: "api/ga=false,apps/v1=true", has: "apps/v1", lacks: "/v1 batch/v1"},
		{settings: "api/v1=false", has: "apps/v1", lacks: "/v1"},
		{settings: "api/beta=true,resource.k8s.io/v1beta1=false", has: "resource.k8s.io/v1beta2", lacks: "resource.k8s.io/v1beta1"},
		{settings: "autoscaling/v2=false", has: "autoscaling/v1", lacks: "autoscaling/v2"},
		{settings: "resource.k8s.io/v1beta1/deviceclasses=true", has: "resource.k8s.io/v1beta1", lacks: "resource.k8s.io/v1beta2"},
		{settings: "scheduling.k8s.io/v1/priorityclasses=false", lacks: "scheduling.k8s.io/v1"},
		{settings: "apps/v1=", has: "apps/v1"},
		{settings: "apps/v1/nosuch=true", has: "apps/v1"},
		// Source of the errors: a kube-apiserver 1.37.2.
		{settings: "api/all=false", err: "invalid runtime-config with only api/all=false"},
		{settings: "api/all=maybe", err: "invalid value api/all=maybe"},
		{settings: "apps/v1=maybe", err: `invalid value of apps/v1: maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax`},
		{settings: "apps/v7=true", err: "group version apps/v7 that has not been registered"},
		{settings: "apps=true", err: "runtime-config invalid key apps"},
		{settings: "foo.example.com/v1=true", err: "unknown api groups foo.example.com/v1"},
	} {
		settings := map[string]string{}
		for _, one := range strings.Split(c.settings, ",") {
			key, value, _ := strings.Cut(one, "=")
			settings[key] = value
		}
		got, err := Choose(settings)
		if err != nil || c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: %v, want %q", c.settings, err, c.err)
			}
			continue
		}
		for _, gv := range strings.Fields(c.has) {
			if !slices.Contains(gvs(got), gv) {
				t.Errorf("%s: %s is not served", c.settings, gv)
			}
		}
		for _, gv := range strings.Fields(c.lacks) {
			if slices.Contains(gvs(got), gv) {
				t.Errorf("%s: %s is served", c.settings, gv)
			}
		}
	}
}
