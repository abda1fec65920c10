package authn

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/client/clienttest"
)

// authority signs client certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	sign func(t *x509.Certificate) *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := ecKey(t)
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(10 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	leafKey := ecKey(t)
	a.sign = func(c *x509.Certificate) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, c, a.cert, leafKey.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	return a
}

func (a *authority) roots() *x509.CertPool { return a.pool }

func (a *authority) client(name pkix.Name, usage x509.ExtKeyUsage, life time.Duration) *x509.Certificate {
	return a.sign(&x509.Certificate{Subject: name, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life)})
}

func over(certs ...*x509.Certificate) *http.Request {
	r := httptest.NewRequest("GET", "/api", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: certs}
	return r
}

func TestCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stranger := newAuthority(t), newAuthority(t)
		uid := func(values ...any) pkix.Name {
			n := pkix.Name{CommonName: "ann"}
			for _, v := range values {
				n.ExtraNames = append(n.ExtraNames, pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57683, 2}, Value: v})
			}
			return n
		}
		ann := pkix.Name{CommonName: "ann", Organization: []string{"dev", "ops"}}
		const client = x509.ExtKeyUsageClientAuth
		tests := map[string]struct {
			cert *x509.Certificate
			want string // user, UID, groups; "" is nobody, "!" an error
		}{
			"name and groups":      {a.client(ann, client, time.Hour), "ann  dev ops system:authenticated"},
			"no groups":            {a.client(pkix.Name{CommonName: "ann"}, client, time.Hour), "ann  system:authenticated"},
			"the super group":      {a.client(pkix.Name{CommonName: "root", Organization: []string{"system:masters"}}, client, time.Hour), "root  system:masters system:authenticated"},
			"with a UID":           {a.client(uid("u-1"), client, time.Hour), "ann u-1 system:authenticated"},
			"with two UIDs":        {a.client(uid("u-1", "u-2"), client, time.Hour), "!"},
			"without a name":       {a.client(pkix.Name{Organization: []string{"system:masters"}}, client, time.Hour), ""},
			"the name of nobody":   {a.client(pkix.Name{CommonName: "system:anonymous", Organization: []string{"dev"}}, client, time.Hour), "system:anonymous  dev"},
			"a server's":           {a.client(ann, x509.ExtKeyUsageServerAuth, time.Hour), "!"},
			"of another authority": {stranger.client(ann, client, time.Hour), "!"},
			"expired":              {a.client(ann, client, -time.Second), "!"},
		}
		c := NewCertificates(a.roots)
		for name, tt := range tests {
			for range 2 {
				u, audiences, err := c.Authenticate(over(tt.cert))
				got := ""
				if err != nil {
					got = "!"
				} else if u != nil {
					got = u.Username + " " + u.UID + " " + strings.Join(u.Groups, " ")
				}
				if got != tt.want || audiences != nil {
					t.Errorf("%s: got %q %v, want %q", name, got, err, tt.want)
				}
			}
		}
		if n := len(c.known.m); n != 6 {
			t.Errorf("%d certificates remembered, want the 6 good ones", n)
		}
		cert := a.client(ann, client, time.Hour)
		if u, _, err := c.Authenticate(over(cert)); err != nil || !strings.HasPrefix(u.Extra[CredentialIDKey][0], "X509SHA256=") {
			t.Fatal(u, err)
		}
		time.Sleep(time.Hour + time.Second)
		if _, _, err := c.Authenticate(over(cert)); err == nil {
			t.Error("a known certificate outlives its end")
		}
		a.pool = stranger.pool // as when the authority was followed by another
		cert = a.client(ann, client, time.Hour)
		if _, _, err := c.Authenticate(over(cert)); err == nil {
			t.Error("an authority that is trusted no more names users")
		}
		a.pool = x509.NewCertPool()
		a.pool.AddCert(a.cert)
		if _, _, err := c.Authenticate(over(cert)); err != nil {
			t.Error(err)
		}
		late := a.client(ann, client, 100*time.Hour)
		c.Authenticate(over(late))
		time.Sleep(10 * time.Hour)
		if _, _, err := c.Authenticate(over(late)); err == nil {
			t.Error("a known certificate outlives its authority")
		}
	})
}

