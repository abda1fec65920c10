package core

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// Event tells what happened to an object. It is also served as events.k8s.io/v1.
var Event = api.Define(api.Resource[*corev1.Event]{
	Version: "v1", Plural: "events", Short: []string{"ev"}, Scope: api.Namespaced, AnyFinalizer: true, Relaxed: true, Life: time.Hour,
	Validate: validateEvent, ValidateName: path.ValidatePathSegmentName,
	Fields: map[string]func(*corev1.Event) string{
		"involvedObject.kind":            func(e *corev1.Event) string { return e.InvolvedObject.Kind },
		"involvedObject.namespace":       func(e *corev1.Event) string { return e.InvolvedObject.Namespace },
		"involvedObject.name":            func(e *corev1.Event) string { return e.InvolvedObject.Name },
		"involvedObject.uid":             func(e *corev1.Event) string { return string(e.InvolvedObject.UID) },
		"involvedObject.apiVersion":      func(e *corev1.Event) string { return e.InvolvedObject.APIVersion },
		"involvedObject.resourceVersion": func(e *corev1.Event) string { return e.InvolvedObject.ResourceVersion },
		"involvedObject.fieldPath":       func(e *corev1.Event) string { return e.InvolvedObject.FieldPath },
		"reason":                         func(e *corev1.Event) string { return e.Reason },
		"reportingComponent":             func(e *corev1.Event) string { return e.ReportingController },
		"source":                         eventSourceName,
		"type":                           func(e *corev1.Event) string { return e.Type },
	},
	Columns: []api.Column[*corev1.Event]{
		{Name: "Last Seen", Help: corev1.Event{}.SwaggerDoc()["lastTimestamp"], Show: func(e *corev1.Event) any { return lastSeen(e) }},
		{Name: "Type", Help: corev1.Event{}.SwaggerDoc()["type"], Show: func(e *corev1.Event) any { return e.Type }},
		{Name: "Reason", Help: corev1.Event{}.SwaggerDoc()["reason"], Show: func(e *corev1.Event) any { return e.Reason }},
		{Name: "Object", Help: corev1.Event{}.SwaggerDoc()["involvedObject"], Show: func(e *corev1.Event) any {
			kind := strings.ToLower(e.InvolvedObject.Kind)
			if e.InvolvedObject.Name == "" {
				return kind
			}
			return kind + "/" + e.InvolvedObject.Name
		}},
		{Name: "Subobject", Priority: 1, Help: corev1.ObjectReference{}.SwaggerDoc()["fieldPath"], Show: func(e *corev1.Event) any { return e.InvolvedObject.FieldPath }},
		{Name: "Source", Priority: 1, Help: corev1.Event{}.SwaggerDoc()["source"], Show: func(e *corev1.Event) any {
			name, host := eventSourceName(e), e.Source.Host
			OrSet(&host, e.ReportingInstance)
			if host == "" {
				return name
			}
			return name + ", " + host
		}},
		{Name: "Message", Help: corev1.Event{}.SwaggerDoc()["message"], Show: func(e *corev1.Event) any { return strings.TrimSpace(e.Message) }},
		{Name: "First Seen", Priority: 1, Help: corev1.Event{}.SwaggerDoc()["firstTimestamp"], Show: func(e *corev1.Event) any { return firstSeen(e) }},
		{Name: "Count", Priority: 1, Help: corev1.Event{}.SwaggerDoc()["count"], Show: func(e *corev1.Event) any {
			switch {
			case e.Series != nil:
				return int64(e.Series.Count)
			case e.Count == 0:
				return int64(1) // one that events.k8s.io clients made
			}
			return int64(e.Count)
		}},
		{Name: "Name", Priority: 1},
	},
})

func eventSourceName(e *corev1.Event) string {
	if e.Source.Component != "" {
		return e.Source.Component
	}
	return e.ReportingController
}

func firstSeen(e *corev1.Event) string {
	if e.FirstTimestamp.IsZero() {
		return api.Age(metav1.Time{Time: e.EventTime.Time})
	}
	return api.Age(e.FirstTimestamp)
}

func lastSeen(e *corev1.Event) string {
	switch {
	case e.Series != nil:
		return api.Age(metav1.Time{Time: e.Series.LastObservedTime.Time})
	case e.LastTimestamp.IsZero():
		return firstSeen(e)
	}
	return api.Age(e.LastTimestamp)
}
