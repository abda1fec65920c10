// Package test drives the real binary with real containers: what a user does, and what must
// happen then. Tests need root and LIGHTER, the path of the binary; `make test` sets it. Long ones
// run a slice; `make prove` sets PROVE and runs them whole.
package test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/test/rig"
)

const ns = "guestbook"

// book is a cluster with the guestbook on it.
type book struct {
	*rig.Cluster
	url string
}

// begin starts a cluster and applies the guestbook's manifests.
func begin(t *testing.T, args ...string) *book {
	t.Helper()
	return beginOn(rig.NewWire(t).Machine(), args...)
}

func beginOn(m *rig.Machine, args ...string) *book {
	m.T.Helper()
	images := rig.Guestbook(m.T)
	b := &book{Cluster: rig.New(m, append([]string{"up"}, args...)...)}
	b.Up()
	b.Load(filepath.Join(images, "redis.tar"), filepath.Join(images, "web-v1.tar"), filepath.Join(images, "web-v2.tar"))
	b.Kubectl("apply", "-f", filepath.Join(rig.Top(m.T), "examples/guestbook/manifests"))
	b.comesUp()
	return b
}

// comesUp waits until all of the guestbook is there and answers.
func (b *book) comesUp() {
	b.T.Helper()
	b.Kubectl("-n", ns, "rollout", "status", "deployment/redis", "--timeout=60s")
	b.Kubectl("-n", ns, "rollout", "status", "deployment/web", "--timeout=60s")
	b.Eventually(10*time.Second, "address of the Service", func() error {
		s, err := client.Services.Get(b.T.Context(), b.Client, ns, "web")
		if err != nil {
			return err
		}
		if len(s.Status.LoadBalancer.Ingress) == 0 {
			return errors.New("none yet")
		}
		b.url = fmt.Sprintf("http://%s:%d/", s.Status.LoadBalancer.Ingress[0].IP, s.Spec.Ports[0].Port)
		return nil
	})
	b.Eventually(10*time.Second, "first answer", func() error { _, _, err := b.page(b.Machine); return err })
}

// page reads the page from a machine; pod is who answered.
func (b *book) page(from *rig.Machine) (text, pod string, err error) {
	resp, err := from.HTTP(2 * time.Second).Get(b.url)
	if err != nil {
		return "", "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), resp.Header.Get("X-Pod"), err
}

// sign posts a message.
func (b *book) sign(message string) error {
	web := b.HTTP(2 * time.Second)
	web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := web.PostForm(b.url, url.Values{"message": {message}})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSeeOther {
		err = errors.New(resp.Status)
	}
	return errors.Join(err, resp.Body.Close())
}

// pods are those of a deployment that are not on their way out, by name.
func (b *book) pods(app string) map[string]*rig.Pod {
	b.T.Helper()
	return b.Pods(ns, "app="+app)
}

func TestGuestbook(t *testing.T) {
	b := begin(t)
	b.Kubectl("-n", ns, "wait", "--for=condition=complete", "job/seed", "--timeout=60s")

	// The Job's messages are there, a new one is there on reload, whichever pod answers.
	if err := b.sign("from the test"); err != nil {
		t.Fatal(err)
	}
	answered := map[string]int{}
	b.Eventually(10*time.Second, "every pod answers", func() error {
		text, pod, err := b.page(b.Machine)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"from the test", "Hello from a Job!", "A cluster in seconds."} {
			if !strings.Contains(text, want) {
				t.Fatalf("the page of %s lacks %q:\n%s", pod, want, text)
			}
		}
		if answered[pod]++; len(answered) < 3 {
			return fmt.Errorf("so far %v", answered)
		}
		return nil
	})
	for pod := range b.pods("web") {
		if answered[pod] == 0 {
			t.Errorf("pod %s never answered: %v", pod, answered)
		}
	}

	// From beyond the cluster too.
	if _, _, err := b.page(b.Wire.Outside()); err != nil {
		t.Errorf("from outside: %v", err)
	}

	b.Load(rig.Peer(t))
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"scale to 10 and back", b.scales},
		{"rollout and undo under load", b.rolls},
		{"a container's process is killed", b.killed},
		{"a pod is deleted", b.replaced},
		{"lighter and containerd are killed", b.outage},
		{"logs, exec, cp, port-forward", b.tools},
		{"not ready, out of the Service", b.unready},
		{"a pod that fits nowhere", b.tooLarge},
	} {
		t.Run(step.name, step.run)
	}
}
