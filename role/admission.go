package role

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/registry"
)

// admission is the chain of what the cluster allows, in the order in which it is asked. Resource quotas are
// charged behind it, in the write's own transaction (registry/quota.go).
func (s *Server) admission(infos []*api.Info, reg *registry.Registry) (admission.Chain, error) {
	kinds := map[schema.GroupVersionKind][]schema.GroupVersionResource{}
	for _, i := range infos {
		if !i.Virtual {
			kinds[i.GVK()] = append(kinds[i.GVK()], i.GroupVersionResource)
		}
	}
	security, err := admission.PodSecurity(view(s, client.Namespaces), view(s, client.Pods))
	if err != nil {
		return nil, err
	}
	chain := admission.Chain{
		admission.NamespaceLifecycle(),
		admission.LimitRanger(view(s, client.LimitRanges)),
		admission.ServiceAccount(view(s, client.ServiceAccounts), s.state.Now),
		admission.NodeRestriction(admission.NodeRestrictionViews{Pods: view(s, client.Pods), Nodes: view(s, client.Nodes), ServiceAccounts: view(s, client.ServiceAccounts)}),
		admission.TaintNodesByCondition(),
		security,
		admission.Priority(view(s, client.PriorityClasses)),
		admission.DefaultTolerationSeconds(300),
		admission.DefaultStorageClass(view(s, client.StorageClasses)),
		admission.StorageObjectInUseProtection(),
		admission.OwnerReferences(s.Direct.Authz, func(k schema.GroupVersionKind) []schema.GroupVersionResource {
			if all := s.custom.Load(); all != nil && kinds[k] == nil {
				return resourcesOf(*all, k)
			}
			return kinds[k]
		}),
		admission.PersistentVolumeClaimResize(view(s, client.StorageClasses)),
		admission.RuntimeClass(view(s, client.RuntimeClasses)),
		admission.CertificateApproval(s.Direct.Authz),
		admission.CertificateSigning(s.Direct.Authz),
		admission.ClusterTrustBundleAttest(s.Direct.Authz),
		admission.CertificateSubjectRestriction(),
		admission.DefaultIngressClass(view(s, client.IngressClasses)),
		admission.DenyServiceExternalIPs(),
		admission.PodTopologyLabels(view(s, client.Nodes)),
		admission.Escalation(s.rbac, s.Direct.Authz),
	}
	s.devices(reg)
	s.news = client.NewRecorder(s.Client("system:apiserver", pki.MastersGroup), s.Log, "apiserver", "", time.Now)
	s.obstacles = &admission.Obstacles{Events: s.news, Log: s.Log.With("part", "admission"), Now: time.Now}
	world := s.world(infos)
	hooks, policies := s.webhooks(world, reg), s.policies(world, reg, infos)
	s.measures = slices.Concat(s.measures, hooks.Metrics.All(), policies.Metrics.All())
	bypasses := admission.Bypasses{Authz: s.Direct.Authz, Now: time.Now, Events: s.news, Log: s.Log.With("part", "admission")}
	chain = append(chain, bypasses.Guard(), policies.Access(), policies.Mutators(), hooks.Mutators(), policies.Validators(), hooks.Validators())
	for _, off := range s.Config.Server.DisableAdmission {
		n := slices.IndexFunc(chain, func(p admission.Plugin) bool { return p.Name == off })
		if n < 0 {
			var names []string
			for _, p := range chain {
				names = append(names, p.Name)
			}
			return nil, fmt.Errorf("disable-admission-plugins %q: want one of %s", off, strings.Join(names, ", "))
		}
		chain = slices.Delete(chain, n, n+1)
	}
	return chain, nil
}

// world is what matching knows of the cluster.
func (s *Server) world(infos []*api.Info) matching.World {
	versions := map[string][]*api.Info{}
	for _, i := range infos {
		if !i.Virtual {
			versions[i.StoreKey] = append(versions[i.StoreKey], i)
		}
	}
	return matching.World{Namespaces: view(s, client.Namespaces), Versions: func(key string) []*api.Info {
		if known := versions[key]; known != nil {
			return known
		}
		var out []*api.Info
		if custom := s.custom.Load(); custom != nil {
			for _, i := range *custom {
				if i.StoreKey == key {
					out = append(out, i)
				}
			}
		}
		return out
	}}
}

// resourcesOf are those of a kind.
func resourcesOf(infos []*api.Info, k schema.GroupVersionKind) (out []schema.GroupVersionResource) {
	for _, i := range infos {
		if i.GVK() == k {
			out = append(out, i.GroupVersionResource)
		}
	}
	return out
}
