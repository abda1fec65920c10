package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"sigs.k8s.io/yaml"
)

// testIssuer is an OpenID Connect issuer over TLS on this machine.
type testIssuer struct {
	url string
	ca  string

	mu      sync.Mutex
	keys    []signingKey
	answer  func(w http.ResponseWriter, r *http.Request) bool // in place of what it would say, if true
	fetched int                                               // how often its keys were asked for
}

type signingKey struct {
	id, alg string
	key     crypto.Signer
}

func newIssuer(t testing.TB, keys ...signingKey) *testIssuer {
	t.Helper()
	i := &testIssuer{keys: keys}
	web := httptest.NewTLSServer(http.HandlerFunc(i.serve))
	t.Cleanup(web.Close)
	i.url, i.ca = web.URL, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}))
	return i
}

func (i *testIssuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.answer != nil && i.answer(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/openid-configuration", "/elsewhere":
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"})
	case "/keys":
		i.fetched++
		var set struct {
			Keys []map[string]string `json:"keys"`
		}
		set.Keys = append(set.Keys, map[string]string{"kty": "oct", "k": "AAAA", "kid": "secret"}) // of a kind that says nothing here
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.public())
		}
		_ = json.NewEncoder(w).Encode(set)
	default:
		http.NotFound(w, r)
	}
}

func (i *testIssuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (k signingKey) public() map[string]string {
	out := map[string]string{"kid": k.id, "use": "sig", "alg": k.alg}
	switch key := k.key.Public().(type) {
	case *ecdsa.PublicKey:
		point, _ := key.Bytes()
		n := len(point) / 2
		out["kty"], out["crv"], out["x"], out["y"] = "EC", key.Curve.Params().Name, encoding.EncodeToString(point[1:n+1]), encoding.EncodeToString(point[n+1:])
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", encoding.EncodeToString(key.N.Bytes()), encoding.EncodeToString(big.NewInt(int64(key.E)).Bytes())
	}
	return out
}

// token signs claims; header in place of the key's own where it is not "".
func (k signingKey) token(t testing.TB, claims, header string) string {
	t.Helper()
	if header == "" {
		header = fmt.Sprintf(`{"alg":%q,"kid":%q}`, k.alg, k.id)
	}
	signed := encoding.EncodeToString([]byte(header)) + "." + encoding.EncodeToString([]byte(claims))
	a := algorithms[k.alg]
	sum := a.hash.New()
	sum.Write([]byte(signed))
	var o crypto.SignerOpts = a.hash
	if a.kind == 'P' {
		o = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash}
	}
	signature, err := k.key.Sign(rand.Reader, sum.Sum(nil), o)
	if err != nil {
		t.Fatal(err)
	}
	if a.kind == 'E' {
		var n struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &n); err != nil {
			t.Fatal(err)
		}
		size := (a.bits + 7) / 8
		signature = make([]byte, 2*size)
		n.R.FillBytes(signature[:size])
		n.S.FillBytes(signature[size:])
	}
	return signed + "." + encoding.EncodeToString(signature)
}

var rsaTestKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func curveKey(t testing.TB, c elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// claims are those of a token of the issuer that is good for an hour, with more behind them: `"sub":"ann"`.
func (i *testIssuer) claims(more string) string {
	return fmt.Sprintf(`{"iss":%q,"aud":["lighter","else"],"exp":%d,%s}`, i.url, time.Now().Add(time.Hour).Unix(), more)
}

// configuration has one jwt entry for the issuer; mappings is YAML at the depth of an entry's fields.
func (i *testIssuer) configuration(mappings string) []byte {
	ca, _ := json.Marshal(i.ca)
	return fmt.Appendf(nil, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: %s\n    audiences: [lighter]\n    certificateAuthority: %s\n%s",
		i.url, ca, mappings)
}

func structured(t testing.TB) *Structured {
	return &Structured{Own: []string{"us"}, Issuer: "https://kubernetes.default.svc", Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics("")}
}

// told shows a user: "name uid [groups] key=values".
func told(u *authenticationv1.UserInfo, err error) string {
	if err != nil {
		return "! " + err.Error()
	}
	if u == nil {
		return "nobody"
	}
	out := []string{u.Username}
	if u.UID != "" {
		out = append(out, "uid:"+u.UID)
	}
	for _, g := range u.Groups {
		if g != AuthenticatedGroup {
			out = append(out, g)
		}
	}
	var extra []string
	for k, v := range u.Extra {
		extra = append(extra, k+"="+strings.Join(v, "+"))
	}
	slices.Sort(extra)
	return strings.Join(append(out, extra...), " ")
}

const plainMappings = "  claimMappings:\n    username: {claim: sub, prefix: 'oidc:'}\n    groups: {claim: groups, prefix: 'oidc:'}\n"

func TestIDTokens(t *testing.T) {
	es := signingKey{"e", "ES256", curveKey(t, elliptic.P256())}
	keys := []signingKey{es, {"r", "RS256", rsaTestKey()}, {"p", "PS512", rsaTestKey()}, {"r5", "RS512", rsaTestKey()},
		{"e3", "ES384", curveKey(t, elliptic.P384())}, {"e5", "ES512", curveKey(t, elliptic.P521())}}
	i := newIssuer(t, keys...)
	s := structured(t)
	if err := s.Use(i.configuration(plainMappings)); err != nil {
		t.Fatal(err)
	}
	good := i.claims(`"sub":"ann","groups":["dev","ops"],"jti":"n1"`)
	const ann = "oidc:ann oidc:dev oidc:ops authentication.kubernetes.io/credential-id=JTI=n1"
	stranger := signingKey{"e", "ES256", curveKey(t, elliptic.P256())}
	claims := func(text string) string { return es.token(t, text, "") }
	now := time.Now().Unix()
	tests := map[string]struct{ token, want string }{
		"RS256":                           {keys[1].token(t, good, ""), ann},
		"PS512":                           {keys[2].token(t, good, ""), ann},
		"RS512":                           {keys[3].token(t, good, ""), ann},
		"ES256":                           {claims(good), ann},
		"ES384":                           {keys[4].token(t, good, ""), ann},
		"ES512":                           {keys[5].token(t, good, ""), ann},
		"a header without a key's name":   {es.token(t, good, `{"alg":"ES256"}`), ann},
		"a header with more in it":        {es.token(t, good, `{"alg":"ES256","kid":"e","jku":"https://elsewhere/","x5t":"x","typ":"at+jwt"}`), ann},
		"one group, as a string":          {claims(i.claims(`"sub":"ann","groups":"dev"`)), "oidc:ann oidc:dev"},
		"no groups":                       {claims(i.claims(`"sub":"ann"`)), "oidc:ann"},
		"groups that are null":            {claims(i.claims(`"sub":"ann","groups":null`)), "oidc:ann"},
		"claims that differ in case only": {claims(i.claims(`"sub":"ann","Sub":"eve"`)), "oidc:ann"},
		"an audience as a string":         {claims(strings.Replace(good, `["lighter","else"]`, `"lighter"`, 1)), ann},

		"of another issuer":              {claims(strings.Replace(good, i.url, "https://elsewhere", 1)), "nobody"},
		"no token":                       {"abc", "nobody"},
		"for another audience":           {claims(strings.Replace(good, `"lighter",`, "", 1)), "! not for"},
		"expired":                        {claims(fmt.Sprintf(`{"iss":%q,"aud":"lighter","exp":%d,"sub":"ann"}`, i.url, now-1)), "! expired"},
		"without an end":                 {claims(fmt.Sprintf(`{"iss":%q,"aud":"lighter","sub":"ann"}`, i.url)), "! no expiry"},
		"an end that is text":            {claims(fmt.Sprintf(`{"iss":%q,"aud":"lighter","exp":"%d","sub":"ann"}`, i.url, now+99)), "! no expiry"},
		"of tomorrow":                    {claims(i.claims(fmt.Sprintf(`"sub":"ann","nbf":%d`, now+86400))), "! not valid yet"},
		"signed by a stranger":           {stranger.token(t, good, ""), "! the signature is not good"},
		"another key of the issuer":      {es.token(t, good, `{"alg":"ES256","kid":"e3"}`), "! the signature is not good"},
		"alg none":                       {strings.TrimRight(es.token(t, good, `{"alg":"none"}`), "abc"), "! alg \"none\" is not supported"},
		"alg HS256":                      {es.token(t, good, `{"alg":"HS256","kid":"secret"}`), "! alg \"HS256\" is not supported"},
		"alg of another kind of key":     {es.token(t, good, `{"alg":"RS256","kid":"e"}`), "! the signature is not good"},
		"PKCS signed, PSS said":          {keys[1].token(t, good, `{"alg":"PS256","kid":"r"}`), "! the signature is not good"},
		"critical extensions":            {es.token(t, good, `{"alg":"ES256","kid":"e","crit":["b64"],"b64":false}`), "! crit"},
		"a header with a key twice":      {es.token(t, good, `{"alg":"ES256","kid":"e","ALG":"none"}`), "! duplicate key"},
		"a claim twice":                  {claims(i.claims(`"sub":"ann","sub":"eve"`)), "! duplicate key"},
		"no name":                        {claims(i.claims(`"sub":""`)), "! claim \"sub\""},
		"a name that is a number":        {claims(i.claims(`"sub":7`)), "! claim \"sub\""},
		"groups that are numbers":        {claims(i.claims(`"sub":"ann","groups":[1]`)), "! claim \"groups\""},
		"longer than anybody's":          {claims(i.claims(`"sub":"ann","x":"` + strings.Repeat("x", maxIDToken) + `"`)), "! too long"},
		"claims in another base64":       {claims(good) + "=", "! "},
		"nested deeper than one may say": {claims(i.claims(`"sub":"ann","x":` + strings.Repeat("[", 12000) + strings.Repeat("]", 12000))), "! "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				u, _, err := s.AuthenticateToken(t.Context(), tt.token, nil)
				got := told(u, err)
				if want, bad := strings.CutPrefix(tt.want, "! "); bad && (err == nil || !strings.Contains(got, want)) || !bad && got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
		})
	}
	if n := i.fetched; n != 1 {
		t.Errorf("keys fetched %d times, want once: made-up signatures must not make more of it", n)
	}
	if _, audiences, err := s.AuthenticateToken(t.Context(), claims(good), []string{"them", "us"}); err != nil || !slices.Equal(audiences, []string{"us"}) {
		t.Errorf("a token of an issuer is for the API server: got %q, %v", audiences, err)
	}
	if _, _, err := s.AuthenticateToken(t.Context(), claims(good), []string{"them"}); err == nil {
		t.Error("a token of an issuer is not for others")
	}
}

