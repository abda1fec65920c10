package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// knows tells whether who trusts these authorities trusts what a server shows.
func knows(roots *x509.CertPool, shown *Pair) bool {
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range shown.Behind {
		o.Intermediates.AddCert(c)
	}
	_, err := shown.Cert.Verify(o)
	return err == nil
}

// TestSuccession: at each step whoever is to be trusted is, on the server that takes it and on one that only knows the step before.
func TestSuccession(t *testing.T) {
	one := open(t)
	two := copied(t, one.Dir)
	old := one.CA.Pool()
	issued := map[string]*Pair{"of before": must(one.CA.Issue(Admin()))(t)}
	s := must(one.CA.Begin())(t)
	steps := []struct {
		step       Step
		newKnown   bool // by whom the server trusts
		oldKnows   bool // a kubeconfig of before goes on with what the server shows
		oldTrusted bool
	}{
		{StepTrust, true, true, true},
		{StepSign, true, true, true},
		{StepDrop, true, false, false},
	}
	fresh := must(NewAuthority("kubernetes"))(t)
	for _, st := range steps {
		before := two.CA.Pool()
		if err := one.CA.Adopt(s.At(st.step, time.Now())); err != nil {
			t.Fatalf("%s: %v", st.step, err)
		}
		leaf := must(one.CA.Issue(Admin()))(t)
		if st.step != StepDrop && !knows(before, leaf) {
			t.Errorf("%s: a server of the step before does not trust what is issued", st.step)
		}
		if err := two.CA.Adopt(s.At(st.step, time.Now()).Public()); err != nil { // opens the key with the old one
			t.Fatalf("%s on the other server: %v", st.step, err)
		}
		if !one.CA.Cert().Equal(two.CA.Cert()) || string(one.CA.PEM()) != string(two.CA.PEM()) {
			t.Errorf("%s: the servers differ", st.step)
		}
		for name, got := range map[string]bool{
			"what is issued is trusted":           knows(two.CA.Pool(), leaf),
			"what is issued, by who knows before": knows(old, leaf) == st.oldKnows,
			"what was issued before":              knows(two.CA.Pool(), issued["of before"]) == st.oldTrusted,
			"a stranger's":                        !knows(two.CA.Pool(), must(fresh.Issue(Admin()))(t)),
			"the same after a start":              same(t, one),
		} {
			if !got {
				t.Errorf("%s: %s: it is not so", st.step, name)
			}
		}
	}
	if err := one.CA.Adopt(s.At(StepTrust, time.Now())); err != nil || one.CA.Succession() != nil {
		t.Errorf("it goes back: %v", err)
	}
	if _, err := os.Stat(filepath.Join(one.Dir, "ca.succession")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file is left")
	}
	next := must(one.CA.Begin())(t)
	if err := open(t).CA.Adopt(next); !errors.Is(err, ErrMissed) {
		t.Errorf("another cluster's: %v", err)
	}
	late := copied(t, one.Dir)
	if err := late.CA.Adopt(next.At(StepDrop, time.Now()).Public()); err != nil || late.CA.Succession() != nil || !same(t, late) {
		t.Errorf("who missed all steps: %v", err)
	}
}

// same tells whether the authority would be the same one after a start.
func same(t *testing.T, p *PKI) bool {
	again := must(Open(p.Dir, Lives{}))(t)
	return again.CA.Cert().Equal(p.CA.Cert()) && string(again.CA.PEM()) == string(p.CA.PEM())
}

func copied(t *testing.T, dir string) *PKI {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return must(Open(to, Lives{}))(t)
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestSuccessionKilled: whatever of a step's files is written when the process is killed, the next start has an authority that those
// who knew the one of before trust, and all files say the same after it.
func TestSuccessionKilled(t *testing.T) {
	p := open(t)
	s := must(p.CA.Begin())(t)
	for _, step := range []Step{StepTrust, StepSign, StepDrop} {
		before := copied(t, p.Dir)
		if err := p.CA.Adopt(s.At(step, time.Now())); err != nil {
			t.Fatal(err)
		}
		// The order in which they are written.
		files := []string{"ca.succession", "ca.key", "ca.crt"}
		if step == StepDrop {
			files = []string{"ca.crt", "ca.succession"}
		}
		for n := range len(files) + 1 {
			t.Run(fmt.Sprintf("%s after %d files", step, n), func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(before.Dir)); err != nil {
					t.Fatal(err)
				}
				for _, name := range files[:n] {
					data, err := os.ReadFile(filepath.Join(p.Dir, name))
					if errors.Is(err, os.ErrNotExist) {
						err = os.Remove(filepath.Join(dir, name))
					} else if err == nil {
						err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				killed, err := Open(dir, Lives{})
				if err != nil {
					t.Fatal(err)
				}
				if leaf := must(killed.CA.Issue(Admin()))(t); !knows(before.CA.Pool(), leaf) {
					t.Error("who knew the authorities of before does not trust what is issued")
				}
				if err := killed.CA.Repair(); err != nil {
					t.Fatal(err)
				}
				if again := must(Open(dir, Lives{}))(t); string(again.CA.PEM()) != string(killed.CA.PEM()) {
					t.Error("the files are not repaired")
				}
				if err := killed.CA.Adopt(s.At(step, time.Now())); err != nil || string(killed.CA.PEM()) != string(p.CA.PEM()) {
					t.Errorf("it does not go on: %v", err)
				}
			})
		}
	}
}

// TestTrustClient: a client's configuration follows what is trusted.
func TestTrustClient(t *testing.T) {
	p := open(t)
	var shown atomic.Pointer[Pair]
	shown.Store(must(p.CA.Issue(APIServer()))(t))
	trust := &Trust{}
	trust.Set(must(NewAuthority("other"))(t).Cert())
	config := trust.Client(&tls.Config{ServerName: "kubernetes"})
	l := must(net.Listen("tcp", "127.0.0.1:0"))(t)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*shown.Load().TLS()}}).Handshake() // the client says how it went
				_ = c.Close()
			}()
		}
	}()
	dial := func(config *tls.Config) error {
		c, err := tls.Dial("tcp", l.Addr().String(), config)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	if dial(config) == nil {
		t.Error("a stranger is trusted")
	}
	trust.Set(p.CA.Cert())
	if err := dial(config); err != nil {
		t.Error(err)
	}
	if dial(trust.Client(&tls.Config{ServerName: "elsewhere.example.com"})) == nil {
		t.Error("another name is trusted")
	}
	shown.Store(must(p.CA.Issue(Admin()))(t))
	if dial(config) == nil {
		t.Error("a client's certificate is a server's")
	}
}
