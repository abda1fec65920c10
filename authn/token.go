package authn

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// Issuer is who signs the service account tokens of a cluster, and the audience of those meant for its API.
const Issuer = "https://kubernetes.default.svc.cluster.local"

// Names of service accounts as users.
const (
	ServiceAccountPrefix = "system:serviceaccount:" // and namespace:name
	serviceAccountsGroup = "system:serviceaccounts" // and, with ":" and the namespace, a second one
)

// Keys of UserInfo.Extra that say which pod and node a token was made for.
const (
	PodNameKey  = "authentication.kubernetes.io/pod-name"
	PodUIDKey   = "authentication.kubernetes.io/pod-uid"
	NodeNameKey = "authentication.kubernetes.io/node-name"
	NodeUIDKey  = "authentication.kubernetes.io/node-uid"
)

const (
	deletionLeeway = time.Minute // a token outlives the deletionTimestamp of what it is bound to, for its last words
	clockLeeway    = time.Minute // between the clocks of two API servers
)

// Views are what tokens depend on.
type Views struct {
	ServiceAccounts client.TypedView[*corev1.ServiceAccount]
	Pods            client.TypedView[*corev1.Pod]
	Secrets         client.TypedView[*corev1.Secret]
	Nodes           client.TypedView[*corev1.Node]
}

// Tokens issues and verifies service account tokens. Safe for concurrent use.
type Tokens struct {
	issuer    string
	audiences []string
	ring      atomic.Pointer[ring]
	views     Views
	verified  cache[*serviceToken]
	foreign   seen // tokens of other issuers

	valid, stale, legacy prometheus.Counter
}

// Metrics are of tokens that were taken.
func (t *Tokens) Metrics() []prometheus.Collector {
	return []prometheus.Collector{t.valid, t.stale, t.legacy}
}

// NewTokens makes tokens signed with key (ECDSA P-256 or RSA), and accepts those that it or one of the further
// keys signed for the issuer. audiences are the API server's own names; none given: the issuer.
func NewTokens(issuer string, audiences []string, key crypto.Signer, further []crypto.PublicKey, views Views) (*Tokens, error) {
	if len(audiences) == 0 {
		audiences = []string{issuer}
	}
	t := &Tokens{issuer: issuer, audiences: audiences, views: views, verified: cache[*serviceToken]{limit: 8192}, foreign: newSeen(8192),
		valid:  prometheus.NewCounter(prometheus.CounterOpts{Name: "serviceaccount_valid_tokens_total", Help: "Requests with service account tokens."}),
		stale:  prometheus.NewCounter(prometheus.CounterOpts{Name: "serviceaccount_stale_tokens_total", Help: "Those of them that came with one which should have been replaced."}),
		legacy: prometheus.NewCounter(prometheus.CounterOpts{Name: "serviceaccount_legacy_tokens_total", Help: "Requests with tokens from Secrets, which have no end."})}
	return t, t.Use(key, further)
}

// Use has tokens signed with key from now on, and accepts what it or one of the further keys signed.
func (t *Tokens) Use(key crypto.Signer, further []crypto.PublicKey) error {
	r := &ring{key: key, keys: map[string]verifier{}}
	for i, public := range append([]crypto.PublicKey{key.Public()}, further...) {
		v, err := newVerifier(public)
		if err != nil {
			return err
		}
		if i == 0 {
			r.signer = v
		}
		r.keys[v.id] = v
	}
	t.ring.Store(r)
	return nil
}

// ring are the keys as of one moment.
type ring struct {
	key    crypto.Signer
	signer verifier // of key
	keys   map[string]verifier
}

// Audiences are the API server's own.
func (t *Tokens) Audiences() []string { return t.audiences }

// claims is a token's content.
type claims struct {
	Audiences  audiences  `json:"aud"`
	Expiry     int64      `json:"exp"` // seconds since 1970, as the next two
	IssuedAt   int64      `json:"iat"`
	Issuer     string     `json:"iss"`
	ID         string     `json:"jti"`
	Kubernetes kubernetes `json:"kubernetes.io"`
	NotBefore  int64      `json:"nbf"`
	Subject    string     `json:"sub"`

	secretClaims
}

