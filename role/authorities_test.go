package role_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/role"
)

// holding is a request by a user with what he has of the cluster since then, over a connection of its own.
func holding(ctx context.Context, c *rest.Config) func() error {
	return func() error {
		trust, err := rest.TLSConfigFor(c)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Host+"/api/v1/namespaces/"+workplace+"/configmaps", nil)
		if err != nil {
			return err
		}
		if c.BearerToken != "" {
			r.Header.Set("Authorization", "Bearer "+c.BearerToken)
		}
		resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}}).Do(r)
		if err != nil {
			return err
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("HTTP %d", resp.StatusCode)
		}
		return nil
	}
}

// TestAuthorities: an authority ends while everybody is at work, and nobody notices: another one has followed it by then, by itself.
func TestAuthorities(t *testing.T) {
	t.Parallel()
	life := 18 * time.Second
	if os.Getenv("PROVE") != "" {
		life = time.Minute
	}
	w := work(t, func(c *config.Config) {
		c.Server.AuthorityLife, c.Server.CertificateLife = life.String(), (life * 4 / 9).String()
	})
	p := w.plane
	first, proxy := p.PKI.CA.Cert(), p.PKI.Proxy.Cert()
	user := rest.AnonymousClientConfig(p.admin) // who was told of the authority before anybody thought of another
	user.BearerToken = p.token(t, workplace)
	ask := holding(t.Context(), user)
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	steps := []string{}
	for time.Now().Before(first.NotAfter.Add(life / 9)) {
		step := "alone"
		if s := p.PKI.CA.Succession(); s != nil {
			step = string(s.Step)
		} else if !p.PKI.CA.Cert().Equal(first) {
			step = "followed"
		}
		if len(steps) == 0 || steps[len(steps)-1] != step {
			steps = append(steps, step)
		}
		if step != "followed" {
			if err := ask(); err != nil && p.PKI.CA.Trusted()[len(p.PKI.CA.Trusted())-1].Equal(first) {
				t.Errorf("at the step %q who holds what he had at the beginning: %v", step, err)
			}
		}
		for _, e := range must(role.Certificates(p.Config))(t) {
			if e.Ended(time.Now()) {
				t.Errorf("%s has ended: %+v", e.Name, e)
			}
		}
		time.Sleep(life / 300)
	}
	if got := strings.Join(steps, " "); got != "alone trust sign followed" {
		t.Errorf("steps %s", got)
	}
	if p.PKI.Proxy.Cert().Equal(proxy) {
		t.Error("the authority of front proxies is the old one")
	}
	// Whoever is told of the authorities is told of this one alone.
	now, system := string(p.PKI.CA.PEM()), p.Client("system:apiserver", pki.MastersGroup)
	for what, got := range map[string]func() (string, error){
		"kube-root-ca.crt": func() (string, error) {
			m, err := client.ConfigMaps.Get(t.Context(), system, workplace, "kube-root-ca.crt")
			if err != nil {
				return "", err
			}
			return m.Data["ca.crt"], nil
		},
		"extension-apiserver-authentication": func() (string, error) {
			m, err := client.ConfigMaps.Get(t.Context(), system, "kube-system", "extension-apiserver-authentication")
			if err != nil {
				return "", err
			}
			return m.Data["client-ca-file"], nil
		},
		"the kubeconfig": func() (string, error) {
			c, err := clientcmd.BuildConfigFromFlags("", role.KubeconfigPath(p.Config.DataDir))
			return string(c.CAData), err
		},
		"the node": func() (string, error) {
			data, err := os.ReadFile(filepath.Join(p.Config.DataDir, "node", "agent", "ca.crt"))
			return string(data), err
		},
	} {
		within(t, 5*time.Second, what, func() error {
			have, err := got()
			if err == nil && have != now {
				err = fmt.Errorf("it names %d authorities that are not the one of now", strings.Count(have, "BEGIN"))
			}
			return err
		})
	}
	w.check()
	t.Logf("%d requests", w.calls.Load())
}

// TestAuthorityOnDemand: what a user holds is good until the former authority is dropped, and not after that.
func TestAuthorityOnDemand(t *testing.T) {
	t.Parallel()
	p, err := start(func(c *config.Config, s *role.Server) {
		c.Server.AuthorityLife, c.Server.CertificateLife = "100s", "40s"
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.end(); err != nil {
			t.Error(err)
		}
	})
	control := role.NewProgress(role.State{})
	p.Control(control)
	go func() { _ = role.Control(t.Context(), p.Config.DataDir, control, func() {}, quiet) }() // ends with the test
	p.as(t, "admin").do(t, "POST", "/api/v1/namespaces", text("v1", "Namespace", workplace))
	ask := holding(t.Context(), must(clientcmd.BuildConfigFromFlags("", role.KubeconfigPath(p.Config.DataDir)))(t))
	follow := func(query string) string {
		t.Helper()
		var said []string
		within(t, 5*time.Second, "the control socket", func() error { _, err := role.Ask(t.Context(), p.Config.DataDir); return err })
		if err := role.AskTo(t.Context(), p.Config.DataDir, "/certs/follow?"+query, func(line string) { said = append(said, line) }); err != nil {
			t.Fatal(err)
		}
		return strings.Join(said, "\n")
	}
	old := p.PKI.CA.Cert()
	if said := follow("name=ca"); !strings.Contains(said, "ca: the new one signs; the old one is dropped at") {
		t.Errorf("said:\n%s", said)
	}
	if err := ask(); err != nil {
		t.Errorf("what a user holds, while the new one signs: %v", err)
	}
	within(t, 10*time.Second, "what the API server shows is signed by the new one", func() error {
		leaf, err := pki.LoadPair(filepath.Join(p.PKI.Dir, "apiserver.crt"), filepath.Join(p.PKI.Dir, "apiserver.key"))
		if err == nil && p.PKI.CA.Cert().Equal(old) {
			err = errors.New("it is the old one that signs")
		}
		if err != nil {
			return err
		}
		return leaf.Cert.CheckSignatureFrom(p.PKI.CA.Cert())
	})
	var kinds []string
	for _, e := range must(role.Certificates(p.Config))(t) {
		if strings.HasSuffix(e.Kind, "authority") {
			kinds = append(kinds, e.Name+" "+e.Kind+" "+strings.Fields(e.Step + " -")[0])
		}
	}
	if got := strings.Join(kinds, ", "); got != "ca authority signs, ca former authority is, front-proxy-ca authority -" {
		t.Errorf("listed: %s", got)
	}
	follow("name=ca&drop=1")
	if err := ask(); err == nil {
		t.Error("a certificate of the former authority is good still")
	}
	if err := holding(t.Context(), must(clientcmd.BuildConfigFromFlags("", role.KubeconfigPath(p.Config.DataDir)))(t))(); err != nil {
		t.Errorf("the kubeconfig fetched anew: %v", err)
	}
	if roots := x509.NewCertPool(); !roots.AppendCertsFromPEM(p.PKI.CA.PEM()) || len(p.PKI.CA.Trusted()) != 1 {
		t.Error("more than one authority is trusted")
	}
}