func TestClaimMappings(t *testing.T) {
	key := signingKey{"e", "ES256", curveKey(t, elliptic.P256())}
	i := newIssuer(t, key)
	tests := map[string]struct{ entry, claims, want string }{
		"an address that was shown":     {"  claimMappings: {username: {claim: email, prefix: ''}}", `"email":"a@b","email_verified":true`, "a@b"},
		"one of which nothing is said":  {"  claimMappings: {username: {claim: email, prefix: ''}}", `"email":"a@b"`, "a@b"},
		"one that was not":              {"  claimMappings: {username: {claim: email, prefix: ''}}", `"email":"a@b","email_verified":false`, "! email_verified"},
		"shown in words":                {"  claimMappings: {username: {claim: email, prefix: ''}}", `"email":"a@b","email_verified":"true"`, "! email_verified"},
		"a required claim":              {plainMappings + "  claimValidationRules: [{claim: hd, requiredValue: b}]", `"sub":"ann","hd":"b"`, "oidc:ann"},
		"a required claim of another":   {plainMappings + "  claimValidationRules: [{claim: hd, requiredValue: b}]", `"sub":"ann","hd":"c"`, `! claim "hd"`},
		"a required claim that is none": {plainMappings + "  claimValidationRules: [{claim: hd}]", `"sub":"ann"`, `! claim "hd"`},
		"a rule that holds":             {plainMappings + "  claimValidationRules: [{expression: 'claims.exp - claims.nbf <= 86400'}]", `"sub":"ann","nbf":` + fmt.Sprint(time.Now().Unix()), "oidc:ann"},
		"a rule that does not":          {plainMappings + "  claimValidationRules: [{expression: 'claims.hd == \"b\"', message: only from b}]", `"sub":"ann","hd":"c"`, "! only from b"},
		"a rule about nothing":          {plainMappings + "  claimValidationRules: [{expression: 'claims.hd == \"b\"'}]", `"sub":"ann"`, "! claim validation"},
		"expressions": {`  claimMappings:
    username: {expression: 'claims.sub + "@" + claims.org.name'}
    groups: {expression: 'claims.roles.split(",")'}
    uid: {expression: 'claims.sub'}
    extra:
    - {key: example.org/one, valueExpression: 'claims.sub'}
    - {key: example.org/none, valueExpression: '""'}
    - {key: example.org/some, valueExpression: '["a", "", "b"]'}
`, `"sub":"ann","org":{"name":"acme"},"roles":"dev,ops"`, "ann@acme uid:ann dev ops example.org/one=ann example.org/some=a+b"},
		"an expression without a name":   {"  claimMappings: {username: {expression: 'claims.name'}}", `"name":""`, "! gives no name"},
		"an expression of a number":      {"  claimMappings: {username: {expression: 'claims.name'}}", `"name":3`, "! want a string"},
		"groups of an expression: text":  {"  claimMappings: {username: {claim: sub, prefix: ''}, groups: {expression: 'claims.g'}}", `"sub":"ann","g":"dev"`, "ann dev"},
		"groups of an expression: empty": {"  claimMappings: {username: {claim: sub, prefix: ''}, groups: {expression: 'claims.g'}}", `"sub":"ann","g":""`, "ann"},
		"groups of an expression: null":  {"  claimMappings: {username: {claim: sub, prefix: ''}, groups: {expression: 'claims.g'}}", `"sub":"ann","g":null`, "ann"},
		"groups of an expression: map":   {"  claimMappings: {username: {claim: sub, prefix: ''}, groups: {expression: 'claims.g'}}", `"sub":"ann","g":{}`, "! want a string or a list"},
		"a uid that is not there":        {"  claimMappings: {username: {claim: sub, prefix: ''}, uid: {claim: id}}", `"sub":"ann"`, `! claim "id"`},
		"a user who may not be":          {"  claimMappings: {username: {claim: sub, prefix: ''}}\n  userValidationRules: [{expression: '!user.username.startsWith(\"system:\")', message: not a part}]", `"sub":"system:admin"`, "! not a part"},
		"a user who may be":              {"  claimMappings: {username: {claim: sub, prefix: ''}, groups: {claim: g, prefix: ''}}\n  userValidationRules: [{expression: 'user.groups.all(g, g != \"root\") && !(\"k\" in user.extra) && user.uid == \"\"'}]", `"sub":"ann","g":["dev"]`, "ann dev"},
		"a group that may not be":        {"  claimMappings: {username: {claim: sub, prefix: ''}, groups: {claim: g, prefix: ''}}\n  userValidationRules: [{expression: 'user.groups.all(g, g != \"system:masters\")'}]", `"sub":"ann","g":["system:masters"]`, "! user validation"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := structured(t)
			if err := s.Use(i.configuration(tt.entry)); err != nil {
				t.Fatal(err)
			}
			u, _, err := s.AuthenticateToken(t.Context(), key.token(t, i.claims(tt.claims), ""), nil)
			got := told(u, err)
			if want, bad := strings.CutPrefix(tt.want, "! "); bad && (err == nil || !strings.Contains(got, want)) || !bad && got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestConfigurations(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	entry := func(issuer, rest string) string {
		return head + "jwt:\n- issuer: {" + issuer + "}\n" + rest
	}
	const fine = "url: 'https://a.example', audiences: [x]"
	tests := map[string]struct{ file, want string }{
		"nothing but its kind":        {head, ""},
		"the version before":          {strings.Replace(entry(fine, plainMappings), "/v1", "/v1beta1", 1), ""},
		"one issuer":                  {entry(fine, plainMappings), ""},
		"no file at all":              {"", "'Kind' is missing"},
		"another kind":                {"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n", "want AuthenticationConfiguration"},
		"a field that is none":        {entry(fine+", color: red", plainMappings), `unknown field "jwt[0].issuer.color"`},
		"plain http":                  {entry("url: 'http://a.example', audiences: [x]", plainMappings), "jwt[0].issuer.url"},
		"no audience":                 {entry("url: 'https://a.example'", plainMappings), "jwt[0].issuer.audiences"},
		"two audiences":               {entry("url: 'https://a.example', audiences: [x, z]", plainMappings), "jwt[0].issuer.audienceMatchPolicy"},
		"two, and any of them":        {entry("url: 'https://a.example', audiences: [x, z], audienceMatchPolicy: MatchAny", plainMappings), ""},
		"our own issuer":              {entry("url: 'https://kubernetes.default.svc', audiences: [x]", plainMappings), "jwt[0].issuer.url"},
		"one issuer twice":            {entry(fine, plainMappings) + "- issuer: {" + fine + "}\n" + plainMappings, "jwt[1].issuer.url"},
		"an egress selector":          {entry(fine+", egressSelectorType: cluster", plainMappings), "jwt[0].issuer.egressSelectorType"},
		"an authority that is a joke": {entry(fine+", certificateAuthority: haha", plainMappings), "jwt[0].issuer.certificateAuthority"},
		"no name":                     {entry(fine, "  claimMappings: {}"), "jwt[0].claimMappings.username"},
		"CEL that is none":            {entry(fine, "  claimMappings: {username: {expression: 'claims.'}}"), "jwt[0].claimMappings.username.expression"},
		"CEL about other things":      {entry(fine, plainMappings+"  userValidationRules: [{expression: 'claims.sub == \"a\"'}]"), "jwt[0].userValidationRules[0].expression"},
		"an unverified address":       {entry(fine, "  claimMappings: {username: {expression: 'claims.email'}}"), "email_verified"},
		"a key in capitals":           {entry(fine, plainMappings+"    extra: [{key: Example.org/a, valueExpression: '\"a\"'}]"), "jwt[0].claimMappings.extra[0].key"},
		"nobody, for one path":        {head + "anonymous: {enabled: true, conditions: [{path: /x}]}", ""},
		"nobody, not, for a path":     {head + "anonymous: {enabled: false, conditions: [{path: /x}]}", "anonymous.conditions"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := structured(t).Use([]byte(tt.file))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAnonymous(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	tests := map[string]struct{ file, want string }{ // which of the paths nobody may ask for
		"no word of it":    {head, "/healthz"},
		"not at all":       {head + "anonymous: {enabled: false}", ""},
		"for all":          {head + "anonymous: {enabled: true}", "/healthz /api /x"},
		"for one path":     {head + "anonymous: {enabled: true, conditions: [{path: /x}]}", "/x"},
		"and not below it": {head + "anonymous: {enabled: true, conditions: [{path: /}]}", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := structured(t)
			if err := s.Use([]byte(tt.file)); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, path := range []string{"/healthz", "/api", "/x"} {
				if u, _, err := Any(s.Anonymous).Authenticate(httptest.NewRequest("GET", path, nil)); err == nil && u.Username == AnonymousUser {
					got = append(got, path)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// soon lets the next fetch be now.
func (s *Structured) soon() {
	for _, i := range s.current.Load().issuers {
		i.keys.mu.Lock()
		i.keys.next = time.Time{}
		i.keys.mu.Unlock()
	}
}

func TestIssuersKeysRotate(t *testing.T) {
	first, second := signingKey{"one", "ES256", curveKey(t, elliptic.P256())}, signingKey{"two", "ES256", curveKey(t, elliptic.P256())}
	i := newIssuer(t, first)
	s := structured(t)
	if err := s.Use(i.configuration(plainMappings)); err != nil {
		t.Fatal(err)
	}
	old, young := first.token(t, i.claims(`"sub":"ann"`), ""), second.token(t, i.claims(`"sub":"ann"`), "")
	must := func(token string, good bool, when string) {
		t.Helper()
		if u, _, err := s.AuthenticateToken(t.Context(), token, nil); (u != nil && err == nil) != good {
			t.Errorf("%s: got %v, %v, want good: %v", when, u, err, good)
		}
	}
	must(old, true, "the first key")
	i.set(func() { i.keys = []signingKey{first, second} })
	must(young, false, "a new key within seconds of the last fetch")
	s.soon()
	must(young, true, "a new key later")
	must(old, true, "the first key, which is still there")
	i.set(func() { i.keys = []signingKey{second} })
	must(old, true, "the first key, before anybody sees that it went")
	s.soon()
	for _, one := range s.current.Load().issuers {
		one.keys.current.Load().at.Store(0)
		if err := one.keys.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	must(old, false, "the first key, withdrawn")
	must(young, true, "the second key")

	n := i.fetched
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { must(first.token(t, i.claims(`"sub":"eve"`), ""), false, "made-up tokens") })
	}
	all.Wait()
	if i.fetched != n {
		t.Errorf("made-up tokens made us fetch keys %d times", i.fetched-n)
	}
	s.soon()
	i.set(func() {
		i.answer = func(w http.ResponseWriter, _ *http.Request) bool { http.Error(w, "away", 503); return true }
	})
	must(old, false, "an issuer that is away")
	must(young, true, "the second key, with an issuer that is away")
	must(second.token(t, i.claims(`"sub":"bob"`), ""), true, "a further token of it")
}

func TestIssuersThatAreNotThere(t *testing.T) {
	key := signingKey{"one", "ES256", curveKey(t, elliptic.P256())}
	tests := map[string]func(i *testIssuer, w http.ResponseWriter, r *http.Request) bool{
		"an error": func(_ *testIssuer, w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "no", 500)
			return true
		},
		"what is no JSON": func(_ *testIssuer, w http.ResponseWriter, _ *http.Request) bool { fmt.Fprint(w, "<html>"); return true },
		"another's document": func(_ *testIssuer, w http.ResponseWriter, r *http.Request) bool {
			fmt.Fprintf(w, `{"issuer":"https://elsewhere","jwks_uri":"https://%s/keys"}`, r.Host)
			return true
		},
		"keys without TLS": func(i *testIssuer, w http.ResponseWriter, r *http.Request) bool {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"http://%s/keys"}`, i.url, r.Host)
			return true
		},
		"a way to elsewhere": func(i *testIssuer, w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "/elsewhere", 302)
			return r.URL.Path != "/elsewhere"
		},
		"no keys": func(_ *testIssuer, w http.ResponseWriter, r *http.Request) bool {
			fmt.Fprint(w, `{"keys":[]}`)
			return r.URL.Path == "/keys"
		},
		"keys that are not safe": func(_ *testIssuer, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/keys" {
				return false
			}
			fmt.Fprint(w, `{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`)
			return true
		},
		"without an end": func(_ *testIssuer, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/keys" {
				return false
			}
			_, _ = w.Write(make([]byte, 2*mostKeys))
			return true
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, key)
			i.answer = func(w http.ResponseWriter, r *http.Request) bool { return answer(i, w, r) }
			s := structured(t)
			if err := s.Use(i.configuration(plainMappings)); err != nil {
				t.Fatalf("the server starts without its issuers: %v", err)
			}
			token := key.token(t, i.claims(`"sub":"ann"`), "")
			if u, _, err := s.AuthenticateToken(t.Context(), token, nil); err == nil {
				t.Fatalf("got %v", u)
			}
			i.set(func() { i.answer = nil })
			s.soon()
			if u, _, err := s.AuthenticateToken(t.Context(), token, nil); err != nil || u.Username != "oidc:ann" {
				t.Errorf("once the issuer is well: got %v, %v", u, err)
			}
		})
	}
	t.Run("another's certificate", func(t *testing.T) {
		i, other := newIssuer(t, key), newIssuer(t, key)
		_ = other
		a := newAuthority(t)
		i.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
		s := structured(t)
		if err := s.Use(i.configuration(plainMappings)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.AuthenticateToken(t.Context(), key.token(t, i.claims(`"sub":"ann"`), ""), nil); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a caller who goes", func(t *testing.T) {
		i := newIssuer(t, key)
		hold := make(chan struct{})
		i.answer = func(http.ResponseWriter, *http.Request) bool { <-hold; return false }
		s := structured(t)
		if err := s.Use(i.configuration(plainMappings)); err != nil {
			t.Fatal(err)
		}
		token := key.token(t, fmt.Sprintf(`{"iss":%q,"aud":"lighter","exp":%d,"sub":"ann"}`, i.url, time.Now().Unix()+60), "")
		var all sync.WaitGroup
		all.Go(func() { _, _, _ = s.AuthenticateToken(t.Context(), token, nil) }) // fetches
		for begun := false; !begun; {
			for _, one := range s.current.Load().issuers {
				one.keys.mu.Lock()
				begun = one.keys.flight != nil
				one.keys.mu.Unlock()
			}
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := s.AuthenticateToken(gone, token, nil); err == nil {
			t.Error("who is gone gets nothing")
		}
		close(hold)
		all.Wait()
		if u, _, err := s.AuthenticateToken(t.Context(), token, nil); err != nil || i.fetched != 1 {
			t.Errorf("got %v, %v after %d fetches", u, err, i.fetched)
		}
	})
}

func TestChange(t *testing.T) {
	key := signingKey{"one", "ES256", curveKey(t, elliptic.P256())}
	i, other := newIssuer(t, key), newIssuer(t, key)
	s := structured(t)
	if err := s.Use(i.configuration(plainMappings)); err != nil {
		t.Fatal(err)
	}
	token := key.token(t, i.claims(`"sub":"ann"`), "")
	who := func() string {
		u, _, err := s.AuthenticateToken(t.Context(), token, nil)
		return told(u, err)
	}
	if got := who(); got != "oidc:ann" {
		t.Fatal(got)
	}
	if err := s.Change(t.Context(), []byte("kind: x")); err == nil {
		t.Error("what is no configuration is used")
	}
	other.set(func() {
		other.answer = func(w http.ResponseWriter, _ *http.Request) bool { http.Error(w, "no", 500); return true }
	})
	if err := s.Change(t.Context(), other.configuration(plainMappings)); err == nil {
		t.Error("an issuer that is not there is used in place of one that is")
	}
	if got := who(); got != "oidc:ann" {
		t.Errorf("after changes that failed: %s", got)
	}
	if err := s.Change(t.Context(), i.configuration("  claimMappings: {username: {claim: sub, prefix: 'b:'}}")); err != nil {
		t.Fatal(err)
	}
	if got := who(); got != "b:ann" || i.fetched != 1 {
		t.Errorf("after a change of mappings: %s, keys fetched %d times", got, i.fetched)
	}
	other.set(func() { other.answer = nil })
	if err := s.Change(t.Context(), other.configuration(plainMappings)); err != nil {
		t.Fatal(err)
	}
	if got := who(); got != "nobody" {
		t.Errorf("after its issuer went: %s", got)
	}
}

func FuzzParseKeys(f *testing.F) {
	for _, k := range []signingKey{{"e", "ES256", curveKey(f, elliptic.P256())}, {"r", "RS256", rsaTestKey()}} {
		data, _ := json.Marshal(map[string]any{"keys": []any{k.public()}})
		f.Add(data)
	}
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-521","x":"AA","y":"AA"},{"kty":"RSA","n":"","e":""},null,1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := parseKeys(data)
		if err != nil {
			return
		}
		for name := range algorithms { // whatever the keys are, they can be asked
			if set.verify(header{Algorithm: name}, "a.b", make([]byte, 64)) {
				t.Errorf("%s: zeros are a signature", name)
			}
		}
	})
}

func FuzzIDToken(f *testing.F) {
	key := signingKey{"e", "ES256", curveKey(f, elliptic.P256())}
	i := newIssuer(f, key)
	s := structured(f)
	if err := s.Use(i.configuration(plainMappings)); err != nil {
		f.Fatal(err)
	}
	good := key.token(f, i.claims(`"sub":"ann"`), "")
	f.Add(good)
	f.Add("eyJ.e30.")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		if u, _, err := s.AuthenticateToken(t.Context(), token, nil); u != nil && err == nil && token != good && told(u, nil) != "oidc:ann" {
			t.Errorf("%q is %v", token, u)
		}
	})
}

func FuzzConfiguration(f *testing.F) {
	f.Add([]byte("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {url: 'https://a', audiences: [x]}\n" + plainMappings))
	f.Add([]byte("apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := structured(t)
		if err := s.Use(data); err == nil && yaml.Unmarshal(data, &map[string]any{}) != nil {
			t.Errorf("used, though no YAML: %q", data)
		}
	})
}

// BenchmarkIDToken is a request of a repeated caller with a token of an issuer: nothing is verified again.
func BenchmarkIDToken(b *testing.B) {
	key := signingKey{"e", "ES256", curveKey(b, elliptic.P256())}
	i := newIssuer(b, key)
	s := structured(b)
	if err := s.Use(i.configuration(plainMappings)); err != nil {
		b.Fatal(err)
	}
	token := key.token(b, i.claims(`"sub":"ann","groups":["dev","ops"]`), "")
	if _, _, err := s.AuthenticateToken(b.Context(), token, nil); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if u, _, err := s.AuthenticateToken(b.Context(), token, nil); err != nil || u == nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewIDToken is the first request with a token.
func BenchmarkNewIDToken(b *testing.B) {
	key := signingKey{"e", "ES256", curveKey(b, elliptic.P256())}
	i := newIssuer(b, key)
	s := structured(b)
	if err := s.Use(i.configuration(plainMappings)); err != nil {
		b.Fatal(err)
	}
	token := key.token(b, i.claims(`"sub":"ann","groups":["dev","ops"]`), "")
	b.ReportAllocs()
	for b.Loop() {
		s.current.Load().verified = cache[*idToken]{limit: 1}
		if u, _, err := s.AuthenticateToken(b.Context(), token, nil); err != nil || u == nil {
			b.Fatal(err)
		}
	}
}
