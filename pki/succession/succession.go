// Package succession has the authorities of a cluster followed by new ones while it runs, in the steps of pki.Succession: when they are
// due, or somebody asks for it. In goes what a server's authorities are and, where several servers share a store, that store; out come
// steps that each server takes, and none before those that must have taken the one before it. role makes a Lines per server.
package succession

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
)

// Line is one authority.
type Line struct {
	Name string // as 'lighter certs list' has it
	*pki.Authority
	// Reload has a process read whom it trusts that does so at its start alone. It is called on one server after the other, once the old
	// authority is dropped; what is shown until then satisfies those that know the old one alone, too. nil: there is no such process.
	Reload func(context.Context) error
}

// Lines are the authorities of a server. All fields are set before Run.
type Lines struct {
	All    []Line
	Log    *slog.Logger
	ByHand bool // they are followed only when somebody asks

	Store   store.Store     // shared with other servers; nil: there are none
	Prefix  string          // of the keys in it
	Self    string          // this server's name
	Servers func() []string // those that are asked for; nil: those that have said something

	once sync.Once
	wake chan struct{} // holds one when there is something to do

	mu     sync.Mutex
	asked  map[string]pki.Step
	faults map[string]string // why there is no way on

	// Of the goroutine that runs.
	loaded  map[string][]string // what the process read that Reload is for
	dropped map[string]time.Time
	said    string
}

