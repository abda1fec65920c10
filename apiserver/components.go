package apiserver

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// components answers with how the parts of the control plane are, which nobody stores: one, or all.
func (s *Server) components(w http.ResponseWriter, r *http.Request, t *route) error {
	f, err := accept(r, true)
	if err != nil {
		return err
	}
	if t.verb == "get" {
		for _, c := range s.Components {
			if c.Name == t.name {
				return s.answer(w, r, http.StatusOK, f, t.info, component(r, c))
			}
		}
		kind := t.info.GroupResource()
		kind.Resource = t.info.Singular // Source: what Kubernetes 1.37 does
		return apierrors.NewNotFound(kind, t.name)
	}
	_, filter, err := listOptions(t)
	if err != nil {
		return err
	}
	l := source{objects: []api.Object{}}
	for _, c := range s.Components {
		named := filter.Fields == nil || filter.Fields.Matches(fields.Set{"metadata.name": c.Name})
		if named && (filter.Labels == nil || filter.Labels.Matches(labels.Set{})) {
			l.objects = append(l.objects, component(r, c))
		}
	}
	return s.answerList(w, r, f, t.info, l)
}

func component(r *http.Request, c Check) *corev1.ComponentStatus {
	healthy := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if err := c.Test(r.Context()); err != nil {
		healthy.Status, healthy.Message = corev1.ConditionFalse, err.Error()
	}
	return &corev1.ComponentStatus{TypeMeta: metav1.TypeMeta{Kind: core.ComponentStatus.Kind, APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: c.Name}, Conditions: []corev1.ComponentCondition{healthy}}
}
