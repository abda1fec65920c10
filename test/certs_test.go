package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/test/rig"
)

// shown is the certificate that a port of a server's etcd shows to who has one of the store's own.
func shown(of, from *rig.Cluster, port string) (*x509.Certificate, error) {
	return shownTo(filepath.Join(from.Dir, "server", "pki", "etcd"), of, from, port)
}

// shownTo is the same with the certificates of a directory.
func shownTo(dir string, of, from *rig.Cluster, port string) (*x509.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "member.crt"), filepath.Join(dir, "member.key"))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := from.Machine.Dial(ctx, "tcp", net.JoinHostPort(of.IP.String(), port))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	t := tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: of.IP.String(), Certificates: []tls.Certificate{pair}})
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	// Whether it lets us in, it says later.
	if err := t.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return nil, err
	}
	if _, err := t.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	return t.ConnectionState().PeerCertificates[0], nil
}

// TestServersCertificates: every certificate of three servers and of their common store is replaced twice while objects are written and
// followed, and so is the key of tokens; the store's members take the new ones without a restart, and nobody notices.
func TestServersCertificates(t *testing.T) {
	wire := rig.NewWire(t)
	first := rig.New(wire.Machine(), "server", "--cluster-init")
	first.Up()
	servers := []*rig.Cluster{first}
	for range 2 {
		next := further(first, tokenOf(first, "--server"))
		next.Up()
		servers = append(servers, next)
	}
	follow(first, 2)
	view := client.ConfigMaps.View(t.Context(), servers[1].Client, client.Selection{Namespace: "default"})
	processes := []int{first.Etcd(), servers[1].Etcd(), servers[2].Etcd()}
	ctx, stop := context.WithCancel(t.Context())
	wrote := writeByTurns(t, ctx, slices.Clone(servers))
	for range 2 {
		for _, s := range servers {
			before, err := shown(s, first, "2380")
			if err != nil {
				t.Fatal(err)
			}
			if out, err := s.Lighter("certs", "rotate", "--data-dir", s.Dir); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			pair, err := pki.LoadPair(filepath.Join(s.Dir, "server", "pki", "etcd", "member.crt"), filepath.Join(s.Dir, "server", "pki", "etcd", "member.key"))
			if err != nil {
				t.Fatal(err)
			}
			for _, port := range []string{"2379", "2380"} {
				now, err := shown(s, servers[2], port)
				if err != nil {
					t.Fatal(err)
				}
				if !now.Equal(pair.Cert) || now.Equal(before) {
					t.Errorf("port %s of %s shows certificate %s, want %s; before it was %s", port, s.Name, now.SerialNumber, pair.Cert.SerialNumber, before.SerialNumber)
				}
			}
		}
	}
	// Tokens that a server signs with a new key are good on all servers at once, and those of before too.
	review := func(s *rig.Cluster, token string) error {
		_, err := s.TryKubectl("--token", token, "--certificate-authority", filepath.Join(s.Dir, "server", "pki", "ca.crt"), "--server", apiOf(s), "auth", "whoami")
		return err
	}
	old := first.Kubectl("create", "token", "default")
	if out, err := first.Lighter("certs", "rotate", "service-account", "--data-dir", first.Dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fresh := first.Kubectl("create", "token", "default")
	for _, s := range servers {
		for what, token := range map[string]string{"old": old, "new": fresh} {
			if err := review(s, token); err != nil {
				t.Errorf("the %s token on %s: %v", what, s.Name, err)
			}
		}
	}
	stop()
	last := <-wrote
	first.Eventually(5*time.Second, "the view has all", func() error {
		if n := len(view.List("default")); n < last {
			return fmt.Errorf("%d of %d", n, last)
		}
		return nil
	})
	for i, s := range servers {
		if pid := s.Etcd(); pid != processes[i] {
			t.Errorf("the etcd of %s is process %d, it was %d", s.Name, pid, processes[i])
		}
	}
	t.Logf("%d writes", last)
}

// TestServersAuthorities: the authorities of three servers and of their common store are followed by others while objects are written, and
// nobody notices; what the former ones signed is good for nothing once they are dropped.
func TestServersAuthorities(t *testing.T) {
	if os.Getenv("PROVE") == "" {
		t.Skip("takes most of a minute: set PROVE")
	}
	wire := rig.NewWire(t)
	lives := []string{"--authority-life", "200s", "--certificate-life", "100s"} // steps are taken soon
	first := rig.New(wire.Machine(), append([]string{"server", "--cluster-init"}, lives...)...)
	first.Up()
	servers := []*rig.Cluster{first}
	for range 2 {
		next := further(first, tokenOf(first, "--server"), lives...)
		next.Up()
		servers = append(servers, next)
	}
	follow(first, 2)
	token := tokenOf(first, "--server") // names the authority of now
	old := t.TempDir()
	if err := os.CopyFS(old, os.DirFS(filepath.Join(first.Dir, "server", "pki", "etcd"))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	wrote := writeByTurns(t, ctx, slices.Clone(servers))
	rotate := func(args ...string) {
		t.Helper()
		began := time.Now()
		out, err := first.Lighter("certs", append([]string{"rotate", "--authority", "--data-dir", first.Dir}, args...)...)
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%v:\n%s", time.Since(began), out)
	}
	rotate()
	processes := []int{first.Etcd(), servers[1].Etcd(), servers[2].Etcd()}
	if _, err := shownTo(old, first, servers[1], "2379"); err != nil {
		t.Errorf("with what was signed before, while the new authority signs: %v", err)
	}
	late := further(first, token, lives...)
	late.Up()
	rotate("--drop-old", "etcd/ca", "front-proxy-ca")
	for i, s := range servers {
		first.Eventually(30*time.Second, "etcd starts again", func() error {
			if s.Etcd() == processes[i] {
				return fmt.Errorf("the etcd of %s is process %d still", s.Name, processes[i])
			}
			_, err := shown(s, servers[(i+1)%3], "2380")
			return err
		})
		if _, err := shownTo(old, s, first, "2379"); err == nil {
			t.Errorf("%s lets in who shows what the former authority signed", s.Name)
		}
	}
	follow(first, 3)
	stop()
	t.Logf("%d writes", <-wrote)
	rotate("--drop-old")
	if _, err := client.ConfigMaps.Get(t.Context(), servers[1].Client, "default", "c0"); !apierrors.IsUnauthorized(err) {
		t.Errorf("who holds a certificate of the cluster's former authority: %v", err)
	}
	servers[1].Kubectl("--kubeconfig", filepath.Join(servers[1].Dir, "server", "admin.kubeconfig"), "get", "configmap", "c0")
}

// writeByTurns writes one object after another, by all servers in turn, until ctx ends; then it says how many there are.
func writeByTurns(t *testing.T, ctx context.Context, servers []*rig.Cluster) <-chan int {
	wrote := make(chan int, 1)
	go func() {
		n := 0
		for ; ctx.Err() == nil; n++ {
			c := servers[n%len(servers)]
			_, err := client.ConfigMaps.Create(ctx, c.Client, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("c%d", n)}})
			if err != nil && ctx.Err() == nil {
				t.Errorf("write %d, by %s: %v", n, c.Name, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		wrote <- n - 1
	}()
	return wrote
}
