package succession

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store/memory"
)

func TestDecide(t *testing.T) {
	began := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(hours int) time.Time { return began.Add(time.Duration(hours) * time.Hour) }
	tests := map[string]struct { // an authority lives for 300 hours and is due after 200; what it signs lives for 30
		hour   int
		step   pki.Step
		since  int
		asked  pki.Step
		behind string
		byHand bool
		want   pki.Step
	}{
		"young":                           {hour: 199},
		"due":                             {hour: 200, want: pki.StepTrust},
		"due, where others have to know":  {hour: 200, byHand: true},
		"asked for":                       {hour: 10, asked: pki.StepSign, want: pki.StepTrust},
		"asked to drop what there is not": {hour: 10, asked: pki.StepDrop},
		"just trusted":                    {hour: 200, step: pki.StepTrust, since: 200},
		"trusted":                         {hour: 201, step: pki.StepTrust, since: 200, want: pki.StepSign},
		"trusted, but not everywhere":     {hour: 240, step: pki.StepTrust, since: 200, behind: "b"},
		"trusted everywhere but where it has been too late for long": {hour: 251, step: pki.StepTrust, since: 200, behind: "b", want: pki.StepSign},
		"signs":                               {hour: 230, step: pki.StepSign, since: 201},
		"signs for as long as a leaf lives":   {hour: 231, step: pki.StepSign, since: 201, want: pki.StepDrop},
		"signs, but not everywhere":           {hour: 260, step: pki.StepSign, since: 201, behind: "b"},
		"signs, and the former one has ended": {hour: 300, step: pki.StepSign, since: 201, behind: "b", want: pki.StepDrop},
		"signs, dropping asked for":           {hour: 202, step: pki.StepSign, since: 201, asked: pki.StepDrop, want: pki.StepDrop},
		"just signs, dropping asked for":      {hour: 201, step: pki.StepSign, since: 201, asked: pki.StepDrop},
		"dropping asked for, not everywhere":  {hour: 202, step: pki.StepSign, since: 201, asked: pki.StepDrop, behind: "b"},
		"trusted, dropping asked for":         {hour: 201, step: pki.StepTrust, since: 200, asked: pki.StepDrop, want: pki.StepSign},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := view{now: at(tt.hour), step: tt.step, since: at(tt.since), begins: at(0), due: at(200), end: at(300), until: at(tt.since + 30),
				asked: tt.asked, byHand: tt.byHand, behind: strings.Fields(tt.behind)}
			got, wait := decide(v)
			if got != tt.want || got == "" && wait <= 0 {
				t.Errorf("got %q in %v", got, wait)
			}
		})
	}
}

// server is one of several that share a store.
type server struct {
	name  string
	dir   string
	line  Line
	lines *Lines
	end   func()
	loads []*x509.CertPool // what a process that reads whom it trusts at its start has read, the newest last
}

type cluster struct {
	t       *testing.T
	store   *memory.Store
	servers []*server
	mu      sync.Mutex
	busy    int
}

// start starts a server, again maybe, from what is on its disk.
func (c *cluster) start(s *server) {
	a, err := pki.OpenAuthority(filepath.Join(s.dir, "ca.crt"), filepath.Join(s.dir, "ca.key"), "test", pki.Lives{Authority: 60 * time.Hour, Leaf: 6 * time.Hour})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := a.Repair(); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.loads = append(s.loads, a.Pool())
	s.line = Line{Name: "ca", Authority: a, Reload: func(context.Context) error {
		c.mu.Lock()
		c.busy++
		if c.busy > 1 {
			c.t.Error("two servers reload at once")
		}
		c.mu.Unlock()
		time.Sleep(3 * time.Second)
		c.mu.Lock()
		defer c.mu.Unlock()
		s.loads = append(s.loads, a.Pool())
		c.busy--
		return nil
	}}
	s.lines = &Lines{All: []Line{s.line}, Log: slog.New(slog.DiscardHandler), Store: c.store, Prefix: "/registry/lighter/authorities/", Self: s.name,
		Servers: func() []string { return []string{"a", "b", "c"} }}
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	if err := s.lines.Ready(ctx); err != nil {
		c.t.Error(err)
	}
	go func() {
		defer close(done)
		_ = s.lines.Run(ctx) // ends with ctx
	}()
	s.end = func() { cancel(); <-done }
}

