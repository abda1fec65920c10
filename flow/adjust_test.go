package flow

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
)

// TestShare: who gets how many seats. Claims are "own least-most: peak, smoothed".
func TestShare(t *testing.T) {
	tests := map[string]struct {
		all    float64
		claims []string
		want   string
		fair   float64
	}{
		"nobody wants any":                          {20, []string{"10 5-30: 0, 0", "10 5-30: 0, 0"}, "10 10", 2},
		"nobody wants any, all is lent":             {20, []string{"10 0-30: 0, 0", "10 0-30: 0, 0"}, "10 10", 1},
		"all want all of their own":                 {20, []string{"10 5-30: 40, 40", "10 5-30: 10, 10"}, "10 10", 0},
		"what one does not want another gets":       {20, []string{"10 5-30: 40, 40", "10 5-30: 0, 0"}, "15 5", .375},
		"no more than it may borrow":                {20, []string{"10 5-12: 40, 40", "10 5-30: 0, 0"}, "12 8", 1.6},
		"one that lends nothing keeps all":          {20, []string{"10 5-30: 40, 40", "10 10-30: 0, 0"}, "10 10", 0},
		"it gets back what it wanted":               {20, []string{"10 5-30: 40, 40", "10 5-30: 8, 2"}, "12 8", .3},
		"two who want more share by what they want": {30, []string{"10 0-40: 40, 40", "10 0-40: 20, 20", "10 0-40: 0, 0"}, "20 10 0", .5},
		"all have the most that they may":           {30, []string{"10 5-10: 10, 10", "10 5-12: 10, 10"}, "10 12", 1.2},
		"others took some of what there is":         {15, []string{"10 5-30: 10, 10", "10 7-30: 10, 10"}, "6.875 8.125", 0},
		"others took all":                           {3, []string{"10 5-30: 10, 10", "10 7-30: 10, 10"}, "5 7", 0},
		"nobody is there":                           {20, nil, "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var claims []claim
			for _, text := range tt.claims {
				var c claim
				var peak, smoothed float64
				if _, err := fmt.Sscanf(text, "%g %g-%g: %g, %g", &c.own, &c.least, &c.most, &peak, &smoothed); err != nil {
					t.Fatal(err)
				}
				c.claimed = max(c.least, min(c.own, peak))
				c.target = max(c.claimed, smoothed)
				claims = append(claims, c)
			}
			seats, fair := share(tt.all, claims)
			if got := strings.Trim(fmt.Sprint(seats), "[]"); got != tt.want || math.Abs(fair-tt.fair) > 1e-9 {
				t.Errorf("got %s and %g, want %s and %g", got, fair, tt.want, tt.fair)
			}
		})
	}
}

// TestShareAlways: nobody gets less than it keeps for itself or more than it may, what it claimed of its own comes first, and all seats are
// given out where somebody may have them.
func TestShareAlways(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 20000 {
		var claims []claim
		all, least, claimed, most := 0.0, 0.0, 0.0, 0.0
		for range 1 + r.IntN(6) {
			own := float64(r.IntN(50))
			c := claim{own: own, least: math.Round(own * r.Float64()), most: own + float64(r.IntN(80))}
			c.claimed = max(c.least, min(own, float64(r.IntN(3)*r.IntN(60))))
			c.target = max(c.claimed, r.Float64()*float64(r.IntN(3)*100))
			claims = append(claims, c)
			all, least, claimed, most = all+own, least+c.least, claimed+c.claimed, most+c.most
		}
		all = math.Round(all * (0.5 + r.Float64()))
		seats, _ := share(all, slices.Clone(claims))
		sum, floor := 0.0, true
		for n, c := range claims {
			sum += seats[n]
			if seats[n] < c.least-1e-9 || seats[n] > c.most+1e-9 || all >= claimed && seats[n] < c.claimed-1e-9 {
				t.Fatalf("of %g: %+v got %g", all, c, seats[n])
			}
			floor = floor && c.target > 0
		}
		if want := max(least, min(all, most)); floor && math.Abs(sum-want) > 1e-6 {
			t.Fatalf("of %g: %+v got %v, together %g, want %g", all, claims, seats, sum, want)
		}
	}
}

// load keeps so many requests of a group at work or waiting, until ctx ends; each takes half a second.
func load(ctx context.Context, c *Controller, group string, requests int) (ended func()) {
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			for ctx.Err() == nil {
				ticket, err := c.Begin(ctx, ask("joe in "+group+": get pods in shop"), wide(1))
				time.Sleep(500 * time.Millisecond)
				if err == nil {
					ticket.Release()
				}
			}
		})
	}
	return all.Wait
}

