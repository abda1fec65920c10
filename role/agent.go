package role

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sync/errgroup"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/pki"
)

// Agent joins a cluster and runs a node until ctx ends; pods keep running. The first time it needs a token, by
// which it recognizes the cluster and gets a certificate; after that the certificate alone.
func Agent(ctx context.Context, c *config.Config, log *slog.Logger, p *Progress, ready func()) error {
	server, err := url.Parse(c.Node.Server)
	if err != nil || server.Scheme != "https" || server.Host == "" {
		return fmt.Errorf("server %q: want https://host:port", c.Node.Server)
	}
	j := &join{config: c, log: log, server: server, dir: filepath.Join(c.DataDir, "agent"), known: &servers{path: filepath.Join(c.DataDir, "agent", "servers.json"), first: server.Host}}
	if err := os.MkdirAll(j.dir, 0o700); err != nil {
		return err
	}
	if err := j.recognize(ctx); err != nil {
		return err
	}
	identity, api, err := j.certificate(ctx, "kubelet", pki.Kubelet(c.Node.Name), certificatesv1.KubeAPIServerClientKubeletSignerName)
	if err != nil {
		return err
	}
	ip, err := nodeIP(c)
	if err != nil {
		return err
	}
	spec := kubeletServing(c.Node.Name, ip)
	serving, err := selfSigned(spec)
	if err != nil {
		return err
	}
	p.Done("joined")
	var kept pki.Keeper
	kept.Keep("agent/kubelet", false, identity.Renew)
	kept.Keep("agent/kubelet-serving", false, serving.Renew)
	p.Serve("/certs/rotate", serveRenewal(&kept))
	n := &Node{Config: c, Log: log, Client: api, Serving: serving.GetCertificate, CAs: j.trust, Progress: p}
	facts, err := client.ConfigMaps.Get(ctx, api, metav1.NamespacePublic, clusterFacts)
	if err != nil {
		return fmt.Errorf("read the cluster's facts: %w", err)
	}
	n.Domain = facts.Data["domain"]
	if n.PodCIDR, err = netip.ParsePrefix(facts.Data["podCIDR"]); err != nil {
		return err
	}
	if n.ServiceCIDR, err = netip.ParsePrefix(facts.Data["serviceCIDR"]); err != nil {
		return err
	}
	j.known.follow(ctx, api, log)
	j.follow(ctx, api, identity, serving)
	g, ctx := errgroup.WithContext(ctx)
	signed := make(chan struct{})
	g.Go(func() error { return identity.Run(ctx, log) })
	g.Go(func() error { return serving.Run(ctx, log) })
	g.Go(func() error {
		defer close(signed)
		n.signed(ctx, serving, j.issuer("kubelet-serving", spec, certificatesv1.KubeletServingSignerName, func() (client.Client, error) { return api, nil }))
		return nil
	})
	g.Go(func() error {
		return n.Run(ctx, func() {
			select { // logs and exec work when the certificate is signed; pods run before
			case <-signed:
			case <-time.After(10 * time.Second):
			case <-ctx.Done():
				return
			}
			ready()
		})
	})
	return g.Wait()
}

// join is a node's way into a cluster.
type join struct {
	config *config.Config
	log    *slog.Logger
	server *url.URL
	dir    string
	trust  *pki.Trust
	token  string // the bearer part of the join token
	known  *servers
}

