package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client/clienttest"
)

// world is a cluster with a service account web/app, a pod of it on node n1, and a secret.
type world struct {
	*Tokens
	account                        *corev1.ServiceAccount
	accounts, pods, secrets, nodes *clienttest.View
}

func meta(namespace, name string) v1.ObjectMeta {
	return v1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name)}
}

func newWorld(t testing.TB, key crypto.Signer) *world {
	t.Helper()
	w := &world{account: &corev1.ServiceAccount{ObjectMeta: meta("web", "app")}}
	var v Views
	v.ServiceAccounts, w.accounts = clienttest.Typed(w.account, &corev1.ServiceAccount{ObjectMeta: meta("web", "other")})
	v.Pods, w.pods = clienttest.Typed(pod())
	v.Secrets, w.secrets = clienttest.Typed(&corev1.Secret{ObjectMeta: meta("web", "s1")})
	v.Nodes, w.nodes = clienttest.Typed(&corev1.Node{ObjectMeta: meta("", "n1")})
	if key == nil {
		key = ecKey(t)
	}
	tokens, err := NewTokens(Issuer, nil, key, nil, v)
	if err != nil {
		t.Fatal(err)
	}
	w.Tokens = tokens
	return w
}

func pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: meta("web", "p1"), Spec: corev1.PodSpec{ServiceAccountName: "app", NodeName: "n1"}}
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// request is a TokenRequest; kind "" is bound to nothing.
func request(seconds int64, kind, name string, audiences ...string) *authenticationv1.TokenRequest {
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}
	if seconds != 0 {
		r.Spec.ExpirationSeconds = &seconds
	}
	if kind != "" {
		r.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}
	}
	return r
}

func (w *world) issue(t testing.TB, r *authenticationv1.TokenRequest) string {
	t.Helper()
	out, err := w.Issue(w.account, r)
	if err != nil {
		t.Fatal(err)
	}
	return out.Status.Token
}

func TestTokenSaysWhoAndWhere(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ES256": ecKey(t), "RS256": rsaKey} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, key)
			token := w.issue(t, request(0, "Pod", "p1"))
			for range 2 { // the second is answered from memory
				u, audiences, err := w.AuthenticateToken(t.Context(), token, nil)
				if err != nil {
					t.Fatal(err)
				}
				id := u.Extra[CredentialIDKey][0]
				u = u.DeepCopy()
				delete(u.Extra, CredentialIDKey)
				got, _ := json.Marshal(u)
				want := `{"username":"system:serviceaccount:web:app","uid":"uid-of-app","groups":["system:serviceaccounts","system:serviceaccounts:web","system:authenticated"],` +
					`"extra":{"authentication.kubernetes.io/node-name":["n1"],"authentication.kubernetes.io/node-uid":["uid-of-n1"],"authentication.kubernetes.io/pod-name":["p1"],"authentication.kubernetes.io/pod-uid":["uid-of-p1"]}}`
				if string(got) != want || len(audiences) != 1 || audiences[0] != Issuer || !strings.HasPrefix(id, "JTI=") {
					t.Errorf("got %s %v %s", got, audiences, id)
				}
			}
		})
	}
}

