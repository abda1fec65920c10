package admission

import (
	"context"
	"errors"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	psa "k8s.io/pod-security-admission/admission"
	psaconfig "k8s.io/pod-security-admission/admission/api"
	psaapi "k8s.io/pod-security-admission/api"
	psametrics "k8s.io/pod-security-admission/metrics"
	"k8s.io/pod-security-admission/policy"

	"github.com/lighter-k8s/lighter/client"
)

// PodSecurity holds pods, and warns of workloads, against the level that their namespace's labels ask for: the published library
// (pod-security-admission) judges. Source: Kubernetes documentation, Pod Security Admission.
func PodSecurity(namespaces client.TypedView[*corev1.Namespace], pods client.TypedView[*corev1.Pod]) (Plugin, error) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return Plugin{}, err
	}
	world := security{namespaces, pods}
	judge := &psa.Admission{
		Configuration: &psaconfig.PodSecurityConfiguration{Defaults: psaconfig.PodSecurityDefaults{Enforce: "privileged", EnforceVersion: "latest",
			Audit: "privileged", AuditVersion: "latest", Warn: "privileged", WarnVersion: "latest"}},
		Evaluator: evaluator, Metrics: unmeasured{}, NamespaceGetter: world, PodLister: world,
	}
	if err := errors.Join(judge.CompleteConfiguration(), judge.ValidateConfiguration()); err != nil {
		return Plugin{}, err
	}
	return Plugin{Name: "PodSecurity", Validate: func(ctx context.Context, a *Attributes) error {
		if a.Operation != Create && a.Operation != Update || !world.concerns(a) {
			return nil
		}
		r := &psaapi.AttributesRecord{Name: a.Name, Namespace: a.Namespace, Kind: a.Info.GVK(), Resource: a.Info.GroupVersionResource, Subresource: a.Subresource,
			Operation: admissionv1.Operation(a.Operation), Object: a.Object, Username: a.User.Username}
		if a.Info.Resource == "namespaces" {
			r.Namespace = a.Name
		}
		if a.Old != nil {
			r.OldObject = a.Old
		}
		answer := judge.Validate(ctx, r)
		for _, text := range answer.Warnings {
			if a.Warn != nil {
				a.Warn(text)
			}
		}
		for key, text := range answer.AuditAnnotations {
			a.Note("pod-security.kubernetes.io/"+key, text)
		}
		switch {
		case answer.Allowed:
			return nil
		case answer.Result == nil:
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf("unknown error"))
		}
		return &apierrors.StatusError{ErrStatus: *answer.Result}
	}}, nil
}

// security is what the judge knows of the cluster.
type security struct {
	namespaces client.TypedView[*corev1.Namespace]
	pods       client.TypedView[*corev1.Pod]
}

// concerns tells whether the write can be of interest at all: most namespaces ask for nothing.
func (s security) concerns(a *Attributes) bool {
	if a.Info.Group == "" && a.Info.Resource == "namespaces" {
		return a.Subresource == "" && (asks(a.Object.GetLabels()) || a.Old != nil && asks(a.Old.GetLabels()))
	}
	if !(psa.DefaultPodSpecExtractor{}).HasPodSpec(a.Info.GroupResource()) {
		return false
	}
	ns, ok := s.namespaces.Get("", a.Namespace)
	return ok && asks(ns.Labels)
}

func asks(labels map[string]string) bool {
	for key := range labels {
		if strings.HasPrefix(key, "pod-security.kubernetes.io/") {
			return true
		}
	}
	return false
}

// GetNamespace implements psa.NamespaceGetter.
func (s security) GetNamespace(_ context.Context, name string) (*corev1.Namespace, error) {
	if ns, ok := s.namespaces.Get("", name); ok {
		return ns, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, name)
}

// ListPods implements psa.PodLister.
func (s security) ListPods(_ context.Context, namespace string) ([]*corev1.Pod, error) {
	return s.pods.List(namespace), nil
}

// unmeasured is a recorder of PodSecurity's that records nothing.
type unmeasured struct{}

func (unmeasured) RecordEvaluation(psametrics.Decision, psaapi.LevelVersion, psametrics.Mode, psaapi.Attributes) {
}
func (unmeasured) RecordExemption(psaapi.Attributes)   {}
func (unmeasured) RecordError(bool, psaapi.Attributes) {}
