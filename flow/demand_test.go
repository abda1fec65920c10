package flow

import (
	"fmt"
	"testing"
	"time"
)

// TestDemand: what the last period came to, by changes of the demand and ends of periods, in seconds after the beginning.
func TestDemand(t *testing.T) {
	type change struct {
		at    float64
		seats int64
	}
	every := func(period float64, until int) (ends []float64) {
		for n := 1; n <= until; n++ {
			ends = append(ends, float64(n)*period)
		}
		return ends
	}
	tests := map[string]struct {
		changes []change
		ends    []float64
		want    string // average, standard deviation, most, smoothed
	}{
		"nothing":                          {nil, every(10, 3), "0.00 0.00 0 0.00"},
		"not over yet":                     {[]change{{0, 4}}, nil, "0.00 0.00 0 0.00"},
		"the same all the time":            {[]change{{0, 4}}, every(10, 1), "4.00 0.00 4 4.00"},
		"half of the time":                 {[]change{{0, 4}, {5, -4}}, every(10, 1), "2.00 2.00 4 4.00"},
		"a peak of a tenth":                {[]change{{2, 10}, {3, -10}}, every(10, 1), "1.00 3.00 10 4.00"},
		"one that ends early":              {[]change{{2, 10}, {3, -10}}, []float64{4}, "2.50 4.33 10 6.83"},
		"one of no time":                   {[]change{{0, 10}}, []float64{0}, "10.00 0.00 10 10.00"},
		"who stays is in the next one too": {[]change{{9, 5}}, every(10, 2), "5.00 0.00 5 5.00"},
		"sinks slowly":                     {[]change{{0, 4}, {10, -4}}, every(10, 2), "0.00 0.00 0 3.91"},
		"and more so when it is quiet":     {[]change{{0, 4}, {10, -4}}, every(10, 102), "0.00 0.00 0 0.38"},
		"never below what is wanted now":   {[]change{{0, 1}}, every(10, 100), "1.00 0.00 1 1.00"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
			var d demand
			d.change(0, began)
			for _, c := range tt.changes {
				for len(tt.ends) > 0 && tt.ends[0] < c.at {
					d.end(at(tt.ends[0]))
					tt.ends = tt.ends[1:]
				}
				d.change(c.seats, at(c.at))
			}
			for _, end := range tt.ends {
				d.end(at(end))
			}
			if l := d.past(); fmt.Sprintf("%.2f %.2f %.0f %.2f", l.average, l.stdev, l.peak, l.smoothed) != tt.want {
				t.Errorf("got %+v, want %s", l, tt.want)
			}
		})
	}
}
