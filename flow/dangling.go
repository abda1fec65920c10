package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
)

// Mark says in the status of each FlowSchema whether the level that it refers to is there: the condition Dangling. Nothing is written where that
// stands there already, so that any number of servers may do it. Source: flowcontrol/v1, FlowSchemaConditionDangling.
func Mark(ctx context.Context, c client.Client, now time.Time) error {
	levels, err := client.PriorityLevelConfigurations.List(ctx, c, "", client.Selection{})
	if err != nil {
		return err
	}
	schemas, err := client.FlowSchemas.List(ctx, c, "", client.Selection{})
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range schemas {
		level := s.Spec.PriorityLevelConfiguration.Name
		there := slices.ContainsFunc(levels, func(l *flowcontrolv1.PriorityLevelConfiguration) bool { return l.Name == level })
		marked := dangling(s, there, now)
		if marked == nil {
			continue
		}
		_, err := client.FlowSchemas.UpdateStatus(ctx, c, marked)
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) { // the next round sees what is there by then
			errs = append(errs, fmt.Errorf("condition of flow schema %s: %w", s.Name, err))
		}
	}
	return errors.Join(errs...)
}

// dangling is the schema with the condition that it should have; nil: it has it.
func dangling(s *flowcontrolv1.FlowSchema, there bool, now time.Time) *flowcontrolv1.FlowSchema {
	level := s.Spec.PriorityLevelConfiguration.Name
	want := flowcontrolv1.FlowSchemaCondition{Type: flowcontrolv1.FlowSchemaConditionDangling, LastTransitionTime: metav1.NewTime(now.UTC()),
		Status: flowcontrolv1.ConditionTrue, Reason: "NotFound",
		Message: fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q but there is no such object", level)}
	if there {
		want.Status, want.Reason = flowcontrolv1.ConditionFalse, "Found"
		want.Message = fmt.Sprintf("This FlowSchema references the PriorityLevelConfiguration object named %q and it exists", level)
	}
	n := slices.IndexFunc(s.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) bool { return c.Type == want.Type })
	if n < 0 {
		s = s.DeepCopy()
		s.Status.Conditions = append(s.Status.Conditions, want)
		return s
	}
	have := s.Status.Conditions[n]
	if have.Status == want.Status {
		want.LastTransitionTime = have.LastTransitionTime
	}
	if have == want {
		return nil
	}
	s = s.DeepCopy()
	s.Status.Conditions[n] = want
	return s
}
