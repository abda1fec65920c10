package role

import (
	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/client"
)

// admission is the chain of what the cluster allows, in the order in which it is asked.
func (s *Server) admission() admission.Chain {
	return admission.Chain{
		admission.NamespaceLifecycle(),
		admission.ServiceAccount(view(s, client.ServiceAccounts), s.state.Now),
		admission.TaintNodesByCondition(),
		admission.Priority(view(s, client.PriorityClasses)),
		admission.RuntimeClass(view(s, client.RuntimeClasses)),
		admission.DefaultTolerationSeconds(300),
		admission.Escalation(s.rbac, s.Direct.Authz),
		admission.NodeRestriction(),
	}
}
