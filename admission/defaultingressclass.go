package admission

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/lighter-k8s/lighter/client"
)

// DefaultIngressClass gives ingresses that name no class, not even by the older annotation, the cluster's default one.
// Source: Kubernetes documentation, Ingress, Default IngressClass.
func DefaultIngressClass(classes client.TypedView[*networkingv1.IngressClass]) Plugin {
	return Plugin{Name: "DefaultIngressClass", Mutate: func(_ context.Context, a *Attributes) error {
		if a.Operation != Create || a.Resource() != "ingresses.networking.k8s.io" {
			return nil
		}
		ingress := a.Object.(*networkingv1.Ingress)
		if _, old := ingress.Annotations["kubernetes.io/ingress.class"]; old || ingress.Spec.IngressClassName != nil {
			return nil
		}
		if class := newestDefault(classes.List(""), networkingv1.AnnotationIsDefaultIngressClass); class != nil {
			ingress.Spec.IngressClassName = &class.Name
		}
		return nil
	}}
}
