package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/lighter-k8s/lighter/api"
)

// defaultPrecedence is that of a schema which gives none. Source: type comment of matchingPrecedence.
const defaultPrecedence = 1000

// FlowSchema sorts requests into flows and gives each flow a priority level.
var FlowSchema = api.Define(api.Resource[*flowcontrolv1.FlowSchema]{
	Group: group, Version: version, Plural: "flowschemas", Scope: api.Cluster,
	Default: func(s *flowcontrolv1.FlowSchema) {
		if s.Spec.MatchingPrecedence == 0 {
			s.Spec.MatchingPrecedence = defaultPrecedence
		}
	},
	Prepare: func(s, old *flowcontrolv1.FlowSchema) {
		if old == nil {
			s.Status = flowcontrolv1.FlowSchemaStatus{}
		}
	},
	Validate:     validateFlowSchema,
	GenerationOf: func(s *flowcontrolv1.FlowSchema) any { return &s.Spec },
	Status: &api.Status[*flowcontrolv1.FlowSchema]{
		Alone:    true,
		Copy:     func(dst, src *flowcontrolv1.FlowSchema) { dst.Status = src.Status },
		Validate: validateFlowSchemaStatus,
	},
	Columns: []api.Column[*flowcontrolv1.FlowSchema]{
		{Name: "PriorityLevel", Help: flowcontrolv1.PriorityLevelConfigurationReference{}.SwaggerDoc()["name"],
			Show: func(s *flowcontrolv1.FlowSchema) any { return s.Spec.PriorityLevelConfiguration.Name }},
		{Name: "MatchingPrecedence", Help: flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()["matchingPrecedence"],
			Show: func(s *flowcontrolv1.FlowSchema) any { return int64(s.Spec.MatchingPrecedence) }},
		{Name: "DistinguisherMethod", Help: flowcontrolv1.FlowSchemaSpec{}.SwaggerDoc()["distinguisherMethod"], Show: func(s *flowcontrolv1.FlowSchema) any {
			if s.Spec.DistinguisherMethod == nil {
				return "<none>"
			}
			return string(s.Spec.DistinguisherMethod.Type)
		}},
		{Name: "Age"},
		{Name: "MissingPL", Help: "references a broken or non-existent PriorityLevelConfiguration", Show: func(s *flowcontrolv1.FlowSchema) any {
			for _, c := range s.Status.Conditions {
				if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
					return string(c.Status)
				}
			}
			return "?"
		}},
	},
})
