package embedded

// lead is what a Commit does that found nothing under way: it carries its group and shows it, so that no goroutine wakes
// another one. What it waits for is the disk alone: it is told that its context ended when the disk has answered.
func (s *Store) lead(g *group) {
	defer s.parts.Done()
	records := s.carry(g)
	s.showing.Lock() // before anybody can carry what comes after g
	defer s.showing.Unlock()
	s.mu.Lock()
	s.leave(g, records)
	s.mu.Unlock()
	s.show(g)
}

// leads tells whether a Commit may carry its group itself. s.mu must be held, and no write of it be in the forming group.
// While pebble flushes it may come to wait for that, on a disk that refuses for ever: only the publisher does.
func (s *Store) leads() bool {
	return !s.carrying && s.inflight == 0 && !s.due() && s.flushing.Load() == 0
}

// due tells whether there is something for the writer. s.mu must be held, and nobody carry.
func (s *Store) due() bool { return len(s.forming.sizes) > 0 || s.settle || s.full() }

// full tells whether the log's segment is to end.
func (s *Store) full() bool { return s.log.size > s.segment && s.failure.Load() == nil }

// wake lets the writer look, unless whoever has the log will. s.mu must be held.
func (s *Store) wake() {
	if !s.carrying {
		s.work.Signal()
	}
}

// take gives the forming group to who carries it. s.mu must be held.
func (s *Store) take() *group {
	g := s.forming
	s.forming = newGroup()
	s.forming.records, s.spare = s.spare, nil
	s.inflight++
	return g
}

// leave gives up the log after a group, if any, was carried; records is what its records were in. s.mu must be held.
func (s *Store) leave(g *group, records []byte) {
	s.carrying = false
	if g != nil {
		switch {
		case cap(records) > spareMost:
		case s.forming.records == nil:
			s.forming.records = records[:0]
		default:
			s.spare = records[:0]
		}
		if s.log.err == nil {
			s.restLater()
		}
	}
	if s.due() || s.stopping {
		s.work.Signal()
	}
	s.idle.Broadcast()
}