func TestTokenEndsWithWhatItIsBoundTo(t *testing.T) {
	leaving := func(o v1.ObjectMeta, ago time.Duration) v1.ObjectMeta {
		at := v1.NewTime(time.Now().Add(-ago))
		o.DeletionTimestamp, o.Finalizers = &at, []string{"f"}
		return o
	}
	again := func(o v1.ObjectMeta) v1.ObjectMeta { o.UID = "new"; return o }
	tests := map[string]struct {
		kind, name string
		change     func(w *world)
		good       bool
	}{
		"nothing changed":                    {"Pod", "p1", func(*world) {}, true},
		"pod deleted":                        {"Pod", "p1", func(w *world) { w.pods.Delete("web", "p1") }, false},
		"pod deleted, token not bound to it": {"", "", func(w *world) { w.pods.Delete("web", "p1") }, true},
		"pod deleted and made again":         {"Pod", "p1", func(w *world) { w.pods.Set(&corev1.Pod{ObjectMeta: again(meta("web", "p1"))}) }, false},
		"pod being deleted since 59 s":       {"Pod", "p1", func(w *world) { w.pods.Set(&corev1.Pod{ObjectMeta: leaving(meta("web", "p1"), 59*time.Second)}) }, true},
		"pod being deleted since 61 s":       {"Pod", "p1", func(w *world) { w.pods.Set(&corev1.Pod{ObjectMeta: leaving(meta("web", "p1"), 61*time.Second)}) }, false},
		"pod to be deleted in a minute":      {"Pod", "p1", func(w *world) { w.pods.Set(&corev1.Pod{ObjectMeta: leaving(meta("web", "p1"), -time.Minute)}) }, true},
		"node of the pod deleted":            {"Pod", "p1", func(w *world) { w.nodes.Delete("", "n1") }, true},
		"node deleted":                       {"Node", "n1", func(w *world) { w.nodes.Delete("", "n1") }, false},
		"node made again":                    {"Node", "n1", func(w *world) { w.nodes.Set(&corev1.Node{ObjectMeta: again(meta("", "n1"))}) }, false},
		"secret deleted":                     {"Secret", "s1", func(w *world) { w.secrets.Delete("web", "s1") }, false},
		"service account deleted":            {"", "", func(w *world) { w.accounts.Delete("web", "app") }, false},
		"service account made again":         {"", "", func(w *world) { w.accounts.Set(&corev1.ServiceAccount{ObjectMeta: again(meta("web", "app"))}) }, false},
		"service account being deleted, 61 s": {"", "", func(w *world) {
			w.accounts.Set(&corev1.ServiceAccount{ObjectMeta: leaving(meta("web", "app"), 61*time.Second)})
		}, false},
		"an hour passed":               {"", "", func(*world) { time.Sleep(time.Hour) }, false},
		"an hour less a second passed": {"", "", func(*world) { time.Sleep(time.Hour - time.Second) }, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, seen := range []bool{false, true} { // whether the token was verified before the change
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil)
					token := w.issue(t, request(3600, tt.kind, tt.name))
					if seen {
						if _, _, err := w.AuthenticateToken(t.Context(), token, nil); err != nil {
							t.Fatal(err)
						}
					}
					tt.change(w)
					u, _, err := w.AuthenticateToken(t.Context(), token, nil)
					if (err == nil) != tt.good || (u != nil) != tt.good {
						t.Errorf("seen before=%v: got %v %v, want good=%v", seen, u, err, tt.good)
					}
				})
			}
		})
	}
}

func TestAudiences(t *testing.T) {
	tests := map[string]struct {
		token, wanted []string
		common        string // "" is refused
	}{
		"none asked for is the API server":          {nil, nil, Issuer},
		"for the API server by name":                {[]string{Issuer}, nil, Issuer},
		"for a vault, shown to the API server":      {[]string{"vault"}, nil, ""},
		"for a vault, shown to the vault":           {[]string{"vault"}, []string{"vault", "x"}, "vault"},
		"for the API server, shown to a vault":      {nil, []string{"vault"}, ""},
		"for two, shown to one that also knows all": {[]string{"b", Issuer}, []string{"a", "b", Issuer}, "b " + Issuer},
		"wanted by nobody":                          {nil, []string{}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			token := w.issue(t, request(0, "", "", tt.token...))
			_, common, err := w.AuthenticateToken(t.Context(), token, tt.wanted)
			if got := strings.Join(common, " "); got != tt.common || (err == nil) != (tt.common != "") {
				t.Errorf("got %q %v", got, err)
			}
		})
	}
}