// Ready takes the steps that other servers have taken, once; Run goes on from there.
func (l *Lines) Ready(ctx context.Context) error {
	l.prepare()
	var errs []error
	for _, line := range l.All {
		_, err := l.adopt(ctx, line)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (l *Lines) prepare() {
	l.once.Do(func() {
		l.wake, l.asked, l.faults = make(chan struct{}, 1), map[string]pki.Step{}, map[string]string{}
		l.loaded, l.dropped = map[string][]string{}, map[string]time.Time{}
		for _, line := range l.All {
			l.loaded[line.Name] = marks(line.Authority)
		}
	})
}

// Run takes steps until ctx ends.
func (l *Lines) Run(ctx context.Context) error {
	l.prepare()
	if l.Store != nil {
		go l.follow(ctx)
	}
	for ctx.Err() == nil {
		pause := time.Hour // the calendar goes on while the machine sleeps, a timer does not
		for _, line := range l.All {
			wait, err := l.round(ctx, line)
			if err != nil && ctx.Err() == nil {
				l.fault(line.Name, err)
				wait = time.Second
			}
			pause = min(pause, wait)
		}
		select {
		case <-ctx.Done():
		case <-l.wake:
		case <-time.After(max(pause, 10*time.Millisecond)):
		}
	}
	return nil
}

// fault keeps why there is no way on, and says so if it is news; nil: there is one.
func (l *Lines) fault(name string, err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	l.mu.Lock()
	news := l.faults[name] != why
	l.faults[name] = why
	l.mu.Unlock()
	if news && err != nil {
		l.Log.Warn("an authority is not followed", "object", name, "err", err)
	}
}

func (l *Lines) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// round does what is to be done for an authority, and says how long that lasts.
func (l *Lines) round(ctx context.Context, line Line) (time.Duration, error) {
	at, err := l.adopt(ctx, line)
	if err != nil {
		return 0, err
	}
	servers, err := l.exchange(ctx)
	if err != nil {
		return 0, err
	}
	if waits, err := l.reload(ctx, line, servers); waits || err != nil {
		return 100 * time.Millisecond, err
	}
	v := l.view(line, servers)
	step, wait := decide(v)
	if step == "" {
		switch {
		case v.step == "" && v.byHand && !v.now.Before(v.due):
			l.fault(line.Name, fmt.Errorf("it is due, and ends at %s: 'lighter certs rotate --authority %s'", v.end.Format(time.DateTime), line.Name))
		case v.step != "" && len(v.behind) > 0 && !v.now.Before(v.since.Add(patience)):
			l.fault(line.Name, fmt.Errorf("step %q is not taken yet by %s", v.step, strings.Join(v.behind, ", ")))
		default:
			l.fault(line.Name, nil)
		}
		return wait, nil
	}
	next := line.Succession()
	if step == pki.StepTrust {
		if next, err = line.Begin(); err != nil {
			return 0, err
		}
	} else {
		next = next.At(step, v.now)
	}
	if l.Store != nil {
		if err := l.put(ctx, line, next, at); err != nil {
			if errors.Is(err, store.ErrConflict) { // another server did it
				return 0, nil
			}
			return 0, err
		}
	}
	return 0, l.take(line, next)
}

// adopt takes the step that the servers share, and returns the revision of its key.
func (l *Lines) adopt(ctx context.Context, line Line) (store.Revision, error) {
	if l.Store == nil {
		return 0, nil
	}
	shared, at, err := l.get(ctx, line)
	if err != nil {
		return 0, err
	}
	if shared == nil {
		if own := line.Succession(); own != nil { // this server was alone before, or the store is older than that
			return 0, l.put(ctx, line, own, at)
		}
		return at, nil
	}
	err = l.take(line, shared)
	if errors.Is(err, pki.ErrMissed) {
		if formerly(line.Authority, shared) { // the store was restored from a backup
			return at, nil
		}
		err = fmt.Errorf("%w while this server was away: copy server/pki of another server here, and start it again", err)
	}
	return at, err
}

// formerly tells whether what is here is younger than what a Succession led to.
func formerly(a *pki.Authority, s *pki.Succession) bool {
	c, err := pki.ParseCertificate(s.New)
	return err == nil && c.NotBefore.Before(a.Cert().NotBefore)
}

// take goes to a step here.
func (l *Lines) take(line Line, s *pki.Succession) error {
	was, signed := line.Succession(), line.Cert()
	if err := line.Adopt(s); err != nil {
		return err
	}
	now := line.Succession()
	if was == now && signed.Equal(line.Cert()) {
		return nil
	}
	what := "the next authority is trusted too"
	switch {
	case now == nil:
		what = "the former authority is dropped"
		l.dropped[line.Name] = time.Now()
	case now.Step == pki.StepSign:
		what = "the next authority signs"
	}
	l.Log.Info(what, "object", line.Name, "until", line.Cert().NotAfter)
	l.poke()
	return nil
}

// patience is how long a server may be behind before it is named.
const patience = 10 * time.Second

// view is what decide may know.
type view struct {
	now              time.Time
	step             pki.Step // "": nobody follows
	since            time.Time
	begins, due, end time.Time // of the authority that is followed, or is to be
	until            time.Time // of what it signed
	behind           []string  // servers that have not taken the step
	asked            pki.Step
	byHand           bool
}

// spread is how long a step lasts at least, so that those who are not waited for have taken it too.
func (v view) spread() time.Duration {
	most := time.Hour
	if v.asked != "" {
		most = 20 * time.Second
	}
	return min(most, v.end.Sub(v.begins)/100)
}

// decide is the step to be taken now, or how long there is none.
func decide(v view) (pki.Step, time.Duration) {
	late := !v.byHand && v.now.After(v.end.Add(v.due.Sub(v.end)/2)) // whoever is behind by then has to be without
	reached := func(at time.Time) (bool, time.Duration) {
		return !v.now.Before(at), max(at.Sub(v.now), time.Millisecond)
	}
	switch v.step {
	case "":
		if v.asked == pki.StepSign {
			return pki.StepTrust, 0
		}
		if v.byHand {
			return "", time.Hour
		}
		ok, wait := reached(v.due)
		if ok {
			return pki.StepTrust, 0
		}
		return "", wait
	case pki.StepTrust:
		ok, wait := reached(v.since.Add(v.spread()))
		switch {
		case ok && (len(v.behind) == 0 || late):
			return pki.StepSign, 0
		case ok:
			return "", patience // or until another server says something
		}
		return "", wait
	}
	until := v.until
	if v.asked == pki.StepDrop {
		until = v.since.Add(v.spread()) // nodes renew theirs meanwhile
	}
	ok, wait := reached(until)
	ended, _ := reached(v.end)
	switch {
	case ok && (len(v.behind) == 0 || ended):
		return pki.StepDrop, 0
	case ok:
		return "", patience // or until another server says something
	}
	return "", wait
}

func (l *Lines) view(line Line, servers map[string]announcement) view {
	l.mu.Lock()
	asked := l.asked[line.Name]
	l.mu.Unlock()
	v := view{now: time.Now(), asked: asked, byHand: l.ByHand}
	old := line.Cert()
	if s := line.Succession(); s != nil {
		v.step, v.since, v.until = s.Step, s.Since, s.Until(line.LeafLife())
		next := ""
		if c, err := pki.ParseCertificate(s.New); err == nil { // they were checked when they were adopted
			next = mark(c)
		}
		if c, err := pki.ParseCertificate(s.Old); err == nil {
			old = c
		}
		v.behind = l.behind(servers, func(a announcement) bool {
			if s.Step == pki.StepTrust {
				return slices.Contains(a.Trusts[line.Name], next)
			}
			return len(a.Trusts[line.Name]) > 0 && a.Trusts[line.Name][0] == next
		})
	}
	v.begins, v.due, v.end = old.NotBefore, pki.Due(old), old.NotAfter
	if v.step == asked {
		v.asked = ""
	}
	return v
}

// reload has the process read whom to trust that does so at its start alone, when it is this server's turn.
func (l *Lines) reload(ctx context.Context, line Line, servers map[string]announcement) (waits bool, err error) {
	now := marks(line.Authority)
	if line.Reload == nil || line.Succession() != nil || slices.Equal(l.loaded[line.Name], now) {
		return false, nil
	}
	before := l.behind(servers, func(a announcement) bool { return slices.Equal(a.Loaded[line.Name], now) })
	before = slices.DeleteFunc(before, func(name string) bool { return name >= l.Self })
	if len(before) > 0 && time.Since(l.dropped[line.Name]) < time.Minute {
		return true, nil
	}
	if err := line.Reload(ctx); err != nil {
		return true, err
	}
	l.loaded[line.Name] = now
	_, err = l.exchange(ctx)
	return false, err
}

// Ask has authorities of these names, or all, followed now, up to and with a step: that the next ones sign, or that the former ones are
// dropped. It waits for it and says what comes of it.
func (l *Lines) Ask(ctx context.Context, step pki.Step, say func(format string, args ...any), names ...string) error {
	l.prepare()
	var known []string
	for _, line := range l.All {
		known = append(known, line.Name)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return fmt.Errorf("%q is no authority that this server has: those are %s", n, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 {
		names = known
	}
	for _, line := range l.All {
		if !slices.Contains(names, line.Name) {
			continue
		}
		if err := l.ask(ctx, line, step, say); err != nil {
			return fmt.Errorf("%s: %w", line.Name, err)
		}
	}
	return nil
}

// Forget has a server waited for no more that is gone for good.
func (l *Lines) Forget(ctx context.Context, server string) error {
	if l.Store == nil {
		return errors.New("this server is the only one")
	}
	_, err := l.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: l.Prefix + serversKey + server, Expect: store.Any}}})
	return err
}

