package role_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

func amounts(words ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		list[corev1.ResourceName(name)] = resource.MustParse(value)
	}
	return list
}

// asking is a pod whose container requests and is limited as said.
func asking(name string, requests, limits corev1.ResourceList) *corev1.Pod {
	p := pod(name)
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
	return p
}

// TestLimitRanges: what a pod leaves out is filled in and noted, what is out of bounds is refused with what is wrong.
func TestLimitRanges(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	must(p.typed.CoreV1().LimitRanges(ns).Create(t.Context(), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{
		{Type: corev1.LimitTypeContainer, Min: amounts("cpu=10m"), Max: amounts("cpu=1", "memory=1Gi"), Default: amounts("cpu=200m"),
			DefaultRequest: amounts("cpu=100m", "memory=64Mi"), MaxLimitRequestRatio: amounts("cpu=4")},
		{Type: corev1.LimitTypePod, Max: amounts("memory=1500Mi")},
		{Type: corev1.LimitTypePersistentVolumeClaim, Min: amounts("storage=1Gi"), Max: amounts("storage=2Gi")},
	}}}, metav1.CreateOptions{}))(t)
	pods := p.typed.CoreV1().Pods(ns)
	got := must(pods.Create(t.Context(), pod("silent"), metav1.CreateOptions{}))(t)
	r := got.Spec.Containers[0].Resources
	if s := fmt.Sprint(r.Requests.Cpu(), r.Requests.Memory(), r.Limits.Cpu(), r.Limits.Memory()); s != "100m 64Mi 200m 1Gi" {
		t.Errorf("filled in: %s", s)
	}
	if note := got.Annotations["kubernetes.io/limit-ranger"]; note != "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c" {
		t.Errorf("note %q", note)
	}
	two := asking("two", nil, nil)
	two.Spec.Containers = append(two.Spec.Containers, corev1.Container{Name: "d", Image: "example.com/i"})
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"too little":      {asking("a", amounts("cpu=1m"), amounts("cpu=4m")), `minimum cpu usage per Container is 10m, but request is 1m`},
		"too much":        {asking("a", nil, amounts("cpu=500m", "memory=2Gi")), `maximum memory usage per Container is 1Gi, but limit is 2Gi`},
		"too far apart":   {asking("a", amounts("cpu=100m"), amounts("cpu=1")), `cpu max limit to request ratio per Container is 4, but provided ratio is 10.000000`},
		"pod in all":      {two, `maximum memory usage per Pod is 1500Mi, but limit is 2Gi`},
		"several at once": {asking("a", amounts("cpu=1m"), amounts("memory=2Gi", "cpu=1m")), `[minimum cpu usage per Container is 10m, but request is 1m, maximum memory usage per Container is 1Gi, but limit is 2Gi`},
	} {
		_, err := pods.Create(t.Context(), tt.pod, metav1.CreateOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	_, err := p.typed.CoreV1().PersistentVolumeClaims(ns).Create(t.Context(), claim("c", "500Mi", nil), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi") {
		t.Errorf("small claim: %v", err)
	}
}

func claim(name, size string, class *string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: class,
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Resources: corev1.VolumeResourceRequirements{Requests: amounts("storage=" + size)}}}
}

// quota makes a quota whose status the controller has written.
func (p *plane) quota(t *testing.T, ns string, spec corev1.ResourceQuotaSpec) *corev1.ResourceQuota {
	t.Helper()
	quotas := p.typed.CoreV1().ResourceQuotas(ns)
	q := must(quotas.Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: spec}, metav1.CreateOptions{}))(t)
	q.Status = corev1.ResourceQuotaStatus{Hard: spec.Hard, Used: corev1.ResourceList{}}
	for name := range spec.Hard {
		q.Status.Used[name] = resource.MustParse("0")
	}
	return must(quotas.UpdateStatus(t.Context(), q, metav1.UpdateOptions{}))(t)
}

func (p *plane) used(t *testing.T, ns string) string {
	t.Helper()
	q := must(p.typed.CoreV1().ResourceQuotas(ns).Get(t.Context(), "q", metav1.GetOptions{}))(t)
	var words []string
	for _, name := range []corev1.ResourceName{"pods", "requests.cpu", "services", "services.nodeports", "count/configmaps", "requests.storage"} {
		if n, ok := q.Status.Used[name]; ok {
			words = append(words, fmt.Sprintf("%s=%s", name, n.String()))
		}
	}
	return strings.Join(words, " ")
}