// recognize learns the cluster's authority: from disk, or from the server, if it is the one that the token names.
func (j *join) recognize(ctx context.Context) error {
	path := filepath.Join(j.dir, "ca.crt")
	token, pin, _ := strings.Cut(j.config.Node.Token, ":")
	j.token = token
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if token == "" || pin == "" {
			return errors.New("a node that joins needs a token: make one on the server with 'lighter token create' and give all of it to --token")
		}
		ca, err := j.fetchCA(ctx, "sha256:"+pin)
		if err != nil {
			return err
		}
		data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
		if err := pki.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if j.trust, err = pki.NewTrust(data); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// follow trusts whom the cluster's facts name, until ctx ends; its own certificates are renewed when another authority signs.
func (j *join) follow(ctx context.Context, api client.Client, own ...*pki.Rotating) {
	news := make(chan string, 1)
	facts := client.ConfigMaps.View(ctx, api, client.Selection{Namespace: metav1.NamespacePublic, Fields: "metadata.name=" + clusterFacts})
	facts.Subscribe(ctx, func(_, now *corev1.ConfigMap) {
		if now == nil || now.Data[authorityFact] == "" {
			return
		}
		select {
		case <-news: // it is old by now
		default:
		}
		news <- now.Data[authorityFact]
	})
	go func() {
		for {
			select {
			case data := <-news:
				if err := j.believe(ctx, []byte(data), own); err != nil && ctx.Err() == nil {
					j.log.Error("the cluster's authorities are not taken over", "err", err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
}

func (j *join) believe(ctx context.Context, data []byte, own []*pki.Rotating) error {
	next, err := pki.NewTrust(data)
	if err != nil || bytes.Equal(next.PEM(), j.trust.PEM()) {
		return err
	}
	if !pki.SameCluster(data, j.trust.PEM()) {
		return errors.New("they have none in common with those that are known here")
	}
	if err := pki.WriteFile(filepath.Join(j.dir, "ca.crt"), next.PEM(), 0o644); err != nil {
		return err
	}
	j.trust.Set(next.Trusted()...)
	j.log.Info("authorities of the cluster", "object", len(next.Trusted()))
	for _, r := range own {
		for tries := 0; tries < 5 && r.Pair().Cert.CheckSignatureFrom(next.Trusted()[0]) != nil; tries++ {
			if tries > 0 {
				wait(ctx, time.Second) // it was signed by a server that is a step behind, or not at all
			}
			err = r.Renew(ctx)
		}
	}
	return err // what is not renewed by now is so when it is due
}

// fetchCA takes the authority out of the server's certificate chain. It sends nothing.
func (j *join) fetchCA(ctx context.Context, pin string) (*x509.Certificate, error) {
	var found *x509.Certificate
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, // the pin decides
		VerifyConnection: func(s tls.ConnectionState) error {
			for _, c := range s.PeerCertificates[1:] {
				if c.IsCA && pki.Fingerprint(c) == pin && pki.Vouched(c, s.PeerCertificates) {
					found = c
					return nil
				}
			}
			return fmt.Errorf("%s is not the cluster that the token is for", j.server.Host)
		}}}
	for {
		conn, err := d.DialContext(ctx, "tcp", j.server.Host)
		if err == nil {
			return found, conn.Close()
		}
		if found == nil && strings.Contains(err.Error(), "not the cluster") || ctx.Err() != nil {
			return nil, err
		}
		j.log.Info("waiting for the server", "object", j.server.Host, "err", err)
		wait(ctx, time.Second)
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// client acts as what the certificate says, the newest one.
func (j *join) client(ctx context.Context, identity *pki.Rotating) *remote.Client {
	way := j.known.way(j.trust.Client(&tls.Config{MinVersion: tls.VersionTLS12, GetClientCertificate: identity.GetClientCertificate}))
	identity.Tell(way.Refresh)
	return remote.ForHTTP(ctx, j.server, &http.Client{Transport: way}, j.log)
}

// bearer acts as the token's user.
func (j *join) bearer(ctx context.Context) *remote.Client {
	way := j.known.way(j.trust.Client(&tls.Config{MinVersion: tls.VersionTLS12}))
	return remote.ForHTTP(ctx, j.server, &http.Client{Transport: withToken{j.token, way}}, j.log)
}

type withToken struct {
	token string
	next  http.RoundTripper
}

func (t withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+t.token)
	return t.next.RoundTrip(r)
}

// certificate is the node's identity, and who acts with it. Who asks for it is the certificate itself or, while there is none, the token.
func (j *join) certificate(ctx context.Context, name string, spec pki.Spec, signer string) (*pki.Rotating, *remote.Client, error) {
	var api *remote.Client
	r, err := pki.NewRotating(ctx, j.issuer(name, spec, signer, func() (client.Client, error) {
		if api != nil {
			return api, nil
		}
		if j.token == "" {
			return nil, errors.New("this node's certificate is no longer good: join again with --token")
		}
		return j.bearer(ctx), nil
	}))
	if err != nil {
		return nil, nil, err
	}
	api = j.client(ctx, r)
	return r, api, nil
}

// issuer has certificates signed and keeps them in the agent's folder; the first one is what is there, if it is good.
func (j *join) issuer(name string, spec pki.Spec, signer string, who func() (client.Client, error)) func(context.Context) (*pki.Pair, error) {
	certPath, keyPath := filepath.Join(j.dir, name+".crt"), filepath.Join(j.dir, name+".key")
	first := true
	return func(ctx context.Context) (*pki.Pair, error) {
		if first {
			first = false
			if pair, err := pki.LoadPair(certPath, keyPath); err == nil && time.Now().Before(pair.Due()) && covers(pair, spec) {
				return pair, nil
			}
		}
		api, err := who()
		if err != nil {
			return nil, err
		}
		pair, err := request(ctx, api, name, spec, signer)
		if err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", name, err)
		}
		return pair, pair.Save(certPath, keyPath)
	}
}

// covers tells whether a certificate is for all that spec names: a node's address may change.
func covers(p *pki.Pair, spec pki.Spec) bool {
	for _, ip := range spec.IPs {
		if p.Cert.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return p.Cert.Subject.CommonName == spec.CommonName
}

// request has a new key's certificate signed by the cluster.
func request(ctx context.Context, c client.Client, name string, spec pki.Spec, signer string) (*pki.Pair, error) {
	csr, key, err := pki.NewRequest(spec)
	if err != nil {
		return nil, err
	}
	usage := certificatesv1.UsageClientAuth
	if signer == certificatesv1.KubeletServingSignerName {
		usage = certificatesv1.UsageServerAuth
	}
	made, err := client.CertificateSigningRequests.Create(ctx, c, &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "csr-"},
		Spec:       certificatesv1.CertificateSigningRequestSpec{Request: csr, SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, usage}}})
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		got, err := client.CertificateSigningRequests.Get(ctx, c, "", made.Name)
		if err != nil {
			return nil, err
		}
		for _, cond := range got.Status.Conditions {
			if cond.Type == certificatesv1.CertificateDenied || cond.Type == certificatesv1.CertificateFailed {
				return nil, fmt.Errorf("signing request %s: %s: %s", made.Name, cond.Type, cond.Message)
			}
		}
		if len(got.Status.Certificate) > 0 {
			return pair(got.Status.Certificate, key)
		}
		if try > 600 {
			return nil, fmt.Errorf("signing request %s was not answered; see 'lighter kubectl get csr'", made.Name)
		}
		wait(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func pair(cert []byte, key *ecdsa.PrivateKey) (*pki.Pair, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pki.ParsePair(cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