func (l *Lines) ask(ctx context.Context, line Line, step pki.Step, say func(format string, args ...any)) error {
	began, before := time.Now(), line.Cert()
	if s := line.Succession(); s != nil {
		if before, _ = pki.ParseCertificate(s.Old); s.Step == pki.StepSign && step == pki.StepSign {
			say("%s: the next one signs since %s already", line.Name, s.Since.Format(time.DateTime))
			return nil
		}
	} else if step == pki.StepDrop {
		say("%s: there is no former one", line.Name)
		return nil
	}
	l.mu.Lock()
	l.asked[line.Name] = step
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.asked, line.Name)
	}()
	for last := pki.Step(""); ; {
		s := line.Succession()
		at := pki.StepDrop
		if s != nil {
			at = s.Step
		} else if line.Cert().Equal(before) {
			at = ""
		}
		if at != last {
			last, began = at, time.Now()
			switch at {
			case pki.StepTrust:
				say("%s: a new one is made and trusted beside the old one", line.Name)
			case pki.StepSign:
				say("%s: the new one signs; the old one is dropped at %s: until then what it signed is good, and who holds a kubeconfig that names it fetches it anew", line.Name, s.Until(line.LeafLife()).Format(time.DateTime))
			case pki.StepDrop:
				say("%s: the former one is trusted no more", line.Name)
			}
		}
		if at == step || at == pki.StepDrop {
			return nil
		}
		l.poke()
		l.mu.Lock()
		fault := l.faults[line.Name]
		l.mu.Unlock()
		if time.Since(began) > 2*patience && fault != "" {
			return fmt.Errorf("%s; it goes on by itself when that is mended", fault)
		}
		if time.Since(began) > time.Minute {
			return errors.New("nothing happens: see 'lighter status', and whether the server is ready")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
