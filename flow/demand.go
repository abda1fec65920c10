package flow

import (
	"math"
	"sync"
	"time"
)

// period is what demand is summed up over before limits are adjusted to it, decay how much of the smoothed demand is left after a period in
// which there was none. Source: KEP-1040, Dispatching.
const (
	period = 10 * time.Second
	decay  = 0.977
)

// demand follows how many seats a level would use if it had them: those in use, and those that are waited for.
type demand struct {
	mu           sync.Mutex
	seats        int64
	since        time.Time // the last change
	began        time.Time // the period
	area, square float64   // of seats and of their squares over time in this period, in seconds
	most         int64     // in this period
	last         past
}

// past is what a period came to.
type past struct {
	average, stdev, peak, smoothed float64
}

// change adds to the demand, or takes away.
func (d *demand) change(seats int64, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.upTo(now)
	d.seats += seats
	d.most = max(d.most, d.seats)
}

// upTo takes the time up to now into account.
func (d *demand) upTo(now time.Time) {
	if d.began.IsZero() {
		d.began, d.since = now, now
	}
	if took := now.Sub(d.since).Seconds(); took > 0 {
		d.area += float64(d.seats) * took
		d.square += float64(d.seats*d.seats) * took
		d.since = now
	}
}

// end ends a period, however long it was, and returns what it came to. The smoothed demand rises at once and sinks slowly.
func (d *demand) end(now time.Time) past {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.upTo(now)
	l := past{average: float64(d.seats), peak: float64(d.most)}
	if took := d.since.Sub(d.began).Seconds(); took > 0 {
		l.average = d.area / took
		l.stdev = math.Sqrt(max(0, d.square/took-l.average*l.average))
	}
	envelope := l.average + l.stdev
	l.smoothed = max(envelope, decay*d.last.smoothed+(1-decay)*envelope)
	d.began, d.area, d.square, d.most, d.last = now, 0, 0, d.seats, l
	return l
}

// past is what the last period came to.
func (d *demand) past() past {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}