// TestQuotaCharged: a write is charged with the write itself; what is refused, dry or of no interest is not.
func TestQuotaCharged(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	core := p.typed.CoreV1()
	if _, err := core.ResourceQuotas(ns).Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "new"}, Spec: corev1.ResourceQuotaSpec{Hard: amounts("count/secrets=1")}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := core.Secrets(ns).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "status unknown for quota: new, resources: count/secrets") {
		t.Errorf("before the quota's status is known: %v", err)
	}
	p.quota(t, ns, corev1.ResourceQuotaSpec{Hard: amounts("pods=2", "requests.cpu=1", "services=2", "services.nodeports=3", "count/configmaps=20", "requests.storage=3Gi")})
	want := func(after, use string) {
		t.Helper()
		if got := p.used(t, ns); got != use {
			t.Errorf("%s: used %s, want %s", after, got, use)
		}
	}
	_, err = core.Pods(ns).Create(t.Context(), pod("silent"), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `pods "silent" is forbidden: failed quota: q: must specify requests.cpu for: c`) {
		t.Errorf("a pod that does not say: %v", err)
	}
	if _, err = core.Pods(ns).Create(t.Context(), asking("dry", amounts("cpu=600m"), nil), metav1.CreateOptions{DryRun: []string{"All"}}); err != nil {
		t.Error(err)
	}
	want("a dry run", "pods=0 requests.cpu=0 services=0 services.nodeports=0 count/configmaps=0 requests.storage=0")
	must(core.Pods(ns).Create(t.Context(), asking("a", amounts("cpu=600m"), nil), metav1.CreateOptions{}))(t)
	_, err = core.Pods(ns).Create(t.Context(), asking("b", amounts("cpu=600m"), nil), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: q, requested: requests.cpu=600m, used: requests.cpu=600m, limited: requests.cpu=1") {
		t.Errorf("too much: %v", err)
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Name: "a", Port: 1}, {Name: "b", Port: 2}}}}
	svc = must(core.Services(ns).Create(t.Context(), svc, metav1.CreateOptions{}))(t)
	want("a pod and a service", "pods=1 requests.cpu=600m services=1 services.nodeports=2 count/configmaps=0 requests.storage=0")
	svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "c", Port: 3}, corev1.ServicePort{Name: "d", Port: 4})
	if _, err := core.Services(ns).Update(t.Context(), svc, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("an update beyond the quota: %v", err)
	}
	svc.Spec.Ports = svc.Spec.Ports[:3]
	must(core.Services(ns).Update(t.Context(), svc, metav1.UpdateOptions{}))(t)
	must(core.PersistentVolumeClaims(ns).Create(t.Context(), claim("c", "2Gi", nil), metav1.CreateOptions{}))(t)
	want("an update", "pods=1 requests.cpu=600m services=1 services.nodeports=3 count/configmaps=0 requests.storage=2Gi")

	var made atomic.Int32
	var wg sync.WaitGroup
	for n := range 60 { // more than there is room for, at once
		wg.Go(func() {
			_, err := core.ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", n)}}, metav1.CreateOptions{})
			switch {
			case err == nil:
				made.Add(1)
			case !apierrors.IsForbidden(err):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := made.Load(); got != 20 {
		t.Errorf("%d made, want 20", got)
	}
	want("a race", "pods=1 requests.cpu=600m services=1 services.nodeports=3 count/configmaps=20 requests.storage=2Gi")
}

// TestPodSecurity: a namespace's labels say what pods may be; workloads are warned of.
func TestPodSecurity(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	label := func(key, value string) error {
		_, err := p.typed.CoreV1().Namespaces().Patch(t.Context(), ns, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"pod-security.kubernetes.io/%s":%q}}}`, key, value), metav1.PatchOptions{})
		return err
	}
	root := pod("root")
	root.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	create := func(o *corev1.Pod) error {
		return second(p.typed.CoreV1().Pods(ns).Create(t.Context(), o, metav1.CreateOptions{}))
	}
	if err := create(root); err != nil {
		t.Fatal(err)
	}
	if err := label("enforce", "all"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "all": must be one of privileged, baseline, restricted`) {
		t.Errorf("no such level: %v", err)
	}
	if err := label("enforce", "baseline"); err != nil {
		t.Fatal(err)
	}
	root.Name = "root2"
	if err := create(root); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `pods "root2" is forbidden: violates PodSecurity "baseline:latest": privileged (container "c" must not set securityContext.privileged=true)`) {
		t.Errorf("a privileged pod: %v", err)
	}
	if err := create(pod("plain")); err != nil {
		t.Error(err)
	}
	if err := label("warn", "restricted"); err != nil {
		t.Fatal(err)
	}
	got := p.as(t, "admin").do(t, "POST", "/api/v1/namespaces/"+ns+"/pods", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"warned"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	if w := got.header.Get("Warning"); got.code != 201 || !strings.Contains(w, "would violate PodSecurity") {
		t.Errorf("HTTP %d, warning %q", got.code, w)
	}
}

// TestStorageDefaults: claims get the default class and a finalizer, and grow only where that can be.
func TestStorageDefaults(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	classes := p.typed.StorageV1().StorageClasses()
	for name, grows := range map[string]bool{"fixed": false, "grows": true} {
		must(classes.Create(t.Context(), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/p", AllowVolumeExpansion: &grows}, metav1.CreateOptions{}))(t)
		t.Cleanup(func() { _ = classes.Delete(context.Background(), name, metav1.DeleteOptions{}) }) // others' claims should not get it
	}
	claims := p.typed.CoreV1().PersistentVolumeClaims(ns)
	if got := must(claims.Create(t.Context(), claim("none", "1Gi", nil), metav1.CreateOptions{}))(t); got.Spec.StorageClassName != nil || fmt.Sprint(got.Finalizers) != "[kubernetes.io/pvc-protection]" {
		t.Errorf("class %v, finalizers %v", got.Spec.StorageClassName, got.Finalizers)
	}
	_, err := classes.Patch(t.Context(), "grows", types.MergePatchType, []byte(`{"metadata":{"annotations":{"storageclass.kubernetes.io/is-default-class":"true"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		class *string
		want  string
	}{"default": {nil, "grows"}, "explicit": {ptr.To("fixed"), "fixed"}, "no class": {ptr.To(""), ""}} {
		got := must(claims.Create(t.Context(), claim(strings.ReplaceAll(name, " ", "-"), "1Gi", tt.class), metav1.CreateOptions{}))(t)
		if got.Spec.StorageClassName == nil || *got.Spec.StorageClassName != tt.want {
			t.Errorf("%s: %v, want %q", name, got.Spec.StorageClassName, tt.want)
		}
	}
	grow := func(name string) error {
		return second(claims.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`), metav1.PatchOptions{}))
	}
	for _, name := range []string{"default", "explicit"} {
		if _, err := claims.Patch(t.Context(), name, types.MergePatchType, []byte(`{"status":{"phase":"Bound"}}`), metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	if err := grow("default"); err != nil {
		t.Errorf("a class that grows: %v", err)
	}
	if err := grow("explicit"); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "the storageclass that provisions the pvc must support resize") {
		t.Errorf("a class that does not: %v", err)
	}
}

// TestIngressClassAndExternalIPs: the default class, and addresses that are not a Service's to take.
func TestIngressClassAndExternalIPs(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	classes := p.typed.NetworkingV1().IngressClasses()
	must(classes.Create(t.Context(), &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "front", Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}},
		Spec: networkingv1.IngressClassSpec{Controller: "example.com/c"}}, metav1.CreateOptions{}))(t)
	t.Cleanup(func() { _ = classes.Delete(context.Background(), "front", metav1.DeleteOptions{}) }) // others' ingresses should not get it
	backend := &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "s", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	i := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: "i"}, Spec: networkingv1.IngressSpec{DefaultBackend: backend}}
	if got := must(p.typed.NetworkingV1().Ingresses(ns).Create(t.Context(), i, metav1.CreateOptions{}))(t); got.Spec.IngressClassName == nil || *got.Spec.IngressClassName != "front" {
		t.Errorf("class %v", got.Spec.IngressClassName)
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 1}}, ExternalIPs: []string{"203.0.113.7"}}}
	if _, err := p.typed.CoreV1().Services(ns).Create(t.Context(), svc, metav1.CreateOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "Use of external IPs is denied by admission control") {
		t.Errorf("external addresses: %v", err)
	}
}

