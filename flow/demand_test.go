package flow

import (
	"fmt"
	"testing"
	"time"
)

// TestDemand: what the last ten seconds came to, by changes of the demand in seconds after the beginning.
func TestDemand(t *testing.T) {
	type change struct {
		at    float64
		seats int64
	}
	tests := map[string]struct {
		changes []change
		at      float64
		want    string // average, standard deviation, most, smoothed
	}{
		"nothing":                          {nil, 30, "0.00 0.00 0 0.00"},
		"not over yet":                     {[]change{{0, 4}}, 9, "0.00 0.00 0 0.00"},
		"the same all the time":            {[]change{{0, 4}}, 10, "4.00 0.00 4 4.00"},
		"half of the time":                 {[]change{{0, 4}, {5, -4}}, 10, "2.00 2.00 4 4.00"},
		"a peak of a tenth":                {[]change{{2, 10}, {3, -10}}, 10, "1.00 3.00 10 4.00"},
		"who stays is in the next one too": {[]change{{9, 5}}, 20, "5.00 0.00 5 5.00"},
		"sinks slowly":                     {[]change{{0, 4}, {10, -4}}, 20, "0.00 0.00 4 3.91"},
		"and more so when it is quiet":     {[]change{{0, 4}, {10, -4}}, 1020, "0.00 0.00 0 0.38"},
		"never below what is wanted now":   {[]change{{0, 1}}, 1000, "1.00 0.00 1 1.00"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			at := func(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }
			var d demand
			d.change(0, began)
			for _, c := range tt.changes {
				d.change(c.seats, at(c.at))
			}
			average, stdev, most, smoothed := d.last(at(tt.at))
			if got := fmt.Sprintf("%.2f %.2f %.0f %.2f", average, stdev, most, smoothed); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