func TestIssue(t *testing.T) {
	withUID := request(0, "Pod", "p1")
	withUID.Spec.BoundObjectRef.UID = "another"
	group := request(0, "Pod", "p1")
	group.Spec.BoundObjectRef.APIVersion = "apps/v1"
	tests := map[string]struct {
		request *authenticationv1.TokenRequest
		check   func(error) bool
		says    string
	}{
		"nine minutes":           {request(599, "", ""), apierrors.IsInvalid, "may not specify a duration less than 10 minutes"},
		"more than 2^32 s":       {request(1<<32+1, "", ""), apierrors.IsInvalid, "may not specify a duration larger than 2^32 seconds"},
		"a pod that is not":      {request(0, "Pod", "nope"), apierrors.IsNotFound, `pods "nope" not found`},
		"a pod's earlier life":   {withUID, apierrors.IsConflict, "the UID in the bound object reference (another) does not match the UID in record"},
		"another kind":           {request(0, "ConfigMap", "c"), apierrors.IsBadRequest, "cannot bind token to object of type /v1, Kind=ConfigMap"},
		"a pod of another group": {group, apierrors.IsBadRequest, "cannot bind token to object of type apps/v1, Kind=Pod"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			out, err := w.Issue(w.account, tt.request)
			if err == nil || !tt.check(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v %v", out, err)
			}
		})
	}
	t.Run("a pod of another account", func(t *testing.T) {
		w := newWorld(t, nil)
		_, err := w.Issue(&corev1.ServiceAccount{ObjectMeta: meta("web", "other")}, request(0, "Pod", "p1"))
		if !apierrors.IsBadRequest(err) || err.Error() != `cannot bind token for serviceaccount "other" to pod running with different serviceaccount name.` {
			t.Error(err)
		}
	})
}

func TestLife(t *testing.T) {
	year := 365 * 24 * time.Hour
	tests := map[string]struct {
		request        *authenticationv1.TokenRequest
		status, expiry time.Duration
		warns          bool
	}{
		"not asked for":                        {request(0, "", ""), time.Hour, time.Hour, false},
		"asked for":                            {request(7200, "Pod", "p1"), 2 * time.Hour, 2 * time.Hour, false},
		"admission's, in a pod":                {request(3607, "Pod", "p1"), 3607 * time.Second, year, true},
		"admission's, in no pod":               {request(3607, "", ""), 3607 * time.Second, 3607 * time.Second, false},
		"admission's, for another audience":    {request(3607, "Pod", "p1", "vault"), 3607 * time.Second, 3607 * time.Second, false},
		"admission's, for one more audience":   {request(3607, "Pod", "p1", Issuer, "vault"), 3607 * time.Second, 3607 * time.Second, false},
		"admission's, for the API server only": {request(3607, "Pod", "p1", Issuer), 3607 * time.Second, year, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				out, err := w.Issue(w.account, tt.request)
				if err != nil {
					t.Fatal(err)
				}
				var c claims
				if err := decode(strings.Split(out.Status.Token, ".")[1], &c, true); err != nil {
					t.Fatal(err)
				}
				now := time.Now().Unix()
				if got := out.Status.ExpirationTimestamp.Sub(time.Now()); got != tt.status {
					t.Errorf("status says %v, want %v", got, tt.status)
				}
				if got := time.Duration(c.Expiry-now) * time.Second; got != tt.expiry {
					t.Errorf("token lives %v, want %v", got, tt.expiry)
				}
				if want := now + 3607; tt.warns != (c.Kubernetes.WarnAfter == want) {
					t.Errorf("warns after %d", c.Kubernetes.WarnAfter-now)
				}
			})
		})
	}
}

// TestTokensAreCounted: those of Secrets, those that should have been replaced, and all others; none that is refused.
func TestTokensAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		bound, free := w.issue(t, request(3607, "Pod", "p1")), w.issue(t, request(7200, "", ""))
		legacy, err := w.IssueForSecret(w.account, "long")
		if err != nil {
			t.Fatal(err)
		}
		w.secrets.Set(&corev1.Secret{ObjectMeta: meta("web", "long"), Type: corev1.SecretTypeServiceAccountToken, Data: map[string][]byte{"token": []byte(legacy)}})
		show := func(want string, tokens ...string) {
			t.Helper()
			for _, token := range tokens {
				_, _, _ = w.AuthenticateToken(t.Context(), token, nil) // some are refused
			}
			var got []string
			for _, c := range []prometheus.Counter{w.valid, w.stale, w.legacy} {
				var m dto.Metric
				if err := c.Write(&m); err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprint(m.GetCounter().GetValue()))
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("valid, stale and legacy: %s, want %s", s, want)
			}
		}
		show("3 0 1", bound, bound, free, legacy)
		time.Sleep(3608 * time.Second)
		show("4 1 1", bound, free)
		time.Sleep(time.Hour)
		show("4 2 1", bound, free) // the latter is over
	})
}

