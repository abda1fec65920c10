package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func open(t *testing.T) *PKI {
	t.Helper()
	p, err := Open(filepath.Join(t.TempDir(), "pki"), Lives{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpenAgainFindsTheSame(t *testing.T) {
	p := open(t)
	again, err := Open(p.Dir, Lives{})
	if err != nil {
		t.Fatal(err)
	}
	if !p.CA.Cert().Equal(again.CA.Cert()) || !p.Tokens.Equal(again.Tokens) {
		t.Error("authority or token key changed")
	}
	for name, mode := range map[string]os.FileMode{"": 0o700, "ca.key": 0o600, "sa.key": 0o600, "ca.crt": 0o644, "sa.pub": 0o644} {
		if info, err := os.Stat(filepath.Join(p.Dir, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%q: %v %v, want mode %o", name, info.Mode(), err, mode)
		}
	}
	if life := p.CA.Cert().NotAfter.Sub(time.Now()); life < 3649*24*time.Hour {
		t.Errorf("authority lives %v", life)
	}
	left, _ := filepath.Glob(filepath.Join(p.Dir, ".*"))
	if len(left) > 0 {
		t.Errorf("temporary files left: %q", left)
	}
}

func TestOpenAfterDamage(t *testing.T) {
	tests := map[string]struct {
		damage func(dir string) error
		ok     bool
	}{
		"the end came between key and certificate": {func(dir string) error { return os.Remove(filepath.Join(dir, "ca.crt")) }, true},
		"the authority's key is gone":              {func(dir string) error { return os.Remove(filepath.Join(dir, "ca.key")) }, false},
		"the authority's key is another's":         {func(dir string) error { return os.Rename(filepath.Join(dir, "sa.key"), filepath.Join(dir, "ca.key")) }, false},
		"the certificate is no certificate":        {func(dir string) error { return os.WriteFile(filepath.Join(dir, "ca.crt"), []byte("x"), 0o600) }, false},
		"the token key is cut short":               {func(dir string) error { return os.Truncate(filepath.Join(dir, "sa.key"), 40) }, false},
		"the public token key is gone":             {func(dir string) error { return os.Remove(filepath.Join(dir, "sa.pub")) }, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			if err := tt.damage(p.Dir); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(p.Dir, Lives{}); (err == nil) != tt.ok {
				t.Errorf("got %v, want ok=%v", err, tt.ok)
			}
		})
	}
}

func TestIssue(t *testing.T) {
	p := open(t)
	tests := map[string]struct {
		spec    Spec
		usage   x509.ExtKeyUsage
		wrong   x509.ExtKeyUsage
		user    string
		groups  []string
		subject string // a name that must verify
	}{
		"administrator":         {Admin(), x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, "kubernetes-admin", []string{"system:masters"}, ""},
		"kubelet as a client":   {Kubelet("n1"), x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, "system:node:n1", []string{"system:nodes"}, ""},
		"kubelet as a server":   {KubeletServing("n1", []string{"n1"}, nil), x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, "system:node:n1", []string{"system:nodes"}, "n1"},
		"API server to kubelet": {APIServerToKubelet(), x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, "kube-apiserver-kubelet-client", []string{"system:masters"}, ""},
		"API server":            {APIServer("10.96.0.1", "box", "10.96.0.1", ""), x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, "kube-apiserver", nil, "kubernetes.default.svc"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pair, err := p.CA.Issue(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			c := pair.Cert
			check := func(u x509.ExtKeyUsage) error {
				_, err := c.Verify(x509.VerifyOptions{Roots: p.CA.Pool(), DNSName: tt.subject, KeyUsages: []x509.ExtKeyUsage{u}})
				return err
			}
			if err := check(tt.usage); err != nil {
				t.Error(err)
			}
			if check(tt.wrong) == nil {
				t.Error("verifies for the wrong usage")
			}
			if c.Subject.CommonName != tt.user || !slices.Equal(c.Subject.Organization, tt.groups) {
				t.Errorf("subject %v", c.Subject)
			}
			if life := c.NotAfter.Sub(time.Now()); c.IsCA || life > LeafLife || life < LeafLife-time.Minute {
				t.Errorf("authority=%v life=%v", c.IsCA, life)
			}
		})
	}
}

func TestServingHasEveryName(t *testing.T) {
	pair, err := open(t).CA.Issue(APIServer("10.96.0.1", "box", "192.168.7.4", "fd00::1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", "10.96.0.1", "box", "192.168.7.4", "fd00::1"} {
		if err := pair.Cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if pair.Cert.VerifyHostname("10.96.0.2") == nil {
		t.Error("valid for an address that was not given")
	}
}

func TestLeafEndsWithItsAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := NewAuthority("test")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(AuthorityLife - time.Hour)
		pair, err := a.Issue(Admin())
		if err != nil || !pair.Cert.NotAfter.Equal(a.Cert().NotAfter) {
			t.Errorf("ends %v (%v), the authority %v", pair.Cert.NotAfter, err, a.Cert().NotAfter)
		}
		time.Sleep(2 * time.Hour)
		if _, err := a.Issue(Admin()); err == nil {
			t.Error("an expired authority signs")
		}
	})
}

func TestServingIsKeptUntilNamesChange(t *testing.T) {
	p := open(t)
	serial := func(names ...string) string {
		t.Helper()
		r, err := p.Serving(names...)
		if err != nil {
			t.Fatal(err)
		}
		return r.Pair().Cert.SerialNumber.String()
	}
	first := serial("a", "10.0.0.1")
	if serial("10.0.0.1", "a") != first {
		t.Error("reissued for the same names in another order")
	}
	second := serial("a", "b", "10.0.0.1")
	if second == first {
		t.Error("not reissued for a further name")
	}
	os.WriteFile(filepath.Join(p.Dir, "apiserver.key"), []byte("broken"), 0o600)
	third := serial("a", "b", "10.0.0.1")
	if third == second {
		t.Error("a broken key was served")
	}
}

func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t)
		r, err := p.Serving()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx, slog.New(slog.DiscardHandler)) }()
		seen := map[string]bool{}
		for day := range 3 * 365 {
			c := r.Pair().Cert
			seen[c.SerialNumber.String()] = true
			if left := time.Until(c.NotAfter); left < 120*24*time.Hour {
				t.Fatalf("day %d: %v left", day, left)
			}
			time.Sleep(24 * time.Hour)
		}
		if len(seen) < 4 || len(seen) > 6 {
			t.Errorf("%d certificates in three years", len(seen))
		}
		stored, err := LoadPair(filepath.Join(p.Dir, "apiserver.crt"), filepath.Join(p.Dir, "apiserver.key"))
		if err != nil || !stored.Cert.Equal(r.Pair().Cert) {
			t.Errorf("the newest is not on disk: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestRotationTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := NewAuthority("test")
		if err != nil {
			t.Fatal(err)
		}
		var calls atomic.Int32
		var failing atomic.Bool
		r, err := NewRotating(t.Context(), func(context.Context) (*Pair, error) {
			calls.Add(1)
			if failing.Load() {
				return nil, io.ErrUnexpectedEOF
			}
			s := Kubelet("n")
			s.Life = time.Hour
			return a.Issue(s)
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go r.Run(ctx, slog.New(slog.DiscardHandler))
		synctest.Wait()
		old := r.Pair()
		failing.Store(true)
		time.Sleep(50 * time.Minute)
		synctest.Wait()
		if n := calls.Load(); r.Pair() != old || n < 4 || n > 14 {
			t.Errorf("kept=%v after %d calls", r.Pair() == old, n)
		}
		failing.Store(false)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if r.Pair() == old {
			t.Error("not renewed after the cause went away")
		}
	})
}

func TestRotatingOverTLS(t *testing.T) {
	p := open(t)
	serving, err := p.Serving()
	if err != nil {
		t.Fatal(err)
	}
	kubelet, err := p.CA.Rotating(Kubelet("n1"))
	if err != nil {
		t.Fatal(err)
	}
	dial := func() (user string, serial string) {
		a, b := net.Pipe()
		server := tls.Server(a, &tls.Config{GetCertificate: serving.GetCertificate, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: p.CA.Pool()})
		client := tls.Client(b, &tls.Config{GetClientCertificate: kubelet.GetClientCertificate, RootCAs: p.CA.Pool(), ServerName: "127.0.0.1"})
		defer a.Close()
		defer b.Close()
		errs := make(chan error, 1)
		go func() { errs <- client.Handshake() }()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		return server.ConnectionState().PeerCertificates[0].Subject.CommonName, client.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	user, before := dial()
	if err := serving.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, after := dial()
	if user != "system:node:n1" || before == after {
		t.Errorf("user %q, renewed certificate in use: %v", user, before != after)
	}
}

func TestRequests(t *testing.T) {
	a, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	client, serving := []string{"digital signature", "client auth"}, []string{"key encipherment", "digital signature", "server auth"}
	ip := []net.IP{net.IPv4(10, 0, 0, 1)}
	tests := map[string]struct {
		spec   Spec
		usages []string
		check  func(*Request, []string) (string, error)
		node   string // "" is refused
	}{
		"kubelet client":                      {Kubelet("n1"), client, CheckKubeletClient, "n1"},
		"kubelet client, other order":         {Kubelet("n1"), []string{"client auth", "key encipherment", "digital signature"}, CheckKubeletClient, "n1"},
		"client with a name":                  {KubeletServing("n1", []string{"n1"}, nil), client, CheckKubeletClient, ""},
		"client of another group":             {Client("system:node:n1", "system:masters"), client, CheckKubeletClient, ""},
		"client of one more group":            {Client("system:node:n1", "system:nodes", "system:masters"), client, CheckKubeletClient, ""},
		"client that is no node":              {Client("alice", "system:nodes"), client, CheckKubeletClient, ""},
		"client of a node without a name":     {Kubelet(""), client, CheckKubeletClient, ""},
		"client that would serve":             {Kubelet("n1"), append(client, "server auth"), CheckKubeletClient, ""},
		"client without client auth":          {Kubelet("n1"), []string{"digital signature"}, CheckKubeletClient, ""},
		"kubelet serving":                     {KubeletServing("n1", nil, ip), serving, CheckKubeletServing, "n1"},
		"serving without a name":              {Kubelet("n1"), serving, CheckKubeletServing, ""},
		"serving that would be a client, too": {KubeletServing("n1", nil, ip), append(serving, "client auth"), CheckKubeletServing, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			data, key, err := NewRequest(tt.spec)
			if err != nil {
				t.Fatal(err)
			}
			r, err := ParseRequest(data)
			if err != nil {
				t.Fatal(err)
			}
			node, err := tt.check(r, tt.usages)
			if node != tt.node || (err == nil) != (tt.node != "") {
				t.Fatalf("got node %q, %v", node, err)
			}
			if err != nil {
				return
			}
			certificate, err := a.SignRequest(r, tt.usages, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := ParseCertificate(certificate)
			if err != nil {
				t.Fatal(err)
			}
			if !key.PublicKey.Equal(cert.PublicKey) || cert.Subject.CommonName != tt.spec.CommonName || time.Until(cert.NotAfter) > time.Hour {
				t.Errorf("signed %v until %v", cert.Subject, cert.NotAfter)
			}
		})
	}
	t.Run("an authority is never signed", func(t *testing.T) {
		data, _, _ := NewRequest(Kubelet("n1"))
		r, err := ParseRequest(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range []string{"cert sign", "crl sign", "nonsense"} {
			if _, err := a.SignRequest(r, []string{u}, 0); err == nil {
				t.Errorf("signed with usage %q", u)
			}
		}
	})
	t.Run("a changed request is refused", func(t *testing.T) {
		data, _, _ := NewRequest(Kubelet("n1"))
		i := bytes.Index(data, []byte("\n")) + 60 // inside the subject's name
		data[i] ^= 3
		if _, err := ParseRequest(data); err == nil {
			t.Error("accepted")
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	data, _, _ := NewRequest(Kubelet("n1"))
	f.Add(data)
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := ParseRequest(data); err == nil {
			CheckKubeletClient(r, []string{"client auth", "digital signature"})
		}
	})
}

func TestServingThatIsDueIsReissuedAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := open(t)
		at := func() string {
			r, err := p.Serving()
			if err != nil {
				t.Fatal(err)
			}
			return r.Pair().Cert.SerialNumber.String()
		}
		first := at()
		time.Sleep(200 * 24 * time.Hour)
		if at() != first {
			t.Error("reissued before two thirds of its life")
		}
		time.Sleep(100 * 24 * time.Hour)
		if at() == first {
			t.Error("kept after two thirds of its life")
		}
	})
}
