package role

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/cronjob"
	"github.com/lighter-k8s/lighter/controller/daemonset"
	"github.com/lighter-k8s/lighter/controller/deployment"
	"github.com/lighter-k8s/lighter/controller/job"
	"github.com/lighter-k8s/lighter/controller/node"
	"github.com/lighter-k8s/lighter/controller/podgc"
	"github.com/lighter-k8s/lighter/controller/replicaset"
	"github.com/lighter-k8s/lighter/controller/replicationcontroller"
	"github.com/lighter-k8s/lighter/controller/rootca"
	"github.com/lighter-k8s/lighter/controller/serviceaccount"
	"github.com/lighter-k8s/lighter/controller/statefulset"
	"github.com/lighter-k8s/lighter/pki"
)

// parts runs what acts in the cluster beside the API, until ctx ends.
func (s *Server) parts(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return authz.RunAggregation(ctx, view(s, client.ClusterRoles), s.Client("system:apiserver", pki.MastersGroup), s.Log)
	})
	if !slices.Contains(s.Config.Server.Disable, "controllers") {
		s.controllers(ctx, g)
	}
	return g.Wait()
}

// part is one controller with the name of its identity, system:serviceaccount:kube-system:<name>.
type part struct {
	name string
	run  func(context.Context, controller.Env) error
}

// controllers starts every controller, each with rights of its own.
func (s *Server) controllers(ctx context.Context, g *errgroup.Group) {
	podCIDR, _ := netip.ParsePrefix(s.Config.Server.PodCIDR) // checked by config
	grace := time.Duration(s.Config.Server.NodeMonitorGrace) * time.Second
	for _, p := range []part{
		{"service-account-controller", serviceaccount.Run},
		{"root-ca-cert-publisher", func(ctx context.Context, env controller.Env) error { return rootca.Run(ctx, env, s.PKI.CA.PEM) }},
		{"node-controller", func(ctx context.Context, env controller.Env) error {
			return node.Run(ctx, env, node.Options{PodCIDR: podCIDR, Grace: grace})
		}},
		{"pod-garbage-collector", func(ctx context.Context, env controller.Env) error { return podgc.Run(ctx, env, 12500) }},
		{"deployment-controller", deployment.Run},
		{"replicaset-controller", replicaset.Run},
		{"replication-controller", replicationcontroller.Run},
		{"daemon-set-controller", daemonset.Run},
		{"statefulset-controller", statefulset.Run},
		{"job-controller", job.Run},
		{"cronjob-controller", cronjob.Run},
	} {
		env := s.env(p.name)
		g.Go(func() error { return env.Events.Run(ctx) })
		g.Go(func() error { return p.run(ctx, env) })
	}
}

// env is what a controller is given.
func (s *Server) env(name string) controller.Env {
	c := s.Client("system:serviceaccount:kube-system:"+name, "system:serviceaccounts", "system:serviceaccounts:kube-system")
	log := s.Log.With("part", name)
	return controller.Env{Client: c, Log: log, Now: time.Now, Events: client.NewRecorder(c, log, component(name), "", time.Now)}
}

// component is a controller's name in the events that it writes.
func component(name string) string {
	if name == "daemon-set-controller" {
		return "daemonset-controller"
	}
	return name
}
