package rig

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Admin is the administrator's way of proving who it is and whom it trusts, for clients of one's own.
func (c *Cluster) Admin() *tls.Config {
	c.T.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		c.T.Fatal(err)
	}
	t, err := rest.TLSConfigFor(cfg)
	if err != nil {
		c.T.Fatal(err)
	}
	return t
}

// API is an HTTP client for the server's API from another machine. It notices within two seconds that the server is silent.
func (c *Cluster) API(from *Machine) *http.Client {
	t := c.Admin()
	t.ServerName = "kubernetes"
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: t, TLSHandshakeTimeout: 2 * time.Second,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return from.Dial(ctx, network, addr)
		},
		HTTP2: &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: time.Second}}}
}

// Etcd is the process id of the server's etcd; 0: it does not run.
func (c *Cluster) Etcd() int {
	for _, p := range c.Processes() {
		if strings.Contains(p.Command, "--data-dir "+c.Dir+"/server/etcd ") {
			return p.PID
		}
	}
	return 0
}

// Crash ends lighter and its etcd at the same moment, as the end of the machine does.
func (c *Cluster) Crash() {
	if pid := c.Etcd(); pid != 0 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	c.Kill()
}

// Disk puts what the server's etcd keeps on a file system of its own, before the server starts. Fill fills it.
func (c *Cluster) Disk(bytes string) (fill, empty func()) {
	c.T.Helper()
	dir := c.Dir + "/server/etcd"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.T.Fatal(err)
	}
	if err := syscall.Mount("rig", dir, "tmpfs", 0, "mode=0700,size="+bytes); err != nil {
		c.T.Skipf("needs to mount: %v", err)
	}
	c.T.Cleanup(func() {
		c.Crash()
		c.Eventually(10*time.Second, "unmount "+dir, func() error { return syscall.Unmount(dir, 0) })
	})
	junk := dir + "/junk"
	fill = func() {
		f, err := os.Create(junk)
		if err != nil {
			return // it is full
		}
		defer f.Close()
		for block := make([]byte, 1<<20); len(block) > 0; {
			if _, err := f.Write(block); err != nil {
				block = block[:len(block)/2] // to the last byte
			}
		}
	}
	return fill, func() { _ = os.Remove(junk) }
}
