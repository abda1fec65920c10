package operator

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	clientv3 "go.etcd.io/etcd/client/v3"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// assets is a folder with the links that envtest looks for.
func assets(t *testing.T) string {
	t.Helper()
	lighter := os.Getenv("LIGHTER")
	if lighter == "" {
		t.Skip("LIGHTER names no binary")
	}
	dir := t.TempDir()
	for _, name := range []string{"kube-apiserver", "etcd", "kubectl"} {
		if err := os.Symlink(lighter, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// rule is of a webhook for Websites.
func rule() []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{Operations: []admissionregistrationv1.OperationType{"CREATE", "UPDATE"},
		Rule: admissionregistrationv1.Rule{APIGroups: []string{version.Group}, APIVersions: []string{"v1"}, Resources: []string{"websites"}}}}
}

func at(path string) admissionregistrationv1.WebhookClientConfig {
	return admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "default", Name: "operator", Path: &path}}
}

// TestOperator: the suite of an operator with a definition and webhooks, in the environment that its author would test it in.
func TestOperator(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	scheme.AddKnownTypes(version, &Website{}, &WebsiteList{})
	metav1.AddToGroupVersion(scheme, version)
	none := admissionregistrationv1.SideEffectClassNone
	env := &envtest.Environment{BinaryAssetsDirectory: assets(t), Scheme: scheme,
		CRDs: []*apiextensionsv1.CustomResourceDefinition{definition()},
		WebhookInstallOptions: envtest.WebhookInstallOptions{
			MutatingWebhooks: []*admissionregistrationv1.MutatingWebhookConfiguration{{ObjectMeta: metav1.ObjectMeta{Name: "operator"},
				Webhooks: []admissionregistrationv1.MutatingWebhook{{Name: "default.sites.example.org", Rules: rule(), SideEffects: &none,
					AdmissionReviewVersions: []string{"v1"}, ClientConfig: at("/mutate-sites-example-org-v1-website")}}}},
			ValidatingWebhooks: []*admissionregistrationv1.ValidatingWebhookConfiguration{{ObjectMeta: metav1.ObjectMeta{Name: "operator"},
				Webhooks: []admissionregistrationv1.ValidatingWebhook{{Name: "validate.sites.example.org", Rules: rule(), SideEffects: &none,
					AdmissionReviewVersions: []string{"v1"}, ClientConfig: at("/validate-sites-example-org-v1-website")}}}}}}
	env.ControlPlane.GetAPIServer().CertDir = t.TempDir() // one of envtest's own would be gone after a stop
	began := time.Now()
	cfg, err := env.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("from start to ready, definition and webhooks included: %v", time.Since(began).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	hook := env.WebhookInstallOptions
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{Scheme: scheme, Metrics: metrics.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{Host: hook.LocalServingHost, Port: hook.LocalServingPort, CertDir: hook.LocalServingCertDir})})
	if err != nil {
		t.Fatal(err)
	}
	if err := (reconciler{mgr.GetClient()}).setUp(mgr); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(t.Context()) }()
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the webhooks serve", func() bool { return mgr.GetWebhookServer().StartedChecker()(nil) == nil })

	site := func(name, text string) *Website {
		return &Website{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: WebsiteSpec{Text: text}}
	}
	deployed := func(name, text string, replicas int32) func() bool {
		return func() bool {
			var d appsv1.Deployment
			return c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name}, &d) == nil && *d.Spec.Replicas == replicas &&
				d.Spec.Template.Spec.Containers[0].Args[0] == text && d.OwnerReferences[0].Kind == "Website"
		}
	}
	shop := site("shop", "open")
	t.Run("a website gets its deployment and its status", func(t *testing.T) {
		if err := c.Create(t.Context(), shop); err != nil {
			t.Fatal(err)
		}
		if shop.Spec.Replicas == nil || *shop.Spec.Replicas != 2 {
			t.Errorf("the webhook defaulted replicas to %v", shop.Spec.Replicas)
		}
		eventually(t, "the deployment is as the website says", deployed("shop", "open", 2))
		eventually(t, "the status says so", func() bool {
			return c.Get(t.Context(), client.ObjectKeyFromObject(shop), shop) == nil && meta.IsStatusConditionTrue(shop.Status.Conditions, "Shown")
		})
	})
	t.Run("what the schema or the webhook forbids is refused", func(t *testing.T) {
		if err := c.Create(t.Context(), site("empty", "")); !apierrors.IsInvalid(err) {
			t.Errorf("without a text: %v", err)
		}
		if err := c.Create(t.Context(), site("bad", "forbidden")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `nobody may show "forbidden"`) {
			t.Errorf("with a forbidden text: %v", err)
		}
	})
	t.Run("nobody but the operator acts", func(t *testing.T) {
		var sets appsv1.ReplicaSetList
		if err := c.List(t.Context(), &sets); err != nil || len(sets.Items) != 0 {
			t.Errorf("%d replica sets, %v: a controller runs that kube-apiserver has not", len(sets.Items), err)
		}
	})
	t.Run("etcd has what Kubernetes would have there", func(t *testing.T) {
		etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{env.ControlPlane.Etcd.URL.String()}, DialTimeout: 10 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer etcd.Close()
		for key, begins := range map[string]string{
			"/registry/sites.example.org/websites/default/shop":                                   `{"apiVersion":"sites.example.org/v1"`,
			"/registry/deployments/default/shop":                                                  "k8s\x00",
			"/registry/namespaces/default":                                                        "k8s\x00",
			"/registry/apiextensions.k8s.io/customresourcedefinitions/websites.sites.example.org": `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1"`,
			"/registry/apiregistration.k8s.io/apiservices/v1.":                                    `{"`,
		} {
			got, err := etcd.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Kvs) != 1 || !bytes.HasPrefix(got.Kvs[0].Value, []byte(begins)) {
				t.Errorf("%s: %.60q", key, got.Kvs)
			}
		}
	})
	t.Run("a user whom envtest adds has the rights of its groups", func(t *testing.T) {
		admin, err := env.AddUser(envtest.User{Name: "ann", Groups: []string{"system:masters"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		k, err := admin.Kubectl()
		if err != nil {
			t.Fatal(err)
		}
		out, errs, err := k.Run("get", "ws", "shop", "-n", "default", "--no-headers", "-o", "custom-columns=:spec.text")
		text, _ := io.ReadAll(out)
		if said, _ := io.ReadAll(errs); err != nil || strings.TrimSpace(string(text)) != "open" {
			t.Errorf("kubectl: %q %q %v", text, said, err)
		}
		nobody, err := env.AddUser(envtest.User{Name: "bob"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		asBob, err := client.New(nobody.Config(), client.Options{Scheme: scheme})
		if err != nil {
			t.Fatal(err)
		}
		if err := asBob.Get(t.Context(), client.ObjectKeyFromObject(shop), site("shop", "")); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `User "bob"`) {
			t.Errorf("as bob: %v", err)
		}
	})
	t.Run("informers go on through a restart of the API server", func(t *testing.T) {
		api := env.ControlPlane.APIServer
		if err := api.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := api.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is there again", func() bool { return c.Get(t.Context(), client.ObjectKeyFromObject(shop), shop) == nil })
		shop.Spec.Text, shop.Spec.Replicas = "closed", new(int32(1))
		if err := c.Update(t.Context(), shop); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the deployment follows", deployed("shop", "closed", 1))
	})
	t.Run("the finalizer holds a website until its deployment is gone", func(t *testing.T) {
		if err := c.Delete(t.Context(), shop); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both are gone", func() bool {
			return apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(shop), shop)) &&
				apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKeyFromObject(shop), &appsv1.Deployment{}))
		})
	})
	t.Run("namespaces stay terminating", func(t *testing.T) {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gone"}}
		if err := c.Create(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(n), n); err != nil || n.Status.Phase != corev1.NamespaceTerminating {
			t.Errorf("%v, phase %s: no namespace controller runs beside kube-apiserver", err, n.Status.Phase)
		}
	})
	select {
	case err := <-ended:
		t.Errorf("the manager ended: %v", err)
	default:
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after 30s: %s", what)
		}
	}
}
