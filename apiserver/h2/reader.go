package h2

import (
	"errors"
	"time"

	"golang.org/x/net/http2"
)

// lateAfter is how long a handler whose body is short and on its way is not started: one that finds its body complete
// need not be woken for it. A client who lets the body wait for something gets its handler then.
const (
	lateAfter = 10 * time.Millisecond
	shortBody = 64 << 10
)

// read takes in frames until the connection is over.
func (c *conn) read() error {
	for {
		if c.in.Buffered() == 0 {
			c.pause()
		}
		var f http2.Frame
		head, err := c.framer.ReadFrameHeader()
		if err == nil {
			if head.Type == http2.FrameHeaders {
				c.waited()
			}
			f, err = c.framer.ReadFrameForHeader(head)
		}
		broken := err != nil && head.Type == http2.FrameHeaders // and its block was not decoded
		if err == nil {
			err = c.frame(f)
		}
		var one http2.StreamError
		var all http2.ConnectionError
		switch {
		case err == nil:
		case broken && errors.As(err, &one):
			err = connError{one.Code, "malformed HEADERS"}
		case errors.As(err, &one):
			err = c.wrong(one.StreamID, one.Code)
		case errors.As(err, &all):
			err = connError{http2.ErrCode(all), "malformed frame"}
		case errors.Is(err, http2.ErrFrameTooLarge):
			err = connError{http2.ErrCodeFrameSize, "frame too large"}
		}
		if err != nil {
			return err
		}
		if !c.serveTaken() {
			return errPassed
		}
	}
}

// pause is called before the reader waits for the peer.
func (c *conn) pause() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kick()
	if c.unstarted > 0 && !c.lateArmed {
		c.lateArmed = true
		if c.late == nil {
			c.late = time.AfterFunc(lateAfter, c.startLate)
		} else {
			c.late.Reset(lateAfter)
		}
	}
}

func (c *conn) startLate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lateArmed = false
	if c.unstarted > 0 {
		for _, st := range c.streams {
			st.start(false)
		}
	}
}

// frame takes in one frame.
func (c *conn) frame(f http2.Frame) error {
	if s, ok := f.(*http2.SettingsFrame); !c.settled {
		if !ok || s.IsAck() {
			return protocol("the first frame is not SETTINGS")
		}
		c.settled = true
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		return c.request(f)
	case *http2.DataFrame:
		return c.incoming(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f.StreamID, int64(f.Increment))
	case *http2.RSTStreamFrame:
		return c.resetByPeer(f.StreamID)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.PriorityFrame: // nothing comes of it: RFC 9113, section 5.3
		if f.StreamDep == f.StreamID {
			return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeProtocol}
		}
		return c.movedLocked()
	case *http2.PushPromiseFrame:
		return protocol("PUSH_PROMISE of a client")
	case *http2.GoAwayFrame: // it begins no more, and ends the connection itself
		return nil
	}
	return c.movedLocked() // unknown kinds are ignored
}

func (c *conn) movedLocked() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved()
}

// idleStream tells whether the peer never opened the stream. c.mu is held.
func (c *conn) idleStream(id uint32) bool { return id > c.last || id%2 == 0 }

// wrong ends a stream for what the peer did on it.
func (c *conn) wrong(id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idleStream(id) && code != http2.ErrCodeProtocol {
		return connError{code, "error on an idle stream"}
	}
	return c.refuse(id, code)
}

// refuse resets a stream. c.mu is held.
func (c *conn) refuse(id uint32, code http2.ErrCode) error {
	c.resetStream(id, code)
	if st := c.streams[id]; st != nil {
		st.end(http2.StreamError{StreamID: id, Code: code})
	}
	return c.broke()
}

func (c *conn) windowUpdate(id uint32, n int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.moved(); err != nil {
		return err
	}
	if id == 0 {
		if c.window += n; c.window > 1<<31-1 {
			return connError{http2.ErrCodeFlowControl, "window overflow"}
		}
		c.credit.Signal()
		return nil
	}
	if c.idleStream(id) {
		return protocol("WINDOW_UPDATE on an idle stream")
	}
	st := c.streams[id]
	if st == nil {
		return nil // it may have been on its way when the stream ended
	}
	if st.window += n; st.window > 1<<31-1 {
		return c.refuse(id, http2.ErrCodeFlowControl)
	}
	st.cond.Broadcast()
	return nil
}

func (c *conn) resetByPeer(id uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idleStream(id) {
		return protocol("RST_STREAM on an idle stream")
	}
	st := c.streams[id]
	if st == nil {
		return c.moved()
	}
	st.end(errReset)
	if err := c.broke(); err != nil {
		return err
	}
	c.drained()
	return nil
}

func (c *conn) ping(f *http2.PingFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		if c.leaving == asking && f.Data == pong {
			c.depart(drained)
		}
		return nil
	}
	if err := c.moved(); err != nil {
		return err
	}
	data := f.Data
	c.control(func(b []byte) []byte { return appendPing(b, http2.FlagPingAck, data) })
	return nil
}

func (c *conn) settings(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.IsAck() {
		return nil
	}
	if err := c.moved(); err != nil {
		return err
	}
	err := f.ForeachSetting(func(s http2.Setting) error {
		if err := s.Valid(); err != nil {
			return err
		}
		switch s.ID {
		case http2.SettingInitialWindowSize:
			by := int64(s.Val) - c.initial
			c.initial = int64(s.Val)
			for _, st := range c.streams {
				if st.window += by; st.window > 1<<31-1 {
					return connError{http2.ErrCodeFlowControl, "window overflow"}
				}
				st.cond.Broadcast()
			}
		case http2.SettingHeaderTableSize:
			c.hpack.SetMaxDynamicTableSize(min(s.Val, tableSize))
		}
		return nil // frames are never longer than the least that a peer may bound them to
	})
	if err != nil {
		return err
	}
	c.control(appendSettingsAck)
	return nil
}