// all checks that whatever any server shows now is trusted by all, and by the processes that read whom they trust at their start.
func (c *cluster) all(when string, shown map[string]*pki.Pair) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for from, pair := range shown {
		o := x509.VerifyOptions{Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
		for _, b := range pair.Behind {
			o.Intermediates.AddCert(b)
		}
		for _, to := range c.servers {
			for what, roots := range map[string]*x509.CertPool{"": to.line.Pool(), "'s process": to.loads[len(to.loads)-1]} {
				o.Roots = roots
				if _, err := pair.Cert.Verify(o); err != nil {
					c.t.Errorf("%s: what %s shows is not trusted by %s%s: %v", when, from, to.name, what, err)
				}
			}
		}
	}
}

// TestServers: three servers follow their authority several times; one is away for some of it. Nobody is ever not trusted.
func TestServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, store: memory.New()}
		first := t.TempDir()
		for _, name := range []string{"a", "b", "c"} {
			s := &server{name: name, dir: first}
			if len(c.servers) > 0 {
				s.dir = t.TempDir()
				for _, file := range []string{"ca.crt", "ca.key"} {
					copyFile(t, filepath.Join(first, file), filepath.Join(s.dir, file))
				}
			}
			c.servers = append(c.servers, s)
			c.start(s)
		}
		began, seen := time.Now(), []string{}
		shown := map[string]*pki.Pair{}
		for hour := range 180 {
			for _, s := range c.servers {
				// Its certificate is renewed at two thirds of its life, or when another authority signs.
				if p := shown[s.name]; p == nil || !time.Now().Before(p.Due()) || p.Cert.CheckSignatureFrom(s.line.Cert()) != nil {
					pair, err := s.line.Issue(pki.Admin())
					if err != nil {
						t.Fatal(err)
					}
					shown[s.name] = pair
				}
			}
			c.all(fmt.Sprint("hour ", hour), shown)
			if m := mark(c.servers[0].line.Cert()); !slices.Contains(seen, m) {
				seen = append(seen, m)
			}
			switch b := c.servers[1]; hour {
			case 38: // away while the next one is made: it is waited for
				b.end()
			case 43:
				if s := c.servers[0].line.Succession(); s == nil || s.Step != pki.StepTrust {
					t.Errorf("it is not waited for the server that is away: %v", s)
				}
				c.start(b)
			case 80, 120:
				b.end()
				c.start(b)
			}
			time.Sleep(time.Until(began.Add(time.Duration(hour+1) * time.Hour)))
		}
		if len(seen) != 5 {
			t.Errorf("%d authorities in 180 hours, want 5", len(seen))
		}
		// On demand.
		var said []string
		ask := func(step pki.Step) {
			t.Helper()
			if err := c.servers[2].lines.Ask(t.Context(), step, func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }); err != nil {
				t.Error(err)
			}
		}
		before := c.servers[0].line.Cert()
		ask(pki.StepSign)
		ask(pki.StepDrop)
		time.Sleep(time.Minute)
		for _, s := range c.servers {
			if now := s.line.Trusted(); len(now) != 1 || now[0].Equal(before) {
				t.Errorf("%s trusts %d authorities", s.name, len(now))
			}
			s.end()
		}
		if got := strings.Join(said, "\n"); !strings.Contains(got, "a new one is made") || !strings.Contains(got, "the new one signs") || !strings.Contains(got, "trusted no more") {
			t.Errorf("said:\n%s", got)
		}
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = pki.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
