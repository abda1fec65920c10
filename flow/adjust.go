package flow

import (
	"context"
	"math"
	"slices"
	"time"
)

// Run adjusts the levels' limits to what they ask for, each ten seconds, until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	timer := time.NewTimer(period)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			c.mu.Lock()
			now := time.Now()
			left := period - now.Sub(c.adjusted) // other levels end a period early
			if left <= 0 {
				c.adjust(now)
				left = period
			}
			c.mu.Unlock()
			timer.Reset(left)
		case <-ctx.Done():
			return nil
		}
	}
}

// adjust ends the period and gives each level the seats that it may use until the next one ends. The caller holds the lock.
func (c *Controller) adjust(now time.Time) {
	c.adjusted = now
	rules := c.now.Load()
	all := 0.0
	claims := make([]claim, 0, len(rules.levels))
	var limited []*level
	for _, l := range rules.levels {
		if l.leaving.Load() {
			continue // it keeps what it has for those who are in it
		}
		past := l.demand.end(now)
		own, least := float64(l.nominal.Load()), float64(l.nominal.Load()-l.lends.Load())
		all += own
		if l.exempt.Load() {
			most := max(least, past.peak) // it gets what it wants
			all -= most
			l.limit.Store(int64(math.Round(most)))
			l.target = most
			continue
		}
		c := claim{own: own, least: least, most: own + float64(l.borrows.Load())}
		c.claimed = max(least, min(own, past.peak))
		c.target = max(c.claimed, past.smoothed)
		l.target = c.target
		claims, limited = append(claims, c), append(limited, l)
	}
	seats, fair := share(all, claims)
	c.fair = fair
	for n, l := range limited {
		l.limit.Store(int64(math.Round(seats[n])))
	}
	c.dispatch()
}

// claim is what a level may have in one period: its own seats, the least that it lends nobody, the most that it may have with what
// it borrows, what of its own it asked for and so gets back, and what would make it content.
type claim struct {
	own, least, most, claimed, target float64
}

// share divides seats among levels. fair is the share of their targets that those get whom no bound keeps from it, 0 where there is not
// enough for that. Source: KEP-1040, Dispatching.
func share(all float64, claims []claim) (seats []float64, fair float64) {
	seats = make([]float64, len(claims))
	set := func(of func(c claim) float64) (sum float64) {
		for n, c := range claims {
			seats[n] = of(c)
			sum += seats[n]
		}
		return sum
	}
	if set(func(c claim) float64 { return c.target }) == 0 { // nobody wants any, or lends less than all
		for n := range claims {
			claims[n].target = claims[n].own
		}
	}
	claimed, least := set(func(c claim) float64 { return c.claimed }), set(func(c claim) float64 { return c.least })
	switch {
	case all <= least:
		return seats, 0
	case all <= claimed:
		set(func(c claim) float64 { return c.least + (c.claimed-c.least)*(all-least)/(claimed-least) })
		return seats, 0
	}
	at := func(fair float64) float64 {
		return set(func(c claim) float64 { return min(c.most, max(c.claimed, fair*c.target)) })
	}
	var bends []float64 // shares at which a level comes to a bound: between them the sum rises evenly
	for _, c := range claims {
		if c.target > 0 {
			bends = append(bends, c.claimed/c.target, c.most/c.target)
		}
	}
	slices.Sort(bends)
	before, sum := 0.0, claimed
	for _, bend := range bends {
		next := at(bend)
		if next >= all {
			if next > sum {
				bend = before + (bend-before)*(all-sum)/(next-sum)
			}
			at(bend)
			return seats, bend
		}
		before, sum = bend, next
	}
	return seats, before // all have the most that they may
}
