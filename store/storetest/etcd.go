package storetest

import (
	"net"
	"os"
	"os/exec"
	"testing"
)

// Etcd runs a real etcd for the test, with further flags, and returns its endpoint. LIGHTER_TEST_ETCD names the program.
func Etcd(t *testing.T, flags ...string) string {
	t.Helper()
	program := os.Getenv("LIGHTER_TEST_ETCD")
	if program == "" {
		t.Skip("LIGHTER_TEST_ETCD does not name an etcd program: what is for etcd is not tested")
	}
	url := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return "http://" + l.Addr().String()
	}
	client, peer := url(), url()
	cmd := exec.Command(program, append([]string{"--data-dir", t.TempDir(), "--unsafe-no-fsync", "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer}, flags...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // gone already, if it fails
		_ = cmd.Wait()
	})
	return client
}
