package role

import "context"

// parts runs what acts in the cluster beside the API, until ctx ends.
func (s *Server) parts(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
