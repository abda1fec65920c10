package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/lighter-k8s/lighter/api"
)

// What a limited level gets that says nothing. Source: type comments of flowcontrol/v1.
const (
	defaultShares      = 30
	defaultHandSize    = 8
	defaultQueues      = 64
	defaultQueueLength = 50
)

// PriorityLevelConfiguration bounds how many requests of a level run at once and how many wait.
var PriorityLevelConfiguration = api.Define(api.Resource[*flowcontrolv1.PriorityLevelConfiguration]{
	Group: group, Version: version, Plural: "prioritylevelconfigurations", Scope: api.Cluster,
	Default: defaultPriorityLevel,
	Prepare: func(l, old *flowcontrolv1.PriorityLevelConfiguration) {
		if old == nil {
			l.Status = flowcontrolv1.PriorityLevelConfigurationStatus{}
		}
	},
	Validate:     validatePriorityLevel,
	GenerationOf: func(l *flowcontrolv1.PriorityLevelConfiguration) any { return &l.Spec },
	Status: &api.Status[*flowcontrolv1.PriorityLevelConfiguration]{
		Alone:    true,
		Copy:     func(dst, src *flowcontrolv1.PriorityLevelConfiguration) { dst.Status = src.Status },
		Validate: validatePriorityLevelStatus,
	},
	Columns: []api.Column[*flowcontrolv1.PriorityLevelConfiguration]{
		{Name: "Type", Help: flowcontrolv1.PriorityLevelConfigurationSpec{}.SwaggerDoc()["type"],
			Show: func(l *flowcontrolv1.PriorityLevelConfiguration) any { return string(l.Spec.Type) }},
		{Name: "NominalConcurrencyShares", Help: flowcontrolv1.LimitedPriorityLevelConfiguration{}.SwaggerDoc()["nominalConcurrencyShares"], Show: showShares},
		{Name: "Queues", Help: flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()["queues"],
			Show: queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues })},
		{Name: "HandSize", Help: flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()["handSize"],
			Show: queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize })},
		{Name: "QueueLengthLimit", Help: flowcontrolv1.QueuingConfiguration{}.SwaggerDoc()["queueLengthLimit"],
			Show: queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit })},
	},
})

func defaultPriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	if e := l.Spec.Exempt; e != nil {
		fill(&e.NominalConcurrencyShares, 0)
		fill(&e.LendablePercent, 0)
	}
	limited := l.Spec.Limited
	if limited == nil {
		return
	}
	fill(&limited.NominalConcurrencyShares, defaultShares)
	fill(&limited.LendablePercent, 0)
	if q := limited.LimitResponse.Queuing; q != nil {
		if q.HandSize == 0 {
			q.HandSize = defaultHandSize
		}
		if q.Queues == 0 {
			q.Queues = defaultQueues
		}
		if q.QueueLengthLimit == 0 {
			q.QueueLengthLimit = defaultQueueLength
		}
	}
}

func fill(p **int32, value int32) {
	if *p == nil {
		*p = &value
	}
}

func showShares(l *flowcontrolv1.PriorityLevelConfiguration) any {
	if l.Spec.Limited == nil || l.Spec.Limited.NominalConcurrencyShares == nil {
		return "<none>"
	}
	return int64(*l.Spec.Limited.NominalConcurrencyShares)
}

// queuing shows a number of a level that has queues.
func queuing(of func(*flowcontrolv1.QueuingConfiguration) int32) func(*flowcontrolv1.PriorityLevelConfiguration) any {
	return func(l *flowcontrolv1.PriorityLevelConfiguration) any {
		if l.Spec.Limited == nil || l.Spec.Limited.LimitResponse.Queuing == nil {
			return "<none>"
		}
		return int64(of(l.Spec.Limited.LimitResponse.Queuing))
	}
}
