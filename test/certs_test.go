package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/test/rig"
)

// shown is the certificate that a port of a server's etcd shows to who has one of the store's own.
func shown(of, from *rig.Cluster, port string) (*x509.Certificate, error) {
	dir := filepath.Join(from.Dir, "server", "pki", "etcd")
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
	wrote := make(chan int, 1)
	go func() { // one write after another, by all servers in turn
		n := 0
		for ; ctx.Err() == nil; n++ {
			c := servers[n%3]
			_, err := client.ConfigMaps.Create(ctx, c.Client, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("c%d", n)}})
			if err != nil && ctx.Err() == nil {
				t.Errorf("write %d, by %s: %v", n, c.Name, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		wrote <- n - 1
	}()
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
