package events

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Bounds of an event's texts. Source: type comments of events.k8s.io/v1.
const (
	maxInstance = 128
	maxAction   = 128
	maxReason   = 128
	maxNote     = 1024
)

// Complaints name fields as core/v1 does, of which events are stored.

// validateEvent is stricter than core's: an events.k8s.io event names who reports it and has a time.
func validateEvent(e, old *eventsv1.Event) (errs field.ErrorList) {
	if old != nil {
		defer func() { errs = append(errs, validateUnchanged(e, old)...) }()
	}
	if e.EventTime.IsZero() && old == nil {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Series != nil {
		at := field.NewPath("series")
		if e.Series.Count < 2 {
			errs = append(errs, field.Invalid(at.Child("count"), "", "should be at least 2"))
		}
		if e.Series.LastObservedTime.IsZero() {
			errs = append(errs, field.Required(at.Child("lastObservedTime"), ""))
		}
	}
	errs = append(errs, validateNamespace(e)...)
	if old != nil && e.EventTime.IsZero() {
		return errs // made through core/v1, whose rules are wider
	}
	errs = append(errs, required(e.ReportingController, field.NewPath("reportingController"))...)
	for _, msg := range validation.IsQualifiedName(e.ReportingController) {
		errs = append(errs, field.Invalid(field.NewPath("reportingController"), e.ReportingController, msg))
	}
	errs = append(errs, bounded(e.ReportingInstance, maxInstance, field.NewPath("reportingInstance"))...)
	errs = append(errs, bounded(e.Action, maxAction, field.NewPath("action"))...)
	errs = append(errs, bounded(e.Reason, maxReason, field.NewPath("reason"))...)
	if len(e.Note) > maxNote {
		errs = append(errs, field.Invalid(field.NewPath("note"), "", fmt.Sprintf("can have at most %v characters", maxNote)))
	}
	if old == nil && e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", fmt.Sprintf("has invalid value: %v", e.Type)))
	}
	return append(errs, validateNotDeprecated(e, old)...)
}

func required(s string, at *field.Path) field.ErrorList {
	if s == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

func bounded(s string, most int, at *field.Path) field.ErrorList {
	errs := required(s, at)
	if len(s) > most {
		errs = append(errs, field.Invalid(at, "", fmt.Sprintf("can have at most %v characters", most)))
	}
	return errs
}

// validateNamespace wants the event about a cluster-scoped object in the default namespace or the system's.
func validateNamespace(e *eventsv1.Event) (errs field.ErrorList) {
	at := field.NewPath("involvedObject", "namespace")
	if e.Regarding.Namespace == "" {
		if e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
			errs = append(errs, field.Invalid(at, e.Regarding.Namespace, "does not match event.namespace"))
		}
	}
	for _, msg := range validation.IsDNS1123Subdomain(e.Namespace) {
		errs = append(errs, field.Invalid(field.NewPath("namespace"), e.Namespace, msg))
	}
	return errs
}

// validateNotDeprecated: fields kept for core/v1 may not be set by a new event.
func validateNotDeprecated(e, old *eventsv1.Event) (errs field.ErrorList) {
	if old != nil {
		return nil
	}
	if !e.DeprecatedFirstTimestamp.IsZero() {
		errs = append(errs, field.Invalid(field.NewPath("firstTimestamp"), "", "needs to be unset"))
	}
	if !e.DeprecatedLastTimestamp.IsZero() {
		errs = append(errs, field.Invalid(field.NewPath("lastTimestamp"), "", "needs to be unset"))
	}
	if e.DeprecatedCount != 0 {
		errs = append(errs, field.Invalid(field.NewPath("count"), "", "needs to be unset"))
	}
	if e.DeprecatedSource.Component != "" || e.DeprecatedSource.Host != "" {
		errs = append(errs, field.Invalid(field.NewPath("source"), "", "needs to be unset"))
	}
	return errs
}

// validateUnchanged: an event may only be counted further.
func validateUnchanged(e, old *eventsv1.Event) (errs field.ErrorList) {
	same := func(name string, now, was any) {
		errs = append(errs, apivalidation.ValidateImmutableField(now, was, field.NewPath(name))...)
	}
	same("involvedObject", e.Regarding, old.Regarding)
	same("reason", e.Reason, old.Reason)
	same("message", e.Note, old.Note)
	same("source", e.DeprecatedSource, old.DeprecatedSource)
	same("firstTimestamp", e.DeprecatedFirstTimestamp, old.DeprecatedFirstTimestamp)
	same("lastTimestamp", e.DeprecatedLastTimestamp, old.DeprecatedLastTimestamp)
	same("count", e.DeprecatedCount, old.DeprecatedCount)
	same("type", e.Type, old.Type)
	// Clients may have kept a time with fewer digits than the server has.
	if e.EventTime.Unix() != old.EventTime.Unix() {
		same("eventTime", e.EventTime, old.EventTime)
	}
	same("action", e.Action, old.Action)
	same("related", e.Related, old.Related)
	same("reportingController", e.ReportingController, old.ReportingController)
	same("reportingInstance", e.ReportingInstance, old.ReportingInstance)
	return errs
}