// forge makes a token of any header and claims, signed by key if there is one.
func forge(t testing.TB, key *ecdsa.PrivateKey, header, payload string) string {
	t.Helper()
	signed := encoding.EncodeToString([]byte(header)) + "." + encoding.EncodeToString([]byte(payload))
	if key == nil {
		return signed + "."
	}
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + encoding.EncodeToString(signature)
}

func TestAttacks(t *testing.T) {
	key := ecKey(t)
	w := newWorld(t, key)
	kid := w.ring.Load().signer.id
	h := `{"alg":"ES256","kid":"` + kid + `"}`
	const tail = `"iat":1,"exp":9999999999,"nbf":1,"jti":"j","kubernetes.io":{"namespace":"web","serviceaccount":{"name":"app","uid":"uid-of-app"}},"sub":"system:serviceaccount:web:app"}`
	const good = `{"aud":["` + Issuer + `"],"iss":"` + Issuer + `",` + tail
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the claims", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	mac := func(secret []byte) string {
		signed := encoding.EncodeToString([]byte(`{"alg":"HS256","kid":"`+kid+`"}`)) + "." + encoding.EncodeToString([]byte(good))
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(signed))
		return signed + "." + encoding.EncodeToString(m.Sum(nil))
	}
	public, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
	honest := forge(t, key, h, good)
	parts := strings.Split(honest, ".")
	tests := map[string]struct {
		token string
		good  bool
	}{
		"honest":                            {honest, true},
		"honest, audience as a string":      {forge(t, key, h, replace(`["`+Issuer+`"]`, `"`+Issuer+`"`)), true},
		"honest, with typ":                  {forge(t, key, `{"alg":"ES256","typ":"JWT","kid":"`+kid+`"}`, good), true},
		"alg none":                          {forge(t, nil, `{"alg":"none","kid":"`+kid+`"}`, good), false},
		"alg none, signed":                  {forge(t, key, `{"alg":"none","kid":"`+kid+`"}`, good), false},
		"no signature":                      {forge(t, nil, h, good), false},
		"zero signature":                    {parts[0] + "." + parts[1] + "." + encoding.EncodeToString(make([]byte, 64)), false},
		"alg HS256 with the public key":     {mac(public), false},
		"alg HS256 with an empty key":       {mac(nil), false},
		"alg of another key type":           {forge(t, key, `{"alg":"RS256","kid":"`+kid+`"}`, good), false},
		"alg in lower case":                 {forge(t, key, `{"alg":"es256","kid":"`+kid+`"}`, good), false},
		"kid is a path":                     {forge(t, key, `{"alg":"ES256","kid":"../../../dev/null"}`, good), false},
		"kid is missing":                    {forge(t, key, `{"alg":"ES256"}`, good), false},
		"kid of a key that is not ours":     {forge(t, ecKey(t), `{"alg":"ES256","kid":"x"}`, good), false},
		"our kid, another's signature":      {forge(t, ecKey(t), h, good), false},
		"key in the header":                 {forge(t, key, `{"alg":"ES256","kid":"`+kid+`","jwk":{"kty":"EC"}}`, good), false},
		"critical extension":                {forge(t, key, `{"alg":"ES256","kid":"`+kid+`","crit":["x"]}`, good), false},
		"two algs":                          {forge(t, key, `{"alg":"none","alg":"ES256","kid":"`+kid+`"}`, good), false},
		"two algs in two cases":             {forge(t, key, `{"ALG":"none","alg":"ES256","kid":"`+kid+`"}`, good), false},
		"two subjects":                      {forge(t, key, h, replace(`{"aud"`, `{"sub":"system:admin","aud"`)), false},
		"two namespaces":                    {forge(t, key, h, replace(`{"namespace"`, `{"namespace":"kube-system","namespace"`)), false},
		"two documents":                     {forge(t, key, h, good+good), false},
		"claims are a list":                 {forge(t, key, h, "["+good+"]"), false},
		"another issuer":                    {forge(t, key, h, replace(`"iss":"`+Issuer+`"`, `"iss":"https://evil"`)), false},
		"no issuer":                         {forge(t, key, h, replace(`"iss":"`+Issuer+`",`, ``)), false},
		"another audience":                  {forge(t, key, h, replace(`["`+Issuer+`"]`, `["x"]`)), false},
		"no audience":                       {forge(t, key, h, replace(`["`+Issuer+`"]`, `[]`)), false},
		"audience of null":                  {forge(t, key, h, replace(`["`+Issuer+`"]`, `null`)), false},
		"expired":                           {forge(t, key, h, replace(`"exp":9999999999`, `"exp":1000000000`)), false},
		"no expiry":                         {forge(t, key, h, replace(`"exp":9999999999,`, ``)), false},
		"expiry beyond a number":            {forge(t, key, h, replace(`9999999999`, `1e400`)), false},
		"not yet valid":                     {forge(t, key, h, replace(`"nbf":1`, `"nbf":9999999998`)), false},
		"issued in the future":              {forge(t, key, h, replace(`"iat":1`, `"iat":9999999998`)), false},
		"subject is another account":        {forge(t, key, h, replace(`serviceaccount:web:app`, `serviceaccount:kube-system:app`)), false},
		"account without UID":               {forge(t, key, h, replace(`"uid-of-app"`, `""`)), false},
		"bound to a pod without name":       {forge(t, key, h, replace(`{"namespace"`, `{"pod":{"name":"","uid":""},"namespace"`)), false},
		"claims changed after signing":      {parts[0] + "." + encoding.EncodeToString([]byte(replace("web", "wab"))) + "." + parts[2], false},
		"signature with a byte more":        {honest + "AA", false},
		"padded base64":                     {parts[0] + "." + parts[1] + "." + parts[2] + "==", false},
		"newline in the signature":          {parts[0] + "." + parts[1] + "." + parts[2][:10] + "\n" + parts[2][10:], false},
		"four parts":                        {honest + ".x", false},
		"too long":                          {forge(t, key, h, replace(`"jti":"j"`, `"jti":"`+strings.Repeat("j", maxToken)+`"`)), false},
		"signature as ASN.1 instead of r,s": {parts[0] + "." + parts[1] + "." + asn1Signature(t, key, parts[0]+"."+parts[1]), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, _, err := Bearer{w.Tokens}.AuthenticateToken(t.Context(), tt.token, nil)
			if (u != nil) != tt.good || (err == nil) != tt.good {
				t.Errorf("got %v %v", u, err)
			}
		})
	}
	if n := len(w.verified.m); n != 9 { // 3 honest ones, 3 of another time, 3 for another audience
		t.Errorf("%d tokens are remembered", n)
	}
}

