package role

import (
	"context"
	"errors"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/flow"
	"github.com/lighter-k8s/lighter/pki"
)

// keepFlow looks after the default FlowSchemas and PriorityLevelConfigurations, each minute, and after what FlowSchemas say of their levels, when
// either changes. Source: API Priority and Fairness.
func (s *Server) keepFlow(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	changed := make(chan struct{}, 1)
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	view(s, client.FlowSchemas).Subscribe(ctx, func(_, _ *flowcontrolv1.FlowSchema) { tell() })
	view(s, client.PriorityLevelConfigurations).Subscribe(ctx, func(_, _ *flowcontrolv1.PriorityLevelConfiguration) { tell() })
	c := s.Client("system:apiserver", pki.MastersGroup)
	for {
		var err error
		select {
		case <-changed:
			err = flow.Mark(ctx, c, time.Now())
		case <-tick.C:
			err = errors.Join(flow.Ensure(ctx, c), flow.Mark(ctx, c, time.Now()))
		case <-ctx.Done():
			return nil
		}
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("flow control objects", "err", err)
		}
	}
}
