// Package builtin lists every built-in resource, once, in plain sight. The
// registry, discovery and OpenAPI take the list from here.
package builtin

import (
	"slices"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/admissionregistration"
	"github.com/lighter-k8s/lighter/api/apiextensions"
	"github.com/lighter-k8s/lighter/api/apiregistration"
	"github.com/lighter-k8s/lighter/api/apps"
	"github.com/lighter-k8s/lighter/api/authentication"
	"github.com/lighter-k8s/lighter/api/authorization"
	"github.com/lighter-k8s/lighter/api/autoscaling"
	"github.com/lighter-k8s/lighter/api/batch"
	"github.com/lighter-k8s/lighter/api/certificates"
	"github.com/lighter-k8s/lighter/api/coordination"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/api/discovery"
	"github.com/lighter-k8s/lighter/api/events"
	"github.com/lighter-k8s/lighter/api/flowcontrol"
	"github.com/lighter-k8s/lighter/api/networking"
	"github.com/lighter-k8s/lighter/api/node"
	"github.com/lighter-k8s/lighter/api/policy"
	"github.com/lighter-k8s/lighter/api/rbac"
	"github.com/lighter-k8s/lighter/api/resource"
	"github.com/lighter-k8s/lighter/api/scheduling"
	"github.com/lighter-k8s/lighter/api/storage"
	"github.com/lighter-k8s/lighter/api/storagemigration"
)

// Group is one API group with its served versions, the preferred one first.
type Group struct {
	Name     string // "" is core
	Versions []string
}

// Groups lists the groups in the order in which discovery shows them: the
// order of preference among groups that serve the same resource.
func Groups() []Group { return slices.Clone(groups) }

var v1 = []string{"v1"}

var groups = []Group{
	{"", v1},
	{"apiregistration.k8s.io", v1},
	{"apps", v1},
	{"events.k8s.io", v1},
	{"authentication.k8s.io", v1},
	{"authorization.k8s.io", v1},
	{"autoscaling", []string{"v2", "v1"}},
	{"batch", v1},
	{"certificates.k8s.io", v1},
	{"networking.k8s.io", v1},
	{"policy", v1},
	{"rbac.authorization.k8s.io", v1},
	{"storage.k8s.io", v1},
	{"admissionregistration.k8s.io", v1},
	{"apiextensions.k8s.io", v1},
	{"scheduling.k8s.io", v1},
	{"coordination.k8s.io", v1},
	{"node.k8s.io", v1},
	{"discovery.k8s.io", v1},
	{"resource.k8s.io", v1},
	{"flowcontrol.apiserver.k8s.io", v1},
	{"storagemigration.k8s.io", v1},
}

// All lists the resources, by group in the order of Groups. The records are
// shared: nobody may write to them.
func All() []*api.Info {
	return slices.Concat(
		core.All,
		apiregistration.All,
		apps.All,
		events.All,
		authentication.All,
		authorization.All,
		autoscaling.All,
		batch.All,
		certificates.All,
		networking.All,
		policy.All,
		rbac.All,
		storage.All,
		admissionregistration.All,
		apiextensions.All,
		scheduling.All,
		coordination.All,
		node.All,
		discovery.All,
		resource.All,
		flowcontrol.All,
		storagemigration.All,
	)
}