func asn1Signature(t *testing.T, key *ecdsa.PrivateKey, signed string) string {
	sum := sha256.Sum256([]byte(signed))
	der, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return encoding.EncodeToString(der)
}

func TestKeysThatAreTooWeak(t *testing.T) {
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if _, err := NewTokens(Issuer, nil, p224, nil, Views{}); err == nil {
		t.Error("P-224 was taken")
	}
}

func TestTokensOfKeysThatChange(t *testing.T) {
	w := newWorld(t, nil)
	old, first, second := w.ring.Load().key, ecKey(t), ecKey(t)
	token := w.issue(t, request(0, "", ""))
	for _, step := range []struct {
		name    string
		key     crypto.Signer
		further []crypto.PublicKey
		good    bool
	}{
		{"its own", old, nil, true},
		{"another one signs", first, []crypto.PublicKey{old.Public()}, true},
		{"it is dropped", first, nil, false},
		{"another one is dropped", second, nil, false},
		{"it is back", second, []crypto.PublicKey{old.Public()}, true},
	} {
		if err := w.Use(step.key, step.further); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if u, _, err := w.AuthenticateToken(t.Context(), token, nil); (err == nil) != step.good || (u != nil) != step.good {
				t.Errorf("%s: got %v %v", step.name, u, err)
			}
		}
	}
}

