// Package backuptest runs what tests of backups need beside Lighter.
package backuptest

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// StartS3 runs a real S3 server for the test, on a folder, with one bucket, and returns its endpoint.
func StartS3(t *testing.T, bucket string) string {
	t.Helper()
	program := os.Getenv("LIGHTER_TEST_S3")
	if program == "" {
		t.Skip("LIGHTER_TEST_S3 does not name an S3 server (make bin/versitygw): backups in S3 are not tested")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "data", bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "meta"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "somebody")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-somebody")
	t.Setenv("AWS_SESSION_TOKEN", "")
	cmd := exec.Command(program, "--port", address, "--access", "somebody", "--secret", "a-secret-of-somebody", "posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + address)
		if err == nil {
			resp.Body.Close()
			return "http://" + address
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("no answer: %v\n%s", err, out.String())
		}
	}
}