func TestAny(t *testing.T) {
	a, w := newAuthority(t), newWorld(t, nil)
	any := Any(AnonymousAllowed, NewCertificates(a.roots), Bearer{w.Tokens, Bootstrap{w.views.Secrets}})
	good := a.client(pkix.Name{CommonName: "ann"}, x509.ExtKeyUsageClientAuth, time.Hour)
	bad := newAuthority(t).client(pkix.Name{CommonName: "ann"}, x509.ExtKeyUsageClientAuth, time.Hour)
	token := w.issue(t, request(0, "", ""))
	tests := map[string]struct {
		path, authorization string
		cert                *x509.Certificate
		want                string // "" is 401
	}{
		"nobody asks for pods":                  {"/api/v1/pods", "", nil, ""},
		"nobody asks for health":                {"/healthz", "", nil, "system:anonymous"},
		"nobody asks for readiness":             {"/readyz", "", nil, "system:anonymous"},
		"nobody asks for one check":             {"/livez/ping", "", nil, ""},
		"nobody asks for the version":           {"/version", "", nil, "system:anonymous"},
		"nobody asks past health":               {"/healthz/../api", "", nil, ""},
		"a certificate":                         {"/api", "", good, "ann"},
		"a token":                               {"/api", "Bearer " + token, nil, "system:serviceaccount:web:app"},
		"a token, scheme in lower case":         {"/api", "bearer " + token, nil, "system:serviceaccount:web:app"},
		"a token behind two blanks":             {"/api", "Bearer  " + token, nil, ""},
		"a token and something else":            {"/api", "Bearer " + token + " x", nil, "system:serviceaccount:web:app"},
		"certificate and token":                 {"/api", "Bearer " + token, good, "ann"},
		"a bad certificate, a good token":       {"/api", "Bearer " + token, bad, "system:serviceaccount:web:app"},
		"a good certificate, a bad token":       {"/api", "Bearer nonsense", good, "ann"},
		"a bad token asks for health":           {"/healthz", "Bearer nonsense", nil, ""},
		"a bad certificate asks for health":     {"/healthz", "", bad, ""},
		"basic authentication":                  {"/api", "Basic YTpi", nil, ""},
		"the word bearer alone":                 {"/api", "Bearer", nil, ""},
		"the word bearer alone asks for health": {"/healthz", "Bearer ", nil, "system:anonymous"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.Path = tt.path
			if tt.authorization != "" {
				r.Header.Set("Authorization", tt.authorization)
			}
			if tt.cert != nil {
				r.TLS = over(tt.cert).TLS
			}
			u, _, err := any.Authenticate(r)
			if tt.want == "" {
				if u != nil || !errors.Is(err, ErrUnauthenticated) {
					t.Errorf("got %v %v, want 401", u, err)
				}
			} else if err != nil || u.Username != tt.want {
				t.Errorf("got %v %v, want %s", u, err, tt.want)
			}
		})
	}
}

func bootstrapSecret(change func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: meta("kube-system", "bootstrap-token-abcdef"), Type: BootstrapSecretType, Data: map[string][]byte{
		"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
		"expiration": []byte(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)),
	}}
	if change != nil {
		change(s)
	}
	return s
}

func TestBootstrap(t *testing.T) {
	const token = "abcdef.0123456789abcdef"
	set := func(key, value string) func(*corev1.Secret) {
		return func(s *corev1.Secret) { s.Data[key] = []byte(value) }
	}
	tests := map[string]struct {
		token  string
		change func(*corev1.Secret)
		groups string // "" is refused
	}{
		"good":                          {token, nil, "system:bootstrappers system:authenticated"},
		"without an end":                {token, func(s *corev1.Secret) { delete(s.Data, "expiration") }, "system:bootstrappers system:authenticated"},
		"further groups":                {token, set("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token, system:bootstrappers:x"), "system:bootstrappers system:bootstrappers:kubeadm:default-node-token system:bootstrappers:x system:authenticated"},
		"a group it may not have":       {token, set("auth-extra-groups", "system:masters"), ""},
		"a group that only begins well": {token, set("auth-extra-groups", "system:bootstrappers:x\nsystem:masters"), ""},
		"a group that ends badly":       {token, set("auth-extra-groups", "system:bootstrappers:x:"), ""},
		"a group that is empty":         {token, set("auth-extra-groups", "system:bootstrappers:"), ""},
		"another secret":                {"abcdef.0123456789abcdeF", nil, ""},
		"wrong secret":                  {"abcdef.0123456789abcdee", nil, ""},
		"unknown id":                    {"abcdeg.0123456789abcdef", nil, ""},
		"expired":                       {token, set("expiration", "2020-01-01T00:00:00Z"), ""},
		"an end that is no time":        {token, set("expiration", "tomorrow"), ""},
		"not for authentication":        {token, set("usage-bootstrap-authentication", "false"), ""},
		"another id inside":             {token, set("token-id", "abcdeg"), ""},
		"empty secret":                  {token, set("token-secret", ""), ""},
		"another type":                  {token, func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, ""},
		"being deleted":                 {token, func(s *corev1.Secret) { now := s.CreationTimestamp; s.DeletionTimestamp = &now }, ""},
		"in another namespace":          {token, func(s *corev1.Secret) { s.Namespace = "default" }, ""},
		"another token after a newline": {"abcdef.0123456789abcdef\n", nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			secrets, _ := clienttest.Typed(bootstrapSecret(tt.change))
			u, _, err := Bearer{Bootstrap{secrets}}.AuthenticateToken(t.Context(), tt.token, nil)
			if tt.groups == "" {
				if u != nil || err == nil {
					t.Errorf("got %v %v", u, err)
				}
			} else if err != nil || u.Username != "system:bootstrap:abcdef" || strings.Join(u.Groups, " ") != tt.groups {
				t.Errorf("got %v %v", u, err)
			}
		})
	}
}

