package role_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	records "github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/etcd"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// TestMasterLeases: beside Kubernetes' own API server on one etcd, this one says where that looks for it that it serves, and
// leaves the other in the Service kubernetes as long as it says so; ports that the other took away come back.
func TestMasterLeases(t *testing.T) {
	endpoint := storetest.Etcd(t)
	s := serve(t, t.TempDir(), func(c *config.Config) { c.Server.Store, c.Server.Etcd.Endpoints = "etcd", []string{endpoint} })
	db, err := etcd.Open(t.Context(), etcd.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const there, other = "/registry/masterleases/", "192.0.2.77"
	until := func(what string, is func() string) {
		t.Helper()
		got := is()
		for end := time.Now().Add(20 * time.Second); got != "" && time.Now().Before(end); got = is() {
			time.Sleep(100 * time.Millisecond)
		}
		if got != "" {
			t.Fatalf("%s: %s", what, got)
		}
	}
	until("this server's own", func() string {
		e, err := db.Get(t.Context(), there+"192.0.2.1", 0)
		if err != nil || e.Value == nil {
			return fmt.Sprint("not there ", err)
		}
		raw, version, kind, err := records.RawStored(e.Value)
		var endpoints corev1.Endpoints
		if err == nil {
			err = endpoints.Unmarshal(raw)
		}
		if err != nil || version != "v1" || kind != "Endpoints" || len(endpoints.Subsets) != 1 || endpoints.Subsets[0].Addresses[0].IP != "192.0.2.1" {
			return fmt.Sprintf("%s %s %+v %v", version, kind, endpoints, err)
		}
		return ""
	})
	raw, err := (&corev1.Endpoints{Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: other}}}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	slices := s.typed.DiscoveryV1().EndpointSlices("default")
	slice, err := slices.Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// What upstream leaves when it stops as the last one that it knows of.
	if _, err := db.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: there + other, Value: records.Wrap("v1", "Endpoints", raw)}}}); err != nil {
		t.Fatal(err)
	}
	slice.Endpoints, slice.Ports = slice.Endpoints[:0], nil
	if _, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	serving := func(want string) func() string {
		return func() string {
			slice, err := slices.Get(t.Context(), "kubernetes", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			var got []string
			for _, e := range slice.Endpoints {
				got = append(got, e.Addresses...)
			}
			if strings.Join(got, " ") != want || len(slice.Ports) != 1 {
				return fmt.Sprintf("%v with ports %v", got, slice.Ports)
			}
			return ""
		}
	}
	until("it is back with a port", serving("192.0.2.1"))
	slice, err = slices.Get(t.Context(), "kubernetes", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	both := *slice.Endpoints[0].DeepCopy()
	both.Addresses = []string{other}
	slice.Endpoints = append(slice.Endpoints, both) // it adds itself
	if _, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	rounds, last := 0, store.Revision(0) // of this server, in each of which it could have taken the other out
	until("three rounds", func() string {
		if e, err := db.Get(t.Context(), there+"192.0.2.1", 0); err == nil && e.Revision != last {
			rounds, last = rounds+1, e.Revision
		}
		if rounds < 4 {
			return fmt.Sprint(rounds)
		}
		return ""
	})
	until("both serve", serving("192.0.2.1 "+other))
	if _, err := db.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: there + other, Expect: store.Any}}}); err != nil {
		t.Fatal(err)
	}
	until("the other is gone", serving("192.0.2.1"))
	s.end()
	if e, err := db.Get(t.Context(), there+"192.0.2.1", 0); err != nil || e.Value != nil {
		t.Errorf("after its end it still says that it serves: %v", err)
	}
}
