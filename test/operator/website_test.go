// Package operator is somebody else's operator as they are written with controller-runtime, and its tests as envtest runs them: on links
// called kube-apiserver, etcd and kubectl that all are Lighter. LIGHTER is the path of the binary; `make test` sets it.
package operator

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

var version = schema.GroupVersion{Group: "sites.example.org", Version: "v1"}

// Website is what the operator looks after: a Deployment that shows a text.
type Website struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              WebsiteSpec   `json:"spec"`
	Status            WebsiteStatus `json:"status,omitzero"`
}

type WebsiteSpec struct {
	Text     string `json:"text"`
	Replicas *int32 `json:"replicas,omitempty"`
}

type WebsiteStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

type WebsiteList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []Website `json:"items"`
}

func (w *Website) DeepCopyObject() runtime.Object { return w.copy() }

func (w *Website) copy() *Website {
	out := &Website{TypeMeta: w.TypeMeta, ObjectMeta: *w.ObjectMeta.DeepCopy(), Spec: w.Spec}
	if r := w.Spec.Replicas; r != nil {
		out.Spec.Replicas = new(*r)
	}
	for _, c := range w.Status.Conditions {
		out.Status.Conditions = append(out.Status.Conditions, *c.DeepCopy())
	}
	return out
}

func (l *WebsiteList) DeepCopyObject() runtime.Object {
	out := &WebsiteList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy()}
	for i := range l.Items {
		out.Items = append(out.Items, *l.Items[i].copy())
	}
	return out
}

// definition is its CustomResourceDefinition.
func definition() *apiextensionsv1.CustomResourceDefinition {
	object := func(p map[string]apiextensionsv1.JSONSchemaProps, required ...string) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: p, Required: required}
	}
	scheme := object(map[string]apiextensionsv1.JSONSchemaProps{
		"spec": object(map[string]apiextensionsv1.JSONSchemaProps{
			"text":     {Type: "string", MinLength: new(int64(1))},
			"replicas": {Type: "integer", Format: "int32", Minimum: new(float64(0))},
		}, "text"),
		"status": object(map[string]apiextensionsv1.JSONSchemaProps{
			"conditions": {Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: new(object(map[string]apiextensionsv1.JSONSchemaProps{
				"type": {Type: "string"}, "status": {Type: "string"}, "reason": {Type: "string"}, "message": {Type: "string"},
				"observedGeneration": {Type: "integer"}, "lastTransitionTime": {Type: "string", Format: "date-time"}}))}},
		}),
	}, "spec")
	return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "websites." + version.Group}, Spec: apiextensionsv1.CustomResourceDefinitionSpec{
		Group: version.Group, Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "websites", Singular: "website", Kind: "Website", ListKind: "WebsiteList", ShortNames: []string{"ws"}},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: version.Version, Served: true, Storage: true,
			Schema:                   &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &scheme},
			Subresources:             &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Text", Type: "string", JSONPath: ".spec.text"}}}},
	}}
}

// finalizer is the operator's.
const finalizer = "sites.example.org/tidy"

// reconciler keeps a Website's Deployment as it says.
type reconciler struct{ client.Client }

func (r reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var w Website
	if err := r.Get(ctx, req.NamespacedName, &w); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: w.Name}}
	if !w.DeletionTimestamp.IsZero() {
		if err := r.Delete(ctx, d); client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, err
		}
		if controllerutil.RemoveFinalizer(&w, finalizer) {
			return ctrl.Result{}, r.Update(ctx, &w)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(&w, finalizer) {
		if err := r.Update(ctx, &w); err != nil {
			return ctrl.Result{}, err
		}
	}
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, d, func() error {
		labels := map[string]string{"website": w.Name}
		d.Spec.Replicas, d.Spec.Selector = w.Spec.Replicas, &metav1.LabelSelector{MatchLabels: labels}
		d.Spec.Template.Labels = labels
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web", Image: "web.example/show", Args: []string{w.Spec.Text}}}
		return controllerutil.SetControllerReference(&w, d, r.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	if meta.SetStatusCondition(&w.Status.Conditions, metav1.Condition{Type: "Shown", Status: metav1.ConditionTrue, Reason: "Deployed", ObservedGeneration: w.Generation}) {
		return ctrl.Result{}, r.Status().Update(ctx, &w)
	}
	return ctrl.Result{}, nil
}

// hooks are the operator's webhooks.
type hooks struct{}

// Default has two replicas where the user says nothing.
func (hooks) Default(_ context.Context, w *Website) error {
	if w.Spec.Replicas == nil {
		w.Spec.Replicas = new(int32(2))
	}
	return nil
}

func (hooks) ValidateCreate(_ context.Context, w *Website) (admission.Warnings, error) {
	if w.Spec.Text == "forbidden" {
		return nil, fmt.Errorf("nobody may show %q", w.Spec.Text)
	}
	return nil, nil
}

func (h hooks) ValidateUpdate(ctx context.Context, _, w *Website) (admission.Warnings, error) {
	return h.ValidateCreate(ctx, w)
}

func (hooks) ValidateDelete(context.Context, *Website) (admission.Warnings, error) { return nil, nil }

func (r reconciler) setUp(m ctrl.Manager) error {
	if err := ctrl.NewWebhookManagedBy(m, &Website{}).WithDefaulter(hooks{}).WithValidator(hooks{}).Complete(); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(m).For(&Website{}).Owns(&appsv1.Deployment{}).Complete(r)
}
