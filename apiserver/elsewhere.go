package apiserver

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/aggregate"
)

// elsewhere is the other server that a request is for; nil: it is for this one. Those below a group's version go there as they
// are, discovery and the version's OpenAPI document included. What is built in stays here.
func (s *Server) elsewhere(t *route) *aggregate.Backend {
	if s.Aggregate == nil || len(s.catalog.Load().others) == 0 {
		return nil
	}
	gv := schema.GroupVersion{Group: t.group, Version: t.version}
	if t.plural == "" {
		parts := strings.Split(strings.Trim(strings.TrimPrefix(t.path, "/openapi/v3"), "/"), "/")
		if len(parts) != 3 || parts[0] != "apis" {
			return nil
		}
		gv = schema.GroupVersion{Group: parts[1], Version: parts[2]}
	}
	if _, ok := s.catalog.Load().others[gv]; !ok {
		return nil
	}
	return s.Aggregate.Backend(gv)
}