func TestReview(t *testing.T) {
	w := newWorld(t, nil)
	secrets, _ := clienttest.Typed(bootstrapSecret(nil))
	bearer := Bearer{w.Tokens, Bootstrap{secrets}}
	vault := w.issue(t, request(0, "", "", "vault"))
	tests := map[string]struct {
		spec      authenticationv1.TokenReviewSpec
		user      string // "" is not authenticated
		audiences []string
	}{
		"for the API server":           {authenticationv1.TokenReviewSpec{Token: w.issue(t, request(0, "", ""))}, "system:serviceaccount:web:app", []string{Issuer}},
		"for a vault, asked by it":     {authenticationv1.TokenReviewSpec{Token: vault, Audiences: []string{"vault"}}, "system:serviceaccount:web:app", []string{"vault"}},
		"for a vault, asked for none":  {authenticationv1.TokenReviewSpec{Token: vault}, "", nil},
		"nonsense":                     {authenticationv1.TokenReviewSpec{Token: "x"}, "", nil},
		"empty":                        {authenticationv1.TokenReviewSpec{}, "", nil},
		"bootstrap token":              {authenticationv1.TokenReviewSpec{Token: "abcdef.0123456789abcdef"}, "system:bootstrap:abcdef", nil},
		"bootstrap token, for a vault": {authenticationv1.TokenReviewSpec{Token: "abcdef.0123456789abcdef", Audiences: []string{"vault"}}, "", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := bearer.Review(t.Context(), &authenticationv1.TokenReview{Spec: tt.spec}).Status
			if got.Authenticated != (tt.user != "") || got.User.Username != tt.user || !slices.Equal(got.Audiences, tt.audiences) {
				t.Errorf("got %+v", got)
			}
			if (got.Error != "") != (tt.user == "" && tt.spec.Token != "") {
				t.Errorf("error %q", got.Error)
			}
		})
	}
}