type kubernetes struct {
	Namespace      string `json:"namespace"`
	Node           *ref   `json:"node,omitempty"`
	Pod            *ref   `json:"pod,omitempty"`
	Secret         *ref   `json:"secret,omitempty"`
	ServiceAccount ref    `json:"serviceaccount"`
	WarnAfter      int64  `json:"warnafter,omitempty"`
}

type ref struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid"`
}

// audiences may be one string or a list of them.
type audiences []string

func (a *audiences) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*a = audiences{""}
		return json.Unmarshal(data, &(*a)[0])
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// serviceToken is a token whose signature and claims are good; what they name may change.
type serviceToken struct {
	claims
	user *authenticationv1.UserInfo
	key  string // that signed it
	ring *ring  // as of when it was verified
}

// AuthenticateToken finds the service account of a token made for one of the audiences (nil: the API server's).
// It returns nil, nil, nil for what is not a JSON Web Token, and for those of other issuers. A token's signature is verified once; what it is
// bound to is looked up each time, so that deleting the pod, the secret or the account ends it at once.
func (t *Tokens) AuthenticateToken(_ context.Context, token string, wanted []string) (*authenticationv1.UserInfo, []string, error) {
	if wanted == nil {
		wanted = t.audiences
	}
	hash := quickHash(token)
	if t.foreign.has(hash) {
		return nil, nil, nil
	}
	ring := t.ring.Load()
	known, ok := t.verified.find(hash, token)
	if !ok || !known.by(ring) {
		if !isJWT(token) {
			return nil, nil, nil
		}
		if issuer := issuerOf(token); issuer != t.issuer && issuer != secretIssuer {
			t.foreign.add(hash)
			return nil, nil, nil
		}
		var err error
		if known, err = t.verify(token, ring); err != nil {
			return nil, nil, ownTokenError{err}
		}
		t.verified.keep(hash, token, known)
	}
	now := time.Now()
	if err := t.live(&known.claims, token, now); err != nil {
		return nil, nil, ownTokenError{err}
	}
	common := intersect(known.Audiences, wanted)
	if common == nil {
		return nil, nil, ownTokenError{fmt.Errorf("token audiences %q is invalid for the target audiences %q", known.Audiences, wanted)}
	}
	switch after := known.Kubernetes.WarnAfter; {
	case known.Issuer == secretIssuer:
		t.legacy.Inc()
	case after > 0 && now.Unix() > after:
		t.stale.Inc()
	default:
		t.valid.Inc()
	}
	return known.user, common, nil
}

// verify checks what in a token can never change as long as the ring has its key.
func (t *Tokens) verify(token string, by *ring) (*serviceToken, error) {
	known := &serviceToken{ring: by}
	accept := func() error {
		if known.Issuer == secretIssuer {
			return t.acceptSecret(&known.claims)
		}
		return t.acceptable(&known.claims)
	}
	var err error
	if known.key, err = parse(token, by.keys, &known.claims, accept); err != nil {
		return nil, err
	}
	known.user = known.userInfo()
	return known, nil
}

// by reports whether the ring has the key that signed the token.
func (t *serviceToken) by(r *ring) bool {
	if t.ring == r {
		return true
	}
	_, ok := r.keys[t.key] // ids are the keys' digests
	return ok
}

// acceptable checks what in the claims can never change.
func (t *Tokens) acceptable(c *claims) error {
	k := &c.Kubernetes
	switch {
	case c.Issuer != t.issuer:
		return fmt.Errorf("token was issued by %q", c.Issuer)
	case c.Expiry <= 0 || c.Expiry <= c.IssuedAt:
		return errors.New("token has no expiry")
	case k.Namespace == "" || k.ServiceAccount.Name == "" || k.ServiceAccount.UID == "":
		return errors.New("token names no service account")
	case c.Subject != ServiceAccountPrefix+k.Namespace+":"+k.ServiceAccount.Name:
		return errors.New("token subject and service account differ")
	}
	for _, r := range []*ref{k.Pod, k.Secret, k.Node} {
		if r != nil && (r.Name == "" || r.UID == "") {
			return errors.New("token is bound to an object without name or UID")
		}
	}
	return nil
}

