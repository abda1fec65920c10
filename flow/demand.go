package flow

import (
	"math"
	"sync"
	"time"
)

// period is what demand is summed up over, decay how much of the smoothed demand is left after one in which there was none.
// Source: KEP-1040, Dispatching.
const (
	period = 10 * time.Second
	decay  = 0.977
)

// demand follows how many seats a level would use if it had them: those in use, and those that are waited for.
type demand struct {
	mu             sync.Mutex
	seats          int64
	since          time.Time // the last change
	began          time.Time // the period
	area, square   float64   // of seats and of their squares over time in this period, in seconds
	most           int64     // in this period
	average, stdev float64   // of the last whole period
	peak           int64
	smoothed       float64
}

// change adds to the demand, or takes away.
func (d *demand) change(seats int64, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	d.seats += seats
	d.most = max(d.most, d.seats)
}

// roll takes the time up to now into account, and sums up periods that are over.
func (d *demand) roll(now time.Time) {
	if d.began.IsZero() {
		d.began, d.since = now, now
	}
	if !now.Before(d.began.Add(period)) {
		d.upTo(d.began.Add(period))
		d.sum()
		if quiet := int64(now.Sub(d.began) / period); quiet > 0 { // whole periods in which nothing changed
			d.began = d.began.Add(time.Duration(quiet) * period)
			d.since = d.began
			d.average, d.stdev, d.peak = float64(d.seats), 0, d.seats
			level := float64(d.seats)
			d.smoothed = max(level, level+(d.smoothed-level)*math.Pow(decay, float64(quiet)))
		}
	}
	d.upTo(now)
}

func (d *demand) upTo(now time.Time) {
	if took := now.Sub(d.since).Seconds(); took > 0 {
		d.area += float64(d.seats) * took
		d.square += float64(d.seats*d.seats) * took
		d.since = now
	}
}

// sum ends a period. The smoothed demand rises at once and sinks slowly.
func (d *demand) sum() {
	d.average = d.area / period.Seconds()
	d.stdev = math.Sqrt(max(0, d.square/period.Seconds()-d.average*d.average))
	d.peak = d.most
	envelope := min(float64(d.peak), d.average+d.stdev)
	d.smoothed = max(envelope, decay*d.smoothed+(1-decay)*envelope)
	d.began = d.began.Add(period)
	d.area, d.square, d.most = 0, 0, d.seats
}

// last is what the last whole period came to.
func (d *demand) last(now time.Time) (average, stdev, peak, smoothed float64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roll(now)
	return d.average, d.stdev, float64(d.peak), d.smoothed
}
