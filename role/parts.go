package role

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/admission/policy"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/cloud"
	"github.com/lighter-k8s/lighter/cloud/local"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/bootstraptoken"
	"github.com/lighter-k8s/lighter/controller/certificates"
	"github.com/lighter-k8s/lighter/controller/cronjob"
	"github.com/lighter-k8s/lighter/controller/daemonset"
	"github.com/lighter-k8s/lighter/controller/deployment"
	"github.com/lighter-k8s/lighter/controller/disruption"
	"github.com/lighter-k8s/lighter/controller/endpoints"
	"github.com/lighter-k8s/lighter/controller/endpointslice"
	"github.com/lighter-k8s/lighter/controller/endpointslicemirroring"
	"github.com/lighter-k8s/lighter/controller/garbage"
	"github.com/lighter-k8s/lighter/controller/job"
	"github.com/lighter-k8s/lighter/controller/namespace"
	"github.com/lighter-k8s/lighter/controller/node"
	"github.com/lighter-k8s/lighter/controller/podcertificate"
	"github.com/lighter-k8s/lighter/controller/podgc"
	"github.com/lighter-k8s/lighter/controller/replicaset"
	"github.com/lighter-k8s/lighter/controller/replicationcontroller"
	"github.com/lighter-k8s/lighter/controller/resourcequota"
	"github.com/lighter-k8s/lighter/controller/rootca"
	"github.com/lighter-k8s/lighter/controller/serviceaccount"
	"github.com/lighter-k8s/lighter/controller/serviceaccounttoken"
	"github.com/lighter-k8s/lighter/controller/statefulset"
	"github.com/lighter-k8s/lighter/controller/ttlafterfinished"
	"github.com/lighter-k8s/lighter/controller/validatingadmissionpolicy"
	"github.com/lighter-k8s/lighter/controller/volumeprotection"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/scheduler"
)

// parts runs what acts in the cluster beside the API, until ctx ends.
func (s *Server) parts(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return authz.RunAggregation(ctx, view(s, client.ClusterRoles), s.Client("system:apiserver", pki.MastersGroup), s.Log)
	})
	g.Go(func() error { return s.keepFlow(ctx) })
	if s.several() {
		g.Go(func() error { return s.register(admission.Exempt(ctx)) })
		g.Go(func() error { return s.wellness.watch(ctx) })
	}
	if s.member != nil {
		g.Go(func() error { return s.member.follow(ctx) })
	}
	off := func(part string) bool { return slices.Contains(s.Config.Server.Disable, part) }
	lead := func(lease, user string, parts func(context.Context, *errgroup.Group, fence)) {
		g.Go(func() error { return s.elected(ctx, lease, user, parts) })
	}
	if !off("controllers") {
		lead(controllersLease, pki.ControllersUser, func(ctx context.Context, g *errgroup.Group, f fence) {
			podCIDR, _ := netip.ParsePrefix(s.Config.Server.PodCIDR) // checked by config
			runControllers(ctx, g, s.env(f), controllerOptions{podCIDR: podCIDR, ca: &s.PKI.CA.Trust, authority: s.PKI.CA, resources: resources(s.builtin.All), types: s.types(s.builtin.All),
				grace: time.Duration(s.Config.Server.NodeMonitorGrace) * time.Second})
			tokens := s.envOf(f, pki.ControllersUser, "tokens-controller")
			g.Go(func() error { return tokens.Events.Run(ctx) })
			g.Go(func() error { return serviceaccounttoken.Run(ctx, tokens, &s.PKI.CA.Trust, s.tokens.IssueForSecret) })
		})
	}
	if !off("scheduler") {
		lead(schedulerLease, pki.SchedulerUser, func(ctx context.Context, g *errgroup.Group, f fence) {
			runScheduler(ctx, g, s.envOf(f, pki.SchedulerUser, "default-scheduler"))
		})
	}
	if !off("cloud-controllers") {
		lead(cloudLease, "system:apiserver", func(ctx context.Context, g *errgroup.Group, f fence) {
			runCloud(ctx, g, s.env(f), view(s, client.Services), s.Config.Server.LoadBalancerCIDR)
		})
	}
	return g.Wait()
}

// runCloud starts the cloud controllers with the local cloud.
func runCloud(ctx context.Context, g *errgroup.Group, env func(string) controller.Env, services client.TypedView[*corev1.Service], pool string) {
	provider := &local.Cloud{Services: func() []*corev1.Service { return services.List("") }}
	provider.Pool, _ = netip.ParsePrefix(pool) // checked by config; invalid is none
	c := cloud.Config{Provider: provider, Nodes: env("cloud-node-controller"), Services: env("service-controller")}
	g.Go(func() error { return c.Nodes.Events.Run(ctx) })
	g.Go(func() error { return c.Services.Events.Run(ctx) })
	g.Go(func() error { return cloud.Run(ctx, c) })
}

// runScheduler starts the scheduler.
func runScheduler(ctx context.Context, g *errgroup.Group, env controller.Env) {
	g.Go(func() error { return env.Events.Run(ctx) })
	g.Go(func() error {
		return scheduler.Run(ctx, scheduler.Config{Client: env.Client, Log: env.Log, Now: env.Now, Events: env.Events})
	})
}

// controllerOptions are what the controllers need to know of the cluster.
type controllerOptions struct {
	podCIDR   netip.Prefix
	grace     time.Duration     // how long a node may be silent
	ca        *pki.Trust        // what pods trust; nil: not published
	authority *pki.Authority    // signs certificates; nil: somebody else does
	resources []client.Resource // all that can be deleted and listed
	types     *policy.Types     // what policies' expressions are checked against
}