// live checks the clock and that all the token is bound to is still there, and the same.
func (t *Tokens) live(c *claims, token string, now time.Time) error {
	k := &c.Kubernetes
	if c.Issuer == secretIssuer {
		if err := t.liveSecret(k, token); err != nil {
			return err
		}
	} else if now.Unix() >= c.Expiry {
		return errors.New("token has expired")
	} else if now.Add(clockLeeway).Unix() < max(c.NotBefore, c.IssuedAt) {
		return errors.New("token is not valid yet")
	}
	account, ok := t.views.ServiceAccounts.Get(k.Namespace, k.ServiceAccount.Name)
	if !ok || !alive(account, k.ServiceAccount.UID, now) {
		return fmt.Errorf("service account %s/%s of the token is gone", k.Namespace, k.ServiceAccount.Name)
	}
	if k.Pod != nil {
		if pod, ok := t.views.Pods.Get(k.Namespace, k.Pod.Name); !ok || !alive(pod, k.Pod.UID, now) {
			return fmt.Errorf("pod %s/%s of the token is gone", k.Namespace, k.Pod.Name)
		}
	}
	if k.Secret != nil && c.Issuer != secretIssuer {
		if secret, ok := t.views.Secrets.Get(k.Namespace, k.Secret.Name); !ok || !alive(secret, k.Secret.UID, now) {
			return fmt.Errorf("secret %s/%s of the token is gone", k.Namespace, k.Secret.Name)
		}
	}
	if k.Node != nil && k.Pod == nil { // beside a pod the node is only news
		if node, ok := t.views.Nodes.Get("", k.Node.Name); !ok || !alive(node, k.Node.UID, now) {
			return fmt.Errorf("node %s of the token is gone", k.Node.Name)
		}
	}
	return nil
}

func alive(o v1.Object, uid types.UID, now time.Time) bool {
	at := o.GetDeletionTimestamp()
	return o.GetUID() == uid && (at == nil || now.Before(at.Add(deletionLeeway)))
}

func (t *serviceToken) userInfo() *authenticationv1.UserInfo {
	k := &t.Kubernetes
	u := ServiceAccountUser(k.Namespace, k.ServiceAccount.Name)
	u.UID = string(k.ServiceAccount.UID)
	u.Extra = map[string]authenticationv1.ExtraValue{}
	if t.ID != "" {
		u.Extra[CredentialIDKey] = authenticationv1.ExtraValue{"JTI=" + t.ID}
	}
	if k.Pod != nil {
		u.Extra[PodNameKey] = authenticationv1.ExtraValue{k.Pod.Name}
		u.Extra[PodUIDKey] = authenticationv1.ExtraValue{string(k.Pod.UID)}
	}
	if k.Node != nil {
		u.Extra[NodeNameKey] = authenticationv1.ExtraValue{k.Node.Name}
		u.Extra[NodeUIDKey] = authenticationv1.ExtraValue{string(k.Node.UID)}
	}
	return u
}

// ServiceAccountUser is the user that a service account is, without UID and extras.
func ServiceAccountUser(namespace, name string) *authenticationv1.UserInfo {
	return &authenticationv1.UserInfo{Username: ServiceAccountPrefix + namespace + ":" + name, Groups: serviceAccountGroups(namespace)}
}

func serviceAccountGroups(namespace string) []string {
	return []string{serviceAccountsGroup, serviceAccountsGroup + ":" + namespace, AuthenticatedGroup}
}

// SplitServiceAccount takes a service account's user name apart.
func SplitServiceAccount(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, ServiceAccountPrefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}
