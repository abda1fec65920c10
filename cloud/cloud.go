// Package cloud looks after what a cloud knows better than the cluster: which machines its nodes are, and the
// load balancers of its Services. Clouds implement k8s.io/cloud-provider's interface; those built in are
// the folders here. It acts through a client like every controller.
package cloud

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	cloudprovider "k8s.io/cloud-provider"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/controller"
)

// Config is what the cloud controllers are given.
type Config struct {
	Provider cloudprovider.Interface
	Cluster  string // name of the cluster in the cloud; "" is "kubernetes"
	// Nodes and Services write their events and act with their own rights.
	Nodes, Services controller.Env
}

// Run looks after nodes and Services until ctx ends.
func Run(ctx context.Context, c Config) error {
	if c.Cluster == "" {
		c.Cluster = "kubernetes"
	}
	g, ctx := errgroup.WithContext(ctx)
	if instances, ok := c.Provider.InstancesV2(); ok {
		g.Go(func() error { return runNodes(ctx, c.Nodes, instances) })
	}
	if balancers, ok := c.Provider.LoadBalancer(); ok {
		s := &services{env: c.Services, cluster: c.Cluster, balancers: balancers, made: map[string]*corev1.Service{}}
		g.Go(func() error { return s.run(ctx) })
	}
	return g.Wait()
}

// work calls sync for each key until ctx ends, once the views are complete.
func work(ctx context.Context, q *controller.Queue, sync func(context.Context, string) error, views ...client.View) error {
	for _, v := range views {
		if v.WaitSynced(ctx) != nil {
			return nil // ctx ended
		}
	}
	for key := range q.All(ctx) {
		q.Done(key, sync(ctx, key))
	}
	return nil
}
