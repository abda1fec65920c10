// Package events holds the record of events.k8s.io/v1: another view of core/v1 Event.
package events

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// All lists the group's resources.
var All = []*api.Info{Event}

// Event tells what happened to an object; it is stored as a core/v1 Event.
var Event = withColumns(api.Define(api.Resource[*eventsv1.Event]{
	Group: eventsv1.GroupName, Version: "v1", Plural: "events", Short: []string{"ev"}, Scope: api.Namespaced,
	Relaxed:  true,
	StoredIn: core.Event,
	ToStored: func(e *eventsv1.Event) (api.Object, error) { return toCore(e), nil },
	Load:     func(o api.Object) (*eventsv1.Event, error) { return fromCore(o.(*corev1.Event)), nil },
	Validate: validateEvent,
	Fields: map[string]func(*eventsv1.Event) string{
		"regarding.kind":            func(e *eventsv1.Event) string { return e.Regarding.Kind },
		"regarding.namespace":       func(e *eventsv1.Event) string { return e.Regarding.Namespace },
		"regarding.name":            func(e *eventsv1.Event) string { return e.Regarding.Name },
		"regarding.uid":             func(e *eventsv1.Event) string { return string(e.Regarding.UID) },
		"regarding.apiVersion":      func(e *eventsv1.Event) string { return e.Regarding.APIVersion },
		"regarding.resourceVersion": func(e *eventsv1.Event) string { return e.Regarding.ResourceVersion },
		"regarding.fieldPath":       func(e *eventsv1.Event) string { return e.Regarding.FieldPath },
		"reason":                    func(e *eventsv1.Event) string { return e.Reason },
		"reportingController":       func(e *eventsv1.Event) string { return e.ReportingController },
		"type":                      func(e *eventsv1.Event) string { return e.Type },
	},
}))

// withColumns gives the view the columns of what is stored.
func withColumns(i *api.Info) *api.Info {
	for _, c := range core.Event.Columns {
		if show := c.Show; show != nil {
			c.Show = func(o api.Object) any { return show(toCore(o.(*eventsv1.Event))) }
		}
		i.Columns = append(i.Columns, c)
	}
	return i
}

// toCore and fromCore share the parts of the event that they hand on.
func toCore(e *eventsv1.Event) *corev1.Event {
	c := &corev1.Event{
		ObjectMeta:          e.ObjectMeta,
		InvolvedObject:      e.Regarding,
		Reason:              e.Reason,
		Message:             e.Note,
		Source:              e.DeprecatedSource,
		FirstTimestamp:      e.DeprecatedFirstTimestamp,
		LastTimestamp:       e.DeprecatedLastTimestamp,
		Count:               e.DeprecatedCount,
		Type:                e.Type,
		EventTime:           e.EventTime,
		Action:              e.Action,
		Related:             e.Related,
		ReportingController: e.ReportingController,
		ReportingInstance:   e.ReportingInstance,
	}
	if s := e.Series; s != nil {
		c.Series = &corev1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	c.APIVersion, c.Kind = "v1", "Event"
	return c
}

func fromCore(c *corev1.Event) *eventsv1.Event {
	e := &eventsv1.Event{
		ObjectMeta:               c.ObjectMeta,
		Regarding:                c.InvolvedObject,
		Reason:                   c.Reason,
		Note:                     c.Message,
		DeprecatedSource:         c.Source,
		DeprecatedFirstTimestamp: c.FirstTimestamp,
		DeprecatedLastTimestamp:  c.LastTimestamp,
		DeprecatedCount:          c.Count,
		Type:                     c.Type,
		EventTime:                c.EventTime,
		Action:                   c.Action,
		Related:                  c.Related,
		ReportingController:      c.ReportingController,
		ReportingInstance:        c.ReportingInstance,
	}
	if s := c.Series; s != nil {
		e.Series = &eventsv1.EventSeries{Count: s.Count, LastObservedTime: s.LastObservedTime}
	}
	e.APIVersion, e.Kind = "events.k8s.io/v1", "Event"
	return e
}
