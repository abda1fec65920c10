package h2

// Held is how many bytes wait to be written, of all connections.
func (s *Server) Held() int64 { return s.held.Load() }

// HeldMost bounds Held, but for one frame a connection.
const HeldMost = heldMost
