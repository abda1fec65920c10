package h2

import (
	"time"

	"golang.org/x/net/http2"
)

// A peer may do what costs it little and us much only so often. What is bounded where:
//   - streams at once, with those that the peer reset while their handlers run: refused (headers)
//   - streams that are reset, by the peer or for its errors: ENHANCE_YOUR_CALM (allowance resets; CVE-2023-44487, CVE-2025-8671)
//   - frames that move nothing (PING, SETTINGS, PRIORITY, empty DATA, WINDOW_UPDATE): ENHANCE_YOUR_CALM (allowance idles)
//   - answers that the peer does not read: the connection ends (controlMost)
//   - header blocks, in bytes and in CONTINUATION frames: see block

// allowance is a bucket that fills again by time.
type allowance struct {
	left, most int
	each       int // per second
	at         time.Time
}

func newAllowance(most, each int) allowance {
	return allowance{left: most, most: most, each: each, at: time.Now()}
}

// spend takes one; false: there is none.
func (a *allowance) spend() bool {
	if a.left > 0 {
		a.left--
		return true
	}
	now := time.Now()
	if gained := int(now.Sub(a.at).Seconds() * float64(a.each)); gained > 0 {
		a.left = min(gained, a.most) - 1
		a.at = now
		return true
	}
	return false
}

// useful says that n bytes of a body moved, which a peer may answer with WINDOW_UPDATE frames. c.mu is held.
func (c *conn) useful(n int) { c.idles.left = min(c.idles.left+4+n/256, c.idles.most) }

// moved takes a frame into account that moves nothing. c.mu is held.
func (c *conn) moved() error {
	if !c.idles.spend() {
		return calm("frames that do nothing")
	}
	return nil
}

// broke takes a stream into account that was reset. c.mu is held.
func (c *conn) broke() error {
	if !c.resets.spend() {
		return calm("streams reset")
	}
	return nil
}

// connError ends a connection, with GOAWAY.
type connError struct {
	code http2.ErrCode
	why  string
}

func (e connError) Error() string { return "http2: " + e.code.String() + ": " + e.why }

func calm(why string) error { return connError{http2.ErrCodeEnhanceYourCalm, why} }

func protocol(why string) error { return connError{http2.ErrCodeProtocol, why} }
