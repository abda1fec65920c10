package role

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/client/remote"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store/etcd"
)

// sharedFiles are what all servers of a cluster have alike, below <data-dir>/server: a server that joins gets them.
// Patterns as of filepath.Glob; what is not there is left out.
var sharedFiles = []string{
	"pki/ca.crt", "pki/ca.key", // the cluster's authority
	"pki/sa.key",                         // signs service account tokens
	"pki/etcd/ca.crt", "pki/etcd/ca.key", // the authority of the store
	"pki/front-proxy-ca.crt", "pki/front-proxy-ca.key",
	"pki/*.succession", "pki/etcd/*.succession", // how far one of these authorities is followed by another
	"encryption.yaml", "encryption-retired.yaml", // keys of what is encrypted at rest
}

// JoinServersGroup is the group of tokens that let servers join. Who has one can become the cluster.
const JoinServersGroup = "system:bootstrappers:lighter:servers"

// joinPath is where a server gives another one what all servers share.
const joinPath = "/lighter/server"

// shared is the answer.
type shared struct {
	Files   map[string][]byte `json:"files"`
	Members []string          `json:"members"` // client URLs
	Facts   facts             `json:"facts"`
}

// serverDefaults lets the bearers of tokens for servers have what all servers share, and nobody else.
func serverDefaults() []client.Object {
	meta := metav1.ObjectMeta{Name: "lighter:server-join", Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{authz.AutoupdateAnnotation: "true"}}
	return []client.Object{
		&rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{joinPath}}}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: JoinServersGroup}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name}},
	}
}

// ServeHTTP answers a server that joins; it was authorized before.
func (m *member) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := m.known()
	out := shared{Files: map[string][]byte{}, Members: append([]string{f.Client}, f.Others...), Facts: factsOf(m.config)}
	for _, pattern := range sharedFiles {
		paths, err := filepath.Glob(filepath.Join(m.dir, pattern))
		for _, path := range paths {
			var data []byte
			var name string
			if name, err = filepath.Rel(m.dir, path); err == nil {
				data, err = os.ReadFile(path)
			}
			out.Files[name] = data
		}
		if err != nil {
			m.log.Error("what servers share was not read", "object", pattern, "err", err)
			http.Error(w, "what servers share could not be read", http.StatusInternalServerError)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(out) // the caller is gone if it fails
}

// enter fetches what all servers share from one that is there; the token says which cluster is meant.
func (m *member) enter(ctx context.Context) error {
	token, pin, _ := strings.Cut(m.config.Server.Token, ":")
	if token == "" || pin == "" {
		return errors.New("a server that joins needs a token: make one on a server with 'lighter token create --server' and give all of it to --token")
	}
	server, err := url.Parse(m.config.Server.Join)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	j := &join{log: m.log, server: server}
	ca, err := j.fetchCA(limited, "sha256:"+pin)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	got, err := fetchShared(limited, server, pool, token)
	if err != nil {
		return fmt.Errorf("join %s: %w", server.Host, err)
	}
	if !pki.SameCluster(got.Files["pki/ca.crt"], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})) {
		return fmt.Errorf("join %s: it gave another cluster's authority", server.Host)
	}
	if err := m.keep(got.Files); err != nil {
		return err
	}
	m.file.Joins, m.file.Others, m.file.Facts = true, got.Members, got.Facts
	return nil
}

// keep writes what was fetched. A data directory that has another cluster's keys is not made this one's.
func (m *member) keep(files map[string][]byte) error {
	if have, err := os.ReadFile(filepath.Join(m.dir, "pki", "ca.crt")); err == nil && !pki.SameCluster(have, files["pki/ca.crt"]) {
		return fmt.Errorf("%s holds another cluster: join with an empty data directory", m.dir)
	}
	for name, data := range files {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("%q is no name of a file that servers share", name)
		}
		path := filepath.Join(m.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		mode := os.FileMode(0o600)
		if strings.HasSuffix(name, ".crt") {
			mode = 0o644
		}
		if err := pki.WriteFile(path, data, mode); err != nil {
			return err
		}
	}
	return nil
}

// fetchShared asks until the server answers.
func fetchShared(ctx context.Context, server *url.URL, pool *x509.CertPool, token string) (*shared, error) {
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, ServerName: remote.ServerName}}
	defer t.CloseIdleConnections()
	web := &http.Client{Transport: withToken{token, t}, Timeout: 10 * time.Second}
	for {
		got, again, err := tryShared(ctx, web, server.JoinPath(joinPath).String())
		if err == nil || !again || ctx.Err() != nil {
			return got, err
		}
		wait(ctx, time.Second)
	}
}

func tryShared(ctx context.Context, web *http.Client, at string) (got *shared, again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, false, err
	}
	resp, err := web.Do(r)
	if err != nil {
		return nil, true, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	switch {
	case err != nil:
		return nil, true, err
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, false, errors.New("the token is wrong or has expired: make a new one on a server with 'lighter token create --server'")
	case resp.StatusCode == http.StatusForbidden:
		return nil, false, errors.New("the token lets nodes join, not servers: make one on a server with 'lighter token create --server'")
	case resp.StatusCode == http.StatusNotFound:
		return nil, false, errors.New("that server is a single one, with a store of its own: servers join one that was started with --cluster-init")
	case resp.StatusCode != http.StatusOK:
		return nil, true, fmt.Errorf("it answered %s: %s", resp.Status, strings.TrimSpace(string(data[:min(len(data), 200)])))
	}
	got = &shared{}
	return got, false, json.Unmarshal(data, got)
}

// follow keeps what is known of the members, until ctx ends: where they are, and how many.
func (m *member) follow(ctx context.Context) error {
	all, err := etcd.NewMembers(m.store())
	if err != nil {
		return err
	}
	defer all.Close()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	tidier := m.tidies()
	tidy := time.NewTicker(compactEvery)
	defer tidy.Stop()
	voters := 0
	for {
		asking, cancel := context.WithTimeout(ctx, 3*time.Second)
		list, err := all.List(asking)
		cancel()
		if err == nil {
			voters = m.learn(list, voters)
		}
		select {
		case <-tick.C:
		case <-tidy.C:
			if err := tidier.run(ctx, all); err != nil && ctx.Err() == nil {
				m.log.Warn("the store's file was not tidied", "err", err)
			}
		case <-ctx.Done():
			return nil
		case <-m.done:
			return m.err
		}
	}
}

// learn takes in who the members are and says what their number means.
func (m *member) learn(list []etcd.Member, before int) (voters int) {
	f := m.known()
	var others []string
	id := f.ID
	for _, one := range list {
		if !one.Learner {
			voters++
		}
		switch {
		case one.Peer == f.Peer:
			id = one.ID
		case one.Client != "":
			others = append(others, one.Client)
		}
	}
	slices.Sort(others)
	if id != f.ID || !slices.Equal(others, f.Others) {
		if err := m.change(func(f *memberFile) { f.ID, f.Others = id, others }); err != nil {
			m.log.Error("the members were not noted", "err", err)
		}
		m.changed()
		m.engine.SetEndpoints(append([]string{m.own()}, others...)...)
	}
	if voters != before {
		m.log.Info("servers of this cluster", "object", voters)
		if voters == 2 {
			m.log.Warn(TwoServers)
		}
	}
	return voters
}

// TwoServers is what two servers do not give.
const TwoServers = "two servers survive the loss of neither: both are needed for every write; add a third one"
