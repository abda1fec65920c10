package builtin

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	resourcev1beta2 "k8s.io/api/resource/v1beta2"
	storagemigrationv1beta1 "k8s.io/api/storagemigration/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// Became GA in 1.37, after the published documents. Source: APILifecycleIntroduced of k8s.io/api v0.37.
var since137 = map[string]bool{
	"certificates.k8s.io/v1/clustertrustbundles":          true,
	"certificates.k8s.io/v1/podcertificaterequests":       true,
	"resource.k8s.io/v1/devicetaintrules":                 true,
	"storagemigration.k8s.io/v1/storageversionmigrations": true,
}

// line is what discovery says of a resource, or of a subresource.
type line struct {
	Kind, Singular    string
	Namespaced        bool
	Short, Categories []string
	Verbs             []string
	Sub               map[string]line
}

func TestDiscoveryEqualsPublished(t *testing.T) {
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
	want := map[string]line{}
	for _, g := range list.Items {
		for _, v := range g.Versions {
			if v.Version == "v1" || v.Version == "v2" {
				published(want, g.Name, v)
			}
		}
	}
	publishedCore(t, want, filepath.Join(dir, "discovery", "api__v1.json"))
	// Since 1.37 as well, as a kube-apiserver 1.37.2 says it.
	want["storage.k8s.io/v1/csinodes"].Sub["status"] = line{Kind: "CSINode", Verbs: []string{"get", "patch", "update"}}
	got := map[string]line{}
	for _, i := range All() {
		if key := i.Group + "/" + i.Version + "/" + i.Resource; !since137[key] {
			got[key] = ours(i)
		}
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("discovery (-published +ours):\n%s", d)
	}
}

// publishedCore reads the core group, which has a document of its own, with subresources among the resources.
func publishedCore(t *testing.T, want map[string]line, file string) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for _, r := range list.APIResources {
		verbs := slices.Sorted(slices.Values(r.Verbs))
		if parent, sub, ok := strings.Cut(r.Name, "/"); ok {
			want["/v1/"+parent].Sub[sub] = line{Kind: r.Kind, Verbs: verbs}
			continue
		}
		want["/v1/"+r.Name] = line{Kind: r.Kind, Singular: r.SingularName, Namespaced: r.Namespaced,
			Short: r.ShortNames, Categories: r.Categories, Verbs: r.Verbs, Sub: map[string]line{}}
	}
}

func published(want map[string]line, group string, v apidiscoveryv2.APIVersionDiscovery) {
	for _, r := range v.Resources {
		l := line{Kind: r.ResponseKind.Kind, Singular: r.SingularResource, Namespaced: r.Scope == apidiscoveryv2.ScopeNamespace,
			Short: r.ShortNames, Categories: r.Categories, Verbs: r.Verbs, Sub: map[string]line{}}
		for _, s := range r.Subresources {
			l.Sub[s.Subresource] = line{Kind: s.ResponseKind.Kind, Verbs: slices.Sorted(slices.Values(s.Verbs))}
		}
		want[group+"/"+v.Version+"/"+r.Resource] = l
	}
}

func ours(i *api.Info) line {
	l := line{Kind: i.Kind, Singular: i.Singular, Namespaced: i.Namespaced, Short: i.Short, Categories: i.Categories, Verbs: i.Verbs, Sub: map[string]line{}}
	change := []string{"get", "patch", "update"}
	if i.HasStatus {
		l.Sub["status"] = line{Kind: i.Kind, Verbs: change}
	}
	if i.HasScale {
		l.Sub["scale"] = line{Kind: "Scale", Verbs: change}
	}
	for _, s := range i.Subresources {
		l.Sub[s.Name] = line{Kind: s.Kind, Verbs: slices.Sorted(slices.Values(s.Verbs))}
	}
	return l
}

func TestGroupsAreThoseOfTheRecords(t *testing.T) {
	listed := map[string]bool{}
	for _, g := range Groups() {
		for _, v := range g.Versions {
			listed[g.Name+"/"+v] = true
		}
	}
	served, seen := map[string]bool{}, map[string]bool{}
	for _, i := range All() {
		served[i.Group+"/"+i.Version] = true
		key := i.GroupVersionResource.String()
		if seen[key] {
			t.Errorf("%s is listed twice", key)
		}
		seen[key] = true
	}
	if d := gocmp.Diff(listed, served); d != "" {
		t.Errorf("groups (-listed +served):\n%s", d)
	}
}

