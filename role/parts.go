package role

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
	"github.com/lighter-k8s/lighter/controller/daemonset"
	"github.com/lighter-k8s/lighter/controller/deployment"
	"github.com/lighter-k8s/lighter/controller/job"
	"github.com/lighter-k8s/lighter/controller/replicaset"
	"github.com/lighter-k8s/lighter/controller/replicationcontroller"
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
	for _, p := range []part{
		{"deployment-controller", deployment.Run},
		{"replicaset-controller", replicaset.Run},
		{"replication-controller", replicationcontroller.Run},
		{"daemon-set-controller", daemonset.Run},
		{"statefulset-controller", statefulset.Run},
		{"job-controller", job.Run},
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
