package role_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// must fails the test on an error; it is used as must(f())(t).
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "a"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/i"}}}}
}

// TestPatches: the three kinds of patch, and many at once onto one object: none is lost.
func TestPatches(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	pods := p.typed.CoreV1().Pods(ns)
	must(pods.Create(t.Context(), pod("p"), metav1.CreateOptions{}))(t)
	for _, tt := range []struct {
		kind types.PatchType
		body string
		want string // annotations
	}{
		{types.MergePatchType, `{"metadata":{"annotations":{"a":"1","b":"2"}}}`, "map[a:1 b:2]"},
		{types.JSONPatchType, `[{"op":"test","path":"/metadata/annotations/a","value":"1"},{"op":"replace","path":"/metadata/annotations/a","value":"3"}]`, "map[a:3 b:2]"},
		{types.MergePatchType, `{"metadata":{"annotations":{"a":null}}}`, "map[b:2]"},
		{types.StrategicMergePatchType, `{"metadata":{"annotations":{"$patch":"replace","c":"4"}}}`, "map[c:4]"},
		{types.StrategicMergePatchType, `{"spec":{"containers":[{"name":"c","image":"example.com/j"}]}}`, "map[c:4]"},
	} {
		got := must(pods.Patch(t.Context(), "p", tt.kind, []byte(tt.body), metav1.PatchOptions{}))(t)
		if fmt.Sprint(got.Annotations) != tt.want {
			t.Errorf("%s %s: %v, want %s", tt.kind, tt.body, got.Annotations, tt.want)
		}
	}
	if c := must(pods.Get(t.Context(), "p", metav1.GetOptions{}))(t).Spec.Containers; len(c) != 1 || c[0].Image != "example.com/j" {
		t.Errorf("containers %+v: a strategic merge patch finds them by name", c)
	}

	maps := p.typed.CoreV1().ConfigMaps(ns)
	must(maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "many"}, Data: map[string]string{"count": "0"}}, metav1.CreateOptions{}))(t)
	const writers, each = 8, 12
	var g sync.WaitGroup
	for w := range writers {
		g.Go(func() {
			for n := range each {
				if _, err := maps.Patch(t.Context(), "many", types.MergePatchType, fmt.Appendf(nil, `{"data":{"w%d-%d":"x"}}`, w, n), metav1.PatchOptions{}); err != nil {
					t.Error(err)
				}
				for { // read, add one, write: a conflict means again
					m, err := maps.Get(t.Context(), "many", metav1.GetOptions{})
					if err != nil {
						t.Error(err)
						return
					}
					var count int
					fmt.Sscan(m.Data["count"], &count)
					m.Data["count"] = fmt.Sprint(count + 1)
					if _, err = maps.Update(t.Context(), m, metav1.UpdateOptions{}); err == nil {
						break
					} else if !apierrors.IsConflict(err) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	g.Wait()
	m := must(maps.Get(t.Context(), "many", metav1.GetOptions{}))(t)
	if m.Data["count"] != fmt.Sprint(writers*each) || len(m.Data) != 1+writers*each {
		t.Errorf("count %s and %d keys of %d patches", m.Data["count"], len(m.Data)-1, writers*each)
	}
}

// TestLife: names that are made, dry runs, preconditions, finalizers, grace.
func TestLife(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	maps, pods, nodes := p.typed.CoreV1().ConfigMaps(ns), p.typed.CoreV1().Pods(ns), p.typed.CoreV1().Nodes()
	ctx := t.Context()
	gone := func(t *testing.T, err error) {
		t.Helper()
		if !apierrors.IsNotFound(err) {
			t.Errorf("it is still there: %v", err)
		}
	}

	t.Run("a generated name", func(t *testing.T) {
		seen := map[string]bool{}
		for range 20 {
			m := must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "g-"}}, metav1.CreateOptions{}))(t)
			if len(m.Name) != 7 || seen[m.Name] || m.GenerateName != "g-" {
				t.Errorf("name %q", m.Name)
			}
			seen[m.Name] = true
		}
	})
	t.Run("a dry run writes nothing and shows what would be", func(t *testing.T) {
		before := p.revision()
		all := []string{metav1.DryRunAll}
		m := must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "dry"}}, metav1.CreateOptions{DryRun: all}))(t)
		if m.UID == "" || m.CreationTimestamp.IsZero() {
			t.Errorf("got %+v", m.ObjectMeta)
		}
		kept := must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}))(t)
		kept.Data = map[string]string{"k": "v"}
		must(maps.Update(ctx, kept, metav1.UpdateOptions{DryRun: all}))(t)
		must(maps.Patch(ctx, "kept", types.MergePatchType, []byte(`{"data":{"k":"w"}}`), metav1.PatchOptions{DryRun: all}))(t)
		if err := maps.Delete(ctx, "kept", metav1.DeleteOptions{DryRun: all}); err != nil {
			t.Error(err)
		}
		if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{DryRun: all}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
		if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{DryRun: all}); !apierrors.IsAlreadyExists(err) {
			t.Errorf("what is there already: %v", err)
		}
		if now := p.revision(); now != before+1 {
			t.Errorf("%d revisions, want the one of what was really made", now-before)
		}
	})
	t.Run("finalizers hold a deleted object", func(t *testing.T) {
		m := must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "f", Finalizers: []string{"example.com/a", "example.com/b"}}}, metav1.CreateOptions{}))(t)
		if err := maps.Delete(ctx, "f", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &m.UID, ResourceVersion: &m.ResourceVersion}}); err != nil {
			t.Fatal(err)
		}
		held := must(maps.Get(ctx, "f", metav1.GetOptions{}))(t)
		if held.DeletionTimestamp == nil {
			t.Fatal("no deletion timestamp")
		}
		at := held.DeletionTimestamp
		held.Finalizers = append(held.Finalizers, "example.com/c")
		if _, err := maps.Update(ctx, held, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("a finalizer is added after the deletion: %v", err)
		}
		held.Finalizers, held.DeletionTimestamp = []string{"example.com/b"}, nil
		held = must(maps.Update(ctx, held, metav1.UpdateOptions{}))(t)
		if !held.DeletionTimestamp.Equal(at) {
			t.Errorf("deleted at %v, was %v", held.DeletionTimestamp, at)
		}
		held.Finalizers = nil
		must(maps.Update(ctx, held, metav1.UpdateOptions{}))(t)
		_, err := maps.Get(ctx, "f", metav1.GetOptions{})
		gone(t, err)
	})
	t.Run("dependents are deleted first, or orphaned, by whoever collects garbage", func(t *testing.T) {
		for policy, want := range map[metav1.DeletionPropagation]string{metav1.DeletePropagationForeground: "[foregroundDeletion]", metav1.DeletePropagationOrphan: "[orphan]", metav1.DeletePropagationBackground: ""} {
			must(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{}))(t)
			if err := maps.Delete(ctx, "owner", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
				t.Fatal(err)
			}
			m, err := maps.Get(ctx, "owner", metav1.GetOptions{})
			if want == "" {
				gone(t, err)
				continue
			}
			if err != nil || m.DeletionTimestamp == nil || fmt.Sprint(m.Finalizers) != want {
				t.Fatalf("%s: %v %v", policy, m.Finalizers, err)
			}
			must(maps.Patch(ctx, "owner", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}))(t)
		}
	})
	t.Run("a pod is bound once and ends gracefully", func(t *testing.T) {
		must(pods.Create(ctx, pod("p"), metav1.CreateOptions{}))(t)
		bind := func(node string) error {
			return pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{})
		}
		if err := bind("n1"); err != nil {
			t.Fatal(err)
		}
		if err := bind("n2"); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `pod p is already assigned to node "n1"`) {
			t.Errorf("bound again: %v", err)
		}
		if err := pods.Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		got := must(pods.Get(ctx, "p", metav1.GetOptions{}))(t)
		if got.DeletionTimestamp == nil || got.DeletionGracePeriodSeconds == nil || *got.DeletionGracePeriodSeconds != 30 {
			t.Fatalf("deletion %v, grace %v", got.DeletionTimestamp, got.DeletionGracePeriodSeconds)
		}
		if err := pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](100)}); err != nil {
			t.Error(err)
		}
		if again := must(pods.Get(ctx, "p", metav1.GetOptions{}))(t); *again.DeletionGracePeriodSeconds != 30 || !again.DeletionTimestamp.Equal(got.DeletionTimestamp) {
			t.Errorf("a second deletion gave it longer: %d", *again.DeletionGracePeriodSeconds)
		}
		if err := pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			t.Error(err)
		}
		_, err := pods.Get(ctx, "p", metav1.GetOptions{})
		gone(t, err)
		must(pods.Create(ctx, pod("p"), metav1.CreateOptions{}))(t)
		if err := pods.Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		_, err = pods.Get(ctx, "p", metav1.GetOptions{})
		gone(t, err) // no kubelet has it: nobody to wait for
	})
	t.Run("status and spec are written through doors of their own", func(t *testing.T) {
		sets := p.typed.AppsV1().Deployments(ns)
		d := must(sets.Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}, Template: corev1.PodTemplateSpec{ObjectMeta: pod("").ObjectMeta, Spec: pod("").Spec}},
			Status: appsv1.DeploymentStatus{Replicas: 7}}, metav1.CreateOptions{}))(t)
		check := func(what string, generation int64, spec, status int32) {
			t.Helper()
			d = must(sets.Get(ctx, "d", metav1.GetOptions{}))(t)
			if d.Generation != generation || *d.Spec.Replicas != spec || d.Status.Replicas != status {
				t.Errorf("%s: generation %d, replicas %d, status %d; want %d, %d, %d", what, d.Generation, *d.Spec.Replicas, d.Status.Replicas, generation, spec, status)
			}
		}
		check("create", 1, 1, 0)
		d.Status.Replicas, d.Spec.Replicas = 5, ptr.To[int32](9)
		must(sets.UpdateStatus(ctx, d, metav1.UpdateOptions{}))(t)
		check("status update", 1, 1, 5)
		d.Status.Replicas, d.Spec.Replicas = 6, ptr.To[int32](3)
		must(sets.Update(ctx, d, metav1.UpdateOptions{}))(t)
		check("update", 2, 3, 5)
		d.Labels = map[string]string{"k": "v"}
		must(sets.Update(ctx, d, metav1.UpdateOptions{}))(t)
		check("update of labels", 2, 3, 5)
		s := must(sets.GetScale(ctx, "d", metav1.GetOptions{}))(t)
		if s.Spec.Replicas != 3 || s.Status.Replicas != 5 || s.Status.Selector != "app=a" {
			t.Errorf("scale %+v", s)
		}
		s.Spec.Replicas = 4
		must(sets.UpdateScale(ctx, "d", s, metav1.UpdateOptions{}))(t)
		check("scale", 3, 4, 5)
		if _, err := sets.UpdateScale(ctx, "d", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "d", ResourceVersion: s.ResourceVersion}}, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("stale scale: %v", err)
		}
	})
	t.Run("evictions keep to the budget", func(t *testing.T) {
		must(p.typed.PolicyV1().PodDisruptionBudgets(ns).Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "b"},
			Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: ptr.To(intstr.FromInt32(1)), Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "a"}}}}, metav1.CreateOptions{}))(t)
		evict := func(name string) error {
			return p.typed.PolicyV1().Evictions(ns).Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: ns}})
		}
		run := func(name string) {
			o := must(pods.Create(ctx, pod(name), metav1.CreateOptions{}))(t)
			o.Status.Phase = corev1.PodRunning
			must(pods.UpdateStatus(ctx, o, metav1.UpdateOptions{}))(t)
		}
		run("e1")
		err := evict("e1")
		if !apierrors.IsTooManyRequests(err) || !apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
			t.Errorf("the budget allows none: %v", err)
		}
		must(pods.Get(ctx, "e1", metav1.GetOptions{}))(t)
		must(p.typed.PolicyV1().PodDisruptionBudgets(ns).Patch(ctx, "b", types.MergePatchType,
			[]byte(`{"status":{"observedGeneration":1,"disruptionsAllowed":1,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2}}`), metav1.PatchOptions{}, "status"))(t)
		run("e2")
		if err := evict("e1"); err != nil {
			t.Errorf("the budget allows one: %v", err)
		}
		if err := evict("e2"); !apierrors.IsTooManyRequests(err) {
			t.Errorf("the budget allowed one: %v", err)
		}
		_, err = pods.Get(ctx, "e1", metav1.GetOptions{})
		gone(t, err)
	})
	t.Run("a collection is deleted by selector", func(t *testing.T) {
		for n := range 4 {
			must(nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", n), Labels: map[string]string{"odd": fmt.Sprint(n % 2)}}}, metav1.CreateOptions{}))(t)
		}
		if err := nodes.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "odd=1"}); err != nil {
			t.Fatal(err)
		}
		if l := must(nodes.List(ctx, metav1.ListOptions{LabelSelector: "odd"}))(t); len(l.Items) != 2 || l.Items[0].Name != "n0" || l.Items[1].Name != "n2" {
			t.Errorf("%d left", len(l.Items))
		}
	})
}