// Kubernetes' keys are the data's contract with other servers on the same etcd.
func TestStoreKeysAreKubernetesOwn(t *testing.T) {
	keys := map[string]string{
		"ingresses": "ingress", "nodes": "minions", "services": "services/specs", "endpoints": "services/endpoints",
		"replicationcontrollers": "controllers", "customresourcedefinitions": "apiextensions.k8s.io/customresourcedefinitions",
		"apiservices": "apiregistration.k8s.io/apiservices",
	}
	for _, i := range slices.Concat(All(), Further()) {
		if want := cmp.Or(keys[i.Resource], i.Resource); i.StoreKey != want {
			t.Errorf("%s is stored under %q, want %q", i.GroupVersionResource, i.StoreKey, want)
		}
	}
}

// Stored objects say they are of the version that Kubernetes 1.37 writes. Source: the etcd of a kube-apiserver 1.37.2.
func TestStoredVersionsAreKubernetesOwn(t *testing.T) {
	versions := map[string]string{
		"horizontalpodautoscalers": "autoscaling/v2", "events": "v1",
		"clustertrustbundles": "certificates.k8s.io/v1beta1", "podcertificaterequests": "certificates.k8s.io/v1beta1",
		"devicetaintrules": "resource.k8s.io/v1beta2", "storageversionmigrations": "storagemigration.k8s.io/v1beta1",
	}
	for _, i := range slices.Concat(All(), Further()) {
		if i.Virtual {
			continue
		}
		value, err := api.EncodeStored(i, i.New())
		if err != nil {
			t.Errorf("%s: %v", i.GroupVersionResource, err)
			continue
		}
		_, version, kind, err := api.RawStored(value)
		if want := cmp.Or(versions[i.Resource], i.Stored.GroupVersion().String()); err != nil || version != want || kind != i.Stored.Kind {
			t.Errorf("%s is stored as %s %s (%v), want %s", i.GroupVersionResource, version, kind, err, want)
		}
		if _, err := api.DecodeStored(i, value); err != nil {
			t.Errorf("%s: %v", i.GroupVersionResource, err)
		}
		own, err := api.EncodeStored(i.Stored, i.Stored.New())
		if err != nil {
			t.Error(err)
		}
		raw, _, _, _ := api.RawStored(own) // it decoded above
		if _, err := api.DecodeStored(i, api.Wrap(i.Stored.GroupVersion().String(), i.Stored.Kind, raw)); err != nil {
			t.Errorf("%s in its own version, as it will be: %v", i.GroupVersionResource, err)
		}
	}
}

// An older version can stand over an object only if its protobuf form is the same.
func TestOlderStoredVersionsAreTheSame(t *testing.T) {
	older := map[string]any{
		"clustertrustbundles": certificatesv1beta1.ClusterTrustBundle{}, "podcertificaterequests": certificatesv1beta1.PodCertificateRequest{},
		"devicetaintrules": resourcev1beta2.DeviceTaintRule{}, "storageversionmigrations": storagemigrationv1beta1.StorageVersionMigration{},
	}
	for _, i := range slices.Concat(All(), Further()) {
		if i.StoredAs == "" {
			continue
		}
		o := older[i.Resource]
		if o == nil {
			t.Errorf("%s is stored as %s, of which this test knows nothing", i.GroupVersionResource, i.StoredAs)
			continue
		}
		was := form(reflect.TypeOf(o), nil)
		for _, field := range form(i.Type, nil) {
			if !slices.Contains(was, field) { // it may have fields that are gone
				t.Errorf("%s: %s has no %s", i.GroupVersionResource, i.StoredAs, field)
			}
		}
	}
}

// form is what a type is in protobuf: its fields' tags, and those of what is within it.
func form(t reflect.Type, path []string) (out []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || len(path) > 12 || strings.HasSuffix(t.PkgPath(), "meta/v1") {
		return nil
	}
	for n := range t.NumField() {
		f := t.Field(n)
		if tag := f.Tag.Get("protobuf"); tag != "" {
			at := append(slices.Clip(path), f.Name)
			out = append(append(out, strings.Join(at, ".")+" "+tag), form(f.Type, at)...)
		}
	}
	return out
}

// Every record makes objects, lists and columns without help.
func TestRecordsAreWhole(t *testing.T) {
	for _, i := range slices.Concat(All(), Further()) {
		obj := i.New()
		if got, _, err := api.Scheme().ObjectKinds(obj); err != nil || got[0] != i.GVK() {
			t.Errorf("%s makes %v, %v", i.GroupVersionResource, got, err)
		}
		if !i.Virtual {
			i.NewList()
		}
		i.Default(obj)
		i.Prepare(obj, nil)
		i.Default(obj)
		i.Validate(obj, nil)
		i.Validate(obj, i.New())
		if i.HasStatus {
			i.CopyStatus(obj, i.New())
			i.ValidateStatus(obj, i.New())
		}
		for _, c := range i.Table() {
			switch v := c.Show(obj).(type) {
			case string, int64, int32, int, bool, float64:
			default:
				t.Errorf("%s column %s shows a %T", i.GroupVersionResource, c.Name, v)
			}
		}
	}
}
