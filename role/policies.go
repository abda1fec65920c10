package role

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/lighter-k8s/lighter/admission/expression"
	"github.com/lighter-k8s/lighter/admission/matching"
	"github.com/lighter-k8s/lighter/admission/policy"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/resource"
	"github.com/lighter-k8s/lighter/apiserver/openapi"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// kind finds the record of a kind among those that are built in and those that are served beside them; nil: there is none.
func (s *Server) kind(infos []*api.Info) func(schema.GroupVersionKind) *api.Info {
	kinds := map[schema.GroupVersionKind]*api.Info{}
	for _, i := range infos {
		if !i.Virtual && kinds[i.GVK()] == nil {
			kinds[i.GVK()] = i
		}
	}
	return func(k schema.GroupVersionKind) *api.Info {
		if i := kinds[k]; i != nil {
			return i
		}
		if custom := s.custom.Load(); custom != nil {
			for _, i := range *custom {
				if i.GVK() == k {
					return i
				}
			}
		}
		return nil
	}
}

// types is what the expressions of policies are checked against: that of resources of this server, then of other ones.
func (s *Server) types(infos []*api.Info) *policy.Types {
	kind := s.kind(infos)
	return &policy.Types{Schema: s.schema, Changes: s.customChanges.follow,
		Kind: func(k schema.GroupVersionKind) *api.Info { return cmp.Or(kind(k), s.others.Kind(k)) },
		Resource: func(r schema.GroupVersionResource) *api.Info {
			all := infos
			if custom := s.custom.Load(); custom != nil {
				all = slices.Concat(infos, *custom)
			}
			n := slices.IndexFunc(all, func(i *api.Info) bool { return i.GroupVersionResource == r })
			if n < 0 {
				return s.others.Resource(r)
			}
			return all[n]
		}}
}

// schema is that of a resource's objects; one that another server serves is in that server's document.
func (s *Server) schema(i *api.Info) (*spec.Schema, error) {
	if i.New != nil {
		return openapi.Schema(i)
	}
	b := s.API.Aggregate.Backend(i.GroupVersion())
	if b == nil {
		return nil, fmt.Errorf("nobody serves %s", i.GroupVersion())
	}
	document, err := b.V3(context.Background()) // bounded in time
	if err != nil {
		return nil, err
	}
	return openapi.SchemaIn(document, i.GVK())
}

// changes tells who asks of custom resources, and those of other servers, that are served otherwise than before.
type changes struct {
	mu    sync.Mutex
	asked map[*func([]*api.Info)]bool
}

// follow calls told, which must not wait, for each change until ctx ends.
func (c *changes) follow(ctx context.Context, told func([]*api.Info)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked == nil {
		c.asked = map[*func([]*api.Info)]bool{}
	}
	c.asked[&told] = true
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.asked, &told)
	})
}

// tell tells what is not in both lists.
func (c *changes) tell(old, now []*api.Info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) == 0 {
		return
	}
	in := map[*api.Info]int{}
	for _, i := range slices.Concat(old, now) {
		in[i]++
	}
	var changed []*api.Info
	for i, n := range in {
		if n == 1 {
			changed = append(changed, i)
		}
	}
	for told := range c.asked {
		(*told)(changed)
	}
}

// devices adds to the rules of what selects devices that its CEL compiles, and who may ask for administrative access to them.
func (s *Server) devices(reg *registry.Registry) {
	namespaces := view(s, client.Namespaces)
	claims := func(compile registry.Check) registry.Check {
		return func(obj, old api.Object) (errs field.ErrorList) {
			if ns, ok := namespaces.Get("", obj.GetNamespace()); old == nil && (!ok || ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] != "true") {
				errs = resource.ForAdmins(obj)
			}
			return append(errs, compile(obj, old)...)
		}
	}
	reg.Also("deviceclasses", expression.CheckDeviceClass)
	reg.Also("resourceclaims", claims(expression.CheckResourceClaim))
	reg.Also("resourceclaimtemplates", claims(expression.CheckResourceClaimTemplate))
}

// policies makes what holds requests against the policies that users add to admission.
func (s *Server) policies(world matching.World, reg *registry.Registry, infos []*api.Info) *policy.Policies {
	reg.Also("validatingadmissionpolicies", policy.CheckValidating)
	reg.Also("mutatingadmissionpolicies", policy.CheckMutating)
	return &policy.Policies{Validating: view(s, client.ValidatingAdmissionPolicies), ValidatingBindings: view(s, client.ValidatingAdmissionPolicyBindings),
		Mutating: view(s, client.MutatingAdmissionPolicies), MutatingBindings: view(s, client.MutatingAdmissionPolicyBindings),
		World: world, Authz: s.Direct.Authz, Obstacles: s.obstacles, Log: s.Log.With("part", "admission"), Now: time.Now, Metrics: policy.NewMetrics(),
		Kind: s.kind(infos),
		Params: func(i *api.Info, namespace string) (out []api.Object) {
			items, _ := s.state.List(i.Stored, watch.Filter{Namespace: namespace})
			for _, item := range items {
				if o, err := registry.Load(i, item); err == nil { // memory has said what it cannot read
					out = append(out, o)
				}
			}
			return out
		}}
}