func TestEarlierKeyStillVerifies(t *testing.T) {
	old := newWorld(t, nil)
	token := old.issue(t, request(0, "", ""))
	next, err := NewTokens(Issuer, nil, ecKey(t), []crypto.PublicKey{old.ring.Load().key.Public()}, old.views)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := next.AuthenticateToken(t.Context(), token, nil); err != nil {
		t.Error(err)
	}
	var set struct {
		Keys []map[string]string `json:"keys"`
	}
	data, err := next.Keys()
	if err != nil || json.Unmarshal(data, &set) != nil || len(set.Keys) != 2 || set.Keys[0]["kid"] != next.ring.Load().signer.id || set.Keys[0]["alg"] != "ES256" || len(set.Keys[0]["x"]) != 43 {
		t.Errorf("keys %s %v", data, err)
	}
	doc, err := next.Discovery("https://10.0.0.1:6443")
	want := `{"issuer":"` + Issuer + `","jwks_uri":"https://10.0.0.1:6443/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}`
	if err != nil || string(doc) != want {
		t.Errorf("got %s %v", doc, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := cache[int]{limit: 100}
	for i := range 1000 {
		c.put(sha256.Sum256([]byte{byte(i), byte(i >> 8)}), i)
	}
	if len(c.m) > 100 || len(c.m) < 50 {
		t.Errorf("%d entries", len(c.m))
	}
}

func TestCacheFindsWhatWasPushedOut(t *testing.T) {
	c := cache[int]{limit: 100}
	for i, proof := range []string{"ann", "bob", "cid"} {
		c.keep(7, proof, i) // one place for all
	}
	for range 2 {
		for i, proof := range []string{"ann", "bob", "cid"} {
			if got, ok := c.find(7, proof); !ok || got != i {
				t.Errorf("%s: got %d %v", proof, got, ok)
			}
		}
	}
	for _, proof := range []string{"", "an", "anm", "annn"} {
		if _, ok := c.find(7, proof); ok {
			t.Errorf("%q was never kept", proof)
		}
	}
}

func TestEqual(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 127, 128, 129, 1000} {
		a := strings.Repeat("a", n)
		if b := strings.Clone(a); !equal(a, b) || !equal(a, a) {
			t.Errorf("%d bytes are not equal to themselves", n)
		}
		for i := range n {
			if equal(a, a[:i]+"b"+a[i+1:]) {
				t.Errorf("%d bytes: another one at %d is not seen", n, i)
			}
		}
		if equal(a, a+"a") {
			t.Errorf("%d bytes are equal to more", n)
		}
	}
}

func FuzzToken(f *testing.F) {
	key := ecKey(f)
	w := newWorld(f, key)
	f.Add(w.issue(f, request(0, "Pod", "p1")))
	f.Add("eyJ.eyJ.x")
	f.Add(forge(f, nil, `{"alg":"none"}`, `{}`))
	f.Add("abcdef.0123456789abcdef")
	boot := Bootstrap{Secrets: w.views.Secrets}
	f.Fuzz(func(t *testing.T, token string) {
		u, _, err := Bearer{w.Tokens, boot}.AuthenticateToken(t.Context(), token, nil)
		if err == nil && u == nil {
			t.Fatal("neither a user nor an error")
		}
	})
}

func FuzzCheckKeys(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,{"c":null}]},"d":"e"}`))
	f.Add([]byte(`{"a":1,"a":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkKeys(data, inAnyCase) != nil || !json.Valid(data) {
			return
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("accepted %q, which is no object: %v", data, err)
		}
	})
}

func BenchmarkToken(b *testing.B) {
	w := newWorld(b, nil)
	token := w.issue(b, request(0, "Pod", "p1"))
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			w.verified = cache[*serviceToken]{limit: 1}
			if _, _, err := w.AuthenticateToken(b.Context(), token, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := w.AuthenticateToken(b.Context(), token, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
