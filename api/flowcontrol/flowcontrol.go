// Package flowcontrol holds the records of flowcontrol.apiserver.k8s.io/v1.
package flowcontrol

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources in discovery's order.
var All = []*api.Info{FlowSchema, PriorityLevelConfiguration}

const group, version = flowcontrolv1.GroupName, "v1"