// TestAdjust: what a level leaves another uses after ten seconds, gives it back ten seconds after it is wanted, and who lends never has less
// than what it keeps for itself.
func TestAdjust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := two(20, 60, nil, 8, 1, 100)
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { _ = c.Run(ctx) })
		served := func(group string) int64 {
			l := c.now.Load().levels
			return l[slices.IndexFunc(l, func(l *level) bool { return l.name == group })].served()
		}
		limits := func(want string) {
			t.Helper()
			synctest.Wait()
			g := gauges(t, c)
			if got := fmt.Sprint(g["apiserver_flowcontrol_current_limit_seats a"], g["apiserver_flowcontrol_current_limit_seats b"], " ", served("a"), served("b")); got != want {
				t.Errorf("after %v: limits and requests served %q, want %q\n%v", time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), got, want, g)
			}
		}
		limits("10 10 0 0")
		time.Sleep(time.Second + time.Millisecond)
		a, stopA := context.WithCancel(ctx)
		endA := load(a, c, "a", 50)
		limits("10 10 10 0")
		time.Sleep(8 * time.Second)
		limits("10 10 10 0") // the period is not over
		time.Sleep(time.Second)
		limits("16 4 16 0")
		b, stopB := context.WithCancel(ctx)
		endB := load(b, c, "b", 50)
		limits("16 4 16 4") // the least that it lends nobody, at once
		time.Sleep(10 * time.Second)
		limits("10 10 10 10") // and all its own, as it asked for it
		stopA()
		endA()
		time.Sleep(10 * time.Second)
		limits("10 10 0 10") // it may come back soon: half of what it wanted is forgotten in five minutes
		time.Sleep(20 * time.Minute)
		limits("4 16 0 16")
		g := gauges(t, c)
		for name, want := range map[string]float64{"demand_seats_high_watermark b": 50, "demand_seats_average b": 50, "demand_seats_stdev b": 0, "demand_seats_smoothed b": 50, "target_seats b": 50, "seat_fair_frac": 0.32} {
			if got := g["apiserver_flowcontrol_"+name]; math.Abs(got-want) > 0.1 {
				t.Errorf("%s: %g, want %g", name, got, want)
			}
		}
		stopB()
		endB()
		cancel()
		run.Wait()
	})
}

// TestAdjustTo: other seats count at once, and a status or a schema that changes does not end a period.
func TestAdjustTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sa, la := one("a", 100, 0, nil, 8, 1, 100)
		_, none := one("catch-all", 0, 0, nil, 0, 0, 0)
		schemas, levels := []*flowcontrolv1.FlowSchema{sa}, []*flowcontrolv1.PriorityLevelConfiguration{la, none}
		c := controller(20, schemas, levels)
		ctx, cancel := context.WithCancel(t.Context())
		end := load(ctx, c, "a", 30)
		time.Sleep(5 * time.Second)
		c.set(schemas, levels)
		if g := gauges(t, c); g["apiserver_flowcontrol_demand_seats_high_watermark a"] != 0 {
			t.Error("the period ended although nothing of the levels changed")
		}
		_, lb := one("b", 300, 0, nil, 8, 1, 100)
		c.set(schemas, append(levels, lb))
		if g := gauges(t, c); g["apiserver_flowcontrol_current_limit_seats a"] != 5 || g["apiserver_flowcontrol_current_limit_seats b"] != 15 || g["apiserver_flowcontrol_demand_seats_high_watermark a"] != 30 {
			t.Errorf("with another level: %v", g)
		}
		c.set(schemas, levels)
		if g := gauges(t, c); g["apiserver_flowcontrol_current_limit_seats a"] != 20 {
			t.Errorf("after it is gone: %v", g)
		}
		cancel()
		end()
	})
}

// TestExemptFirst: what levels without a limit use goes from what others may borrow, never from what they keep.
func TestExemptFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		schemas, levels := defaults()
		c := controller(600, schemas, levels)
		show := func() string {
			var got []string
			for _, l := range c.now.Load().levels {
				got = append(got, fmt.Sprintf("%s %d", l.name, l.limit.Load()))
			}
			return strings.Join(got, ", ")
		}
		// What kube-apiserver 1.37.2 shows when nobody asks for anything.
		if got, want := show(), "catch-all 30, exempt 0, system 117, node-high 170, leader-election 58, workload-high 114, workload-low 56, global-default 56"; got != want {
			t.Errorf("at rest: got  %s\nwant %s", got, want)
		}
		for range 500 {
			if _, err := c.Begin(t.Context(), ask("admin in system:masters: get pods in shop"), wide(1)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		c.mu.Lock()
		c.adjust(time.Now())
		c.mu.Unlock()
		if got, want := show(), "catch-all 13, exempt 500, system 50, node-high 73, leader-election 25, workload-high 49, workload-low 24, global-default 24"; got != want {
			t.Errorf("500 exempt ones: got  %s\nwant %s", got, want)
		}
	})
}
