package role

import (
	"context"
	"time"

	"github.com/lighter-k8s/lighter/flow"
	"github.com/lighter-k8s/lighter/pki"
)

// keepFlow looks after the default FlowSchemas and PriorityLevelConfigurations, each minute. Source: API Priority and Fairness.
func (s *Server) keepFlow(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	c := s.Client("system:apiserver", pki.MastersGroup)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if err := flow.Ensure(ctx, c); err != nil && ctx.Err() == nil {
			s.Log.Warn("default flow control objects", "err", err)
		}
	}
}