// part is one controller with the name of its identity, system:serviceaccount:kube-system:<name>.
type part struct {
	name string
	run  func(context.Context, controller.Env) error
}

// runControllers starts every controller, each with what env gives it: rights of its own.
func runControllers(ctx context.Context, g *errgroup.Group, env func(string) controller.Env, o controllerOptions) {
	parts := []part{
		{"service-account-controller", serviceaccount.Run},
		{"node-controller", func(ctx context.Context, env controller.Env) error {
			return node.Run(ctx, env, node.Options{PodCIDR: o.podCIDR, Grace: o.grace})
		}},
		{"pod-garbage-collector", func(ctx context.Context, env controller.Env) error { return podgc.Run(ctx, env, 12500) }},
		{"namespace-controller", func(ctx context.Context, env controller.Env) error { return namespace.Run(ctx, env, o.resources) }},
		{"generic-garbage-collector", func(ctx context.Context, env controller.Env) error { return garbage.Run(ctx, env, o.resources) }},
		{"endpointslice-controller", endpointslice.Run},
		{"endpointslicemirroring-controller", endpointslicemirroring.Run},
		{"endpoint-controller", endpoints.Run},
		{"deployment-controller", deployment.Run},
		{"replicaset-controller", replicaset.Run},
		{"replication-controller", replicationcontroller.Run},
		{"daemon-set-controller", daemonset.Run},
		{"statefulset-controller", statefulset.Run},
		{"job-controller", job.Run},
		{"cronjob-controller", cronjob.Run},
		{"token-cleaner", bootstraptoken.Run},
		{"podcertificaterequestcleaner", podcertificate.Run},
		{"disruption-controller", disruption.Run},
		{"ttl-after-finished-controller", ttlafterfinished.Run},
		{"resourcequota-controller", func(ctx context.Context, env controller.Env) error { return resourcequota.Run(ctx, env, o.resources) }},
		{"pvc-protection-controller", volumeprotection.RunClaims},
		{"pv-protection-controller", volumeprotection.RunVolumes},
		{"volumeattributesclass-protection-controller", volumeprotection.RunClasses},
		{"validatingadmissionpolicy-status-controller", func(ctx context.Context, env controller.Env) error {
			return validatingadmissionpolicy.Run(ctx, env, o.types)
		}},
	}
	if o.ca != nil {
		parts = append(parts, part{"root-ca-cert-publisher", func(ctx context.Context, env controller.Env) error { return rootca.Run(ctx, env, o.ca) }})
	}
	if o.authority != nil {
		parts = append(parts, part{"certificate-controller", func(ctx context.Context, env controller.Env) error {
			return certificates.Run(ctx, env, signer(o.authority))
		}})
	}
	for _, p := range parts {
		e := env(p.name)
		g.Go(func() error { return e.Events.Run(ctx) })
		g.Go(func() error { return p.run(ctx, e) })
	}
}

// signer answers signing requests with the cluster's authority.
func signer(a *pki.Authority) certificates.Signer {
	return certificates.Signer{
		Sign:    a.Answer,
		Refused: func(err error) bool { var r *pki.Refusal; return errors.As(err, &r) },
		Foreign: func(err error) bool { return errors.Is(err, pki.ErrNotOurs) },
		Client: func(csr *certificates.CSR) (string, string, bool) {
			a, ok := pki.AutoApproval(csr)
			return a.Subresource, a.Message, ok
		},
		Serving: func(csr *certificates.CSR) (string, error) {
			r, err := pki.ParseRequest(csr.Spec.Request)
			if err != nil {
				return "", err
			}
			var usages []string
			for _, u := range csr.Spec.Usages {
				usages = append(usages, string(u))
			}
			return pki.CheckKubeletServing(r, usages)
		},
	}
}

// env is what a controller in this process is given.
func (s *Server) env(f fence) func(name string) controller.Env {
	return func(name string) controller.Env {
		return s.envOf(f, "system:serviceaccount:kube-system:"+name, component(name), "system:serviceaccounts", "system:serviceaccounts:kube-system")
	}
}

func (s *Server) envOf(f fence, user, component string, groups ...string) controller.Env {
	env := newEnv(f(s.Client(user, groups...)), s.Log, component)
	env.Queues = &s.queues
	return env
}

func newEnv(c client.Client, log *slog.Logger, component string) controller.Env {
	log = log.With("part", component)
	return controller.Env{Client: c, Log: log, Now: time.Now, Events: client.NewRecorder(c, log, component, "", time.Now)}
}

// resources are all kinds that objects of users can be of; what --runtime-config serves in a further version comes once.
func resources(infos []*api.Info) (out []client.Resource) {
	for _, i := range infos {
		if further := i.Stored != i && i.Deprecated != ""; further || i.Virtual || !slices.Contains(i.Verbs, "list") || !slices.Contains(i.Verbs, "delete") {
			continue
		}
		out = append(out, client.Resource{GroupVersionResource: i.GroupVersionResource, Kind: i.Kind, Namespaced: i.Namespaced, New: func() client.Object { return i.New() }})
	}
	return out
}

// component is a controller's name in the events that it writes.
func component(name string) string {
	if name == "daemon-set-controller" {
		return "daemonset-controller"
	}
	return name
}