// TestServiceAddresses: addresses and node ports are given once and come back.
func TestServiceAddresses(t *testing.T) {
	p := api(t)
	services := p.typed.CoreV1().Services(p.namespace(t))
	ctx := context.Background()
	service := func(name, ip string, kind corev1.ServiceType, node int32) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Type: kind, ClusterIP: ip, Selector: map[string]string{"app": "a"},
			Ports: []corev1.ServicePort{{Port: 80, NodePort: node}}}}
	}
	a := must(services.Create(ctx, service("a", "", corev1.ServiceTypeNodePort, 0), metav1.CreateOptions{}))(t)
	port := a.Spec.Ports[0].NodePort
	if a.Spec.ClusterIP == "" || len(a.Spec.ClusterIPs) != 1 || port < 30000 || port > 32767 {
		t.Fatalf("got %+v", a.Spec)
	}
	if _, err := services.Create(ctx, service("b", a.Spec.ClusterIP, corev1.ServiceTypeClusterIP, 0), metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.clusterIPs") {
		t.Errorf("an address that is taken: %v", err)
	}
	if _, err := services.Create(ctx, service("b", "", corev1.ServiceTypeNodePort, port), metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.ports[0].nodePort: Invalid value: "+fmt.Sprint(port)+": provided port is already allocated") {
		t.Errorf("a node port that is taken: %v", err)
	}
	if _, err := services.Create(ctx, service("b", "", corev1.ServiceTypeNodePort, 80), metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "provided port is not in the valid range. The range of valid ports is 30000-32767") {
		t.Errorf("a node port out of range: %v", err)
	}
	if _, err := services.Create(ctx, service("b", "192.0.2.9", corev1.ServiceTypeClusterIP, 0), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an address out of range: %v", err)
	}
	a.Spec.Type, a.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
	a = must(services.Update(ctx, a, metav1.UpdateOptions{}))(t)
	if a.Spec.Ports[0].NodePort != 0 {
		t.Errorf("a ClusterIP Service keeps node port %d", a.Spec.Ports[0].NodePort)
	}
	must(services.Create(ctx, service("c", "", corev1.ServiceTypeNodePort, port), metav1.CreateOptions{}))(t)
	if err := services.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	must(services.Create(ctx, service("d", a.Spec.ClusterIP, corev1.ServiceTypeClusterIP, 0), metav1.CreateOptions{}))(t)
	if h := must(services.Create(ctx, service("h", "None", corev1.ServiceTypeClusterIP, 0), metav1.CreateOptions{}))(t); h.Spec.ClusterIP != "None" {
		t.Errorf("headless: %s", h.Spec.ClusterIP)
	}
	const many = 40
	var g sync.WaitGroup
	for n := range many {
		g.Go(func() {
			if _, err := services.Create(ctx, service(fmt.Sprintf("m%d", n), "", corev1.ServiceTypeNodePort, 0), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	ips, ports := map[string]string{}, map[int32]string{}
	for _, s := range must(services.List(ctx, metav1.ListOptions{}))(t).Items {
		if ip := s.Spec.ClusterIP; ip != "None" && ips[ip] != "" {
			t.Errorf("%s and %s both have %s", s.Name, ips[ip], ip)
		}
		ips[s.Spec.ClusterIP] = s.Name
		if port := s.Spec.Ports[0].NodePort; port != 0 {
			if ports[port] != "" {
				t.Errorf("%s and %s both have %d", s.Name, ports[port], port)
			}
			ports[port] = s.Name
		}
	}
	if len(ports) != many+1 {
		t.Errorf("%d node ports, want %d", len(ports), many+1)
	}
}

// TestForms: one object and one list in each form that clients ask for.
func TestForms(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	path := "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
	into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", path, "metadata:\n  name: a\ndata:\n  k: v\n", "Content-Type: application/yaml"), 201)
	const as = ";g=meta.k8s.io;v=v1"
	for _, tt := range []struct{ path, accept, media, start string }{
		{path + "/a", "application/json", "application/json", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a",`},
		{path + "/a", "", "application/json", `{"kind":"ConfigMap",`},
		{path + "/a?pretty=true", "", "application/json", "{\n  \"kind\": \"ConfigMap\",\n"},
		{path + "/a", "application/yaml", "application/yaml", "apiVersion: v1\ndata:\n  k: v\nkind: ConfigMap\n"},
		{path + "/a", "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf", "k8s\x00\n\x0f\n\x02v1\x12\tConfigMap"},
		{path + "/a", "text/html, application/vnd.kubernetes.protobuf;q=0.5, application/json;q=0.4", "application/vnd.kubernetes.protobuf", "k8s\x00"},
		{path + "/a", "application/json;as=PartialObjectMetadata" + as, "application/json", `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a",`},
		{path + "/a", "application/json;as=Table" + as, "application/json", `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":`},
		{path, "application/json", "application/json", `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":`},
		{path, "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf", "k8s\x00\n\x13\n\x02v1\x12\rConfigMapList"},
		{path, "application/json;as=PartialObjectMetadataList" + as, "application/json", `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":`},
		{path, "application/json;as=Table" + as + ",application/json", "application/json", `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":`},
		{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2",`},
		{"/apis", "application/json", "application/json", `{"kind":"APIGroupList","apiVersion":"v1",`},
		{"/api/v1", "application/json", "application/json", `{"kind":"APIResourceList",`},
	} {
		var headers []string
		if tt.accept != "" {
			headers = []string{"Accept: " + tt.accept}
		}
		a := admin.do(t, "GET", tt.path, "", headers...)
		if a.code != 200 || a.header.Get("Content-Type") != tt.media || !strings.HasPrefix(string(a.body), tt.start) {
			t.Errorf("%s as %s: HTTP %d %s %.120q, want %s %q", tt.path, tt.accept, a.code, a.header.Get("Content-Type"), a.body, tt.media, tt.start)
		}
	}
	table := into[metav1.Table](t, admin.do(t, "GET", path, "", "Accept: application/json;as=Table"+as), 200)
	if len(table.ColumnDefinitions) != 3 || len(table.Rows) != 1 || fmt.Sprint(table.Rows[0].Cells[:2]) != "[a 1]" {
		t.Errorf("table %+v", table)
	}
	tag := admin.do(t, "GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").header.Get("ETag")
	if a := admin.do(t, "GET", "/apis", "", "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "If-None-Match: "+tag); a.code != http.StatusNotModified {
		t.Errorf("discovery that has not changed: HTTP %d", a.code)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/version"} {
		if a := p.as(t, "anonymous").do(t, "GET", path, ""); a.code != 200 {
			t.Errorf("%s: HTTP %d", path, a.code)
		}
	}
}