func TestImpersonation(t *testing.T) {
	tests := map[string]struct {
		headers string // "name: value" lines
		user    string // as JSON; "" is none, "!" an error
		checks  string
		modes   string // with the names of what is checked
	}{
		"none":                    {"Accept: x", "", "", ""},
		"a user":                  {"Impersonate-User: ann", `{"username":"ann","groups":["system:authenticated"]}`, "/users//ann", "user-info ann"},
		"with groups":             {"Impersonate-User: ann\nImpersonate-Group: dev\nImpersonate-Group: ops", `{"username":"ann","groups":["dev","ops","system:authenticated"]}`, "/users//ann /groups//dev /groups//ops", "user-info ann dev ops"},
		"an account":              {"Impersonate-User: system:serviceaccount:web:app", `{"username":"system:serviceaccount:web:app","groups":["system:serviceaccounts","system:serviceaccounts:web","system:authenticated"]}`, "/serviceaccounts/web/app", "serviceaccount app"},
		"nobody":                  {"Impersonate-User: system:anonymous", `{"username":"system:anonymous","groups":["system:unauthenticated"]}`, "/users//system:anonymous", "user-info system:anonymous"},
		"with a UID":              {"Impersonate-User: ann\nImpersonate-Uid: u", `{"username":"ann","uid":"u","groups":["system:authenticated"]}`, "/users//ann authentication.k8s.io/uids//u", "user-info ann u"},
		"with extras":             {"Impersonate-User: ann\nImpersonate-Extra-Acme.com%2FProject: p", `{"username":"ann","groups":["system:authenticated"],"extra":{"acme.com/project":["p"]}}`, "/users//ann authentication.k8s.io/userextras/acme.com/project//p", "user-info ann p"},
		"group alone":             {"Impersonate-Group: system:masters", "!", "", ""},
		"UID alone":               {"Impersonate-Uid: u", "!", "", ""},
		"extra alone":             {"Impersonate-Extra-Scopes: a", "!", "", ""},
		"an extra without a name": {"Impersonate-User: ann\nImpersonate-Extra-: p", `{"username":"ann","groups":["system:authenticated"],"extra":{"":["p"]}}`, "/users//ann authentication.k8s.io/userextras//p", "user-info ann p"},
		"an account with groups":  {"Impersonate-User: system:serviceaccount:web:app\nImpersonate-Group: dev", `{"username":"system:serviceaccount:web:app","groups":["dev","system:authenticated"]}`, "/serviceaccounts/web/app /groups//dev", ""},
		"a node":                  {"Impersonate-User: system:node:n2", `{"username":"system:node:n2","groups":["system:authenticated"]}`, "/users//system:node:n2", "arbitrary-node+system:nodes n2"},
		"the node that it is on":  {"Impersonate-User: system:node:n1", `{"username":"system:node:n1","groups":["system:authenticated"]}`, "/users//system:node:n1", "associated-node+system:nodes , arbitrary-node+system:nodes n1"},
		"a node without a name":   {"Impersonate-User: system:node:", `{"username":"system:node:","groups":["system:authenticated"]}`, "/users//system:node:", "user-info system:node:"},
		"a node with a group":     {"Impersonate-User: system:node:n1\nImpersonate-Group: system:nodes", `{"username":"system:node:n1","groups":["system:nodes","system:authenticated"]}`, "/users//system:node:n1 /groups//system:nodes", ""},
		"a broken extra":          {"Impersonate-User: ann\nImpersonate-Extra-A%zz: p", `{"username":"ann","groups":["system:authenticated"],"extra":{"a%zz":["p"]}}`, "/users//ann authentication.k8s.io/userextras/a%zz//p", "user-info ann p"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{}
			for line := range strings.SplitSeq(tt.headers, "\n") {
				k, v, _ := strings.Cut(line, ": ")
				h.Add(k, v)
			}
			by := &authenticationv1.UserInfo{Username: "me", Extra: map[string]authenticationv1.ExtraValue{NodeNameKey: {"n1"}}}
			i, err := ReadImpersonation(h, by)
			if tt.user == "!" {
				if !errors.Is(err, ErrImpersonation) {
					t.Errorf("got %v %v", i, err)
				}
				return
			}
			if tt.user == "" {
				if i != nil || err != nil {
					t.Errorf("got %v %v", i, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var checks []string
			for _, c := range i.Checks {
				resource := c.Resource
				if c.Subresource != "" {
					resource += "/" + c.Subresource
				}
				checks = append(checks, c.Group+"/"+resource+"/"+c.Namespace+"/"+c.Name)
			}
			var modes []string
			for _, m := range i.Modes {
				mode := strings.Join(append([]string{m.Name}, m.Groups...), "+")
				for _, c := range m.Checks {
					if mode += " " + c.Name; c.Group != "authentication.k8s.io" {
						t.Errorf("%s checks %+v", m.Name, c)
					}
				}
				modes = append(modes, mode)
			}
			user, _ := json.Marshal(i.User)
			if string(user) != tt.user || strings.Join(checks, " ") != tt.checks || strings.Join(modes, ", ") != tt.modes {
				t.Errorf("got %s\n%s\n%q", user, checks, modes)
			}
			DropImpersonation(h)
			if again, err := ReadImpersonation(h, by); again != nil || err != nil {
				t.Errorf("headers are left: %v", h)
			}
		})
	}
}

func BenchmarkCertificate(b *testing.B) {
	a := newAuthority(b)
	c := NewCertificates(a.roots)
	r := over(a.client(pkix.Name{CommonName: "ann", Organization: []string{"dev"}}, x509.ExtKeyUsageClientAuth, time.Hour))
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			c.known = cache[*certificate]{limit: 1}
			if _, _, err := c.Authenticate(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := c.Authenticate(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
