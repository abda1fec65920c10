package role

import (
	"time"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/crd"
	"github.com/lighter-k8s/lighter/pki"
)

// customResources makes what follows the definitions, and tells all who serve what they define.
func (s *Server) customResources() *crd.Resources {
	r := &crd.Resources{State: s.state, Client: s.Client("system:apiserver", pki.MastersGroup), Log: s.Log.With("part", "crd"), Now: time.Now,
		Webhooks: &s.callout, Newest: s.several(),
		Publish: func(served, unserved []*api.Info) {
			s.Direct.SetCustom(append(unserved, served...))
			s.openapi.SetCustom(served)
			var before []*api.Info
			if old := s.custom.Swap(&served); old != nil {
				before = *old
			}
			select {
			case s.changed <- struct{}{}:
			default:
			}
			s.API.SetCustom(served)
			s.customChanges.tell(before, served)
		}}
	s.API.Settle = r.Settle
	return r
}