// TestOwnerReferencesNeedRights: an owner is named by those who may delete, and held up by those who may write its finalizers.
func TestOwnerReferencesNeedRights(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	grant(t, p, ns, "ann", rbacv1.PolicyRule{Verbs: []string{"get", "create", "patch"}, APIGroups: []string{""}, Resources: []string{"configmaps"}})
	c := rest.CopyConfig(p.admin)
	c.Impersonate.UserName = "ann"
	ann := must(kubernetes.NewForConfig(c))(t).CoreV1().ConfigMaps(ns)
	owner := must(ann.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{}))(t)
	owned := func(blocks bool) []metav1.OwnerReference {
		return []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID, BlockOwnerDeletion: &blocks}}
	}
	must(ann.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", OwnerReferences: owned(false)}}, metav1.CreateOptions{}))(t)
	_, err := ann.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b", OwnerReferences: owned(true)}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on") {
		t.Errorf("holding up the owner: %v", err)
	}
	_, err = ann.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"metadata":{"ownerReferences":null}}`), metav1.PatchOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot set an ownerRef on a resource you can't delete") {
		t.Errorf("changing the owner: %v", err)
	}
	must(ann.Patch(t.Context(), "a", types.MergePatchType, []byte(`{"data":{"k":"v"}}`), metav1.PatchOptions{}))(t)
}

// TestPodTopology: a bound pod shows its node's zone and region.
func TestPodTopology(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	node := "n-" + ns
	must(p.typed.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{corev1.LabelTopologyZone: "z", corev1.LabelTopologyRegion: "r", "a": "b"}}}, metav1.CreateOptions{}))(t)
	t.Cleanup(func() { _ = p.typed.CoreV1().Nodes().Delete(context.Background(), node, metav1.DeleteOptions{}) }) // others count nodes
	pods := p.typed.CoreV1().Pods(ns)
	must(pods.Create(t.Context(), pod("p"), metav1.CreateOptions{}))(t)
	if err := pods.Bind(t.Context(), &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := must(pods.Get(t.Context(), "p", metav1.GetOptions{}))(t); fmt.Sprint(got.Labels) != "map[app:a topology.kubernetes.io/region:r topology.kubernetes.io/zone:z]" {
		t.Errorf("labels %v", got.Labels)
	}
}
