package authn

import (
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOIDCFlags(t *testing.T) {
	key := signingKey{"k1", "ES256", curveKey(t, elliptic.P256())}
	i := newIssuer(t, key)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(i.ca), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		flags  OIDC
		claims string
		want   string
	}{
		"the subject, with the issuer before it":  {OIDC{UsernameClaim: "sub"}, `"sub":"ann"`, "ISSUER#ann"},
		"with a prefix":                           {OIDC{UsernameClaim: "sub", UsernamePrefix: "oidc:"}, `"sub":"ann"`, "oidc:ann"},
		"without any":                             {OIDC{UsernameClaim: "sub", UsernamePrefix: "-"}, `"sub":"ann"`, "ann"},
		"an address has none by itself":           {OIDC{UsernameClaim: "email"}, `"email":"ann@example.com","email_verified":true`, "ann@example.com"},
		"an address that is not verified":         {OIDC{UsernameClaim: "email"}, `"email":"ann@example.com","email_verified":false`, "! "},
		"an address with a prefix":                {OIDC{UsernameClaim: "email", UsernamePrefix: "x-"}, `"email":"ann@example.com"`, "x-ann@example.com"},
		"groups":                                  {OIDC{UsernameClaim: "sub", UsernamePrefix: "-", GroupsClaim: "roles"}, `"sub":"ann","roles":["a","b"]`, "ann a b"},
		"groups with a prefix":                    {OIDC{UsernameClaim: "sub", UsernamePrefix: "-", GroupsClaim: "roles", GroupsPrefix: "g:"}, `"sub":"ann","roles":"a"`, "ann g:a"},
		"groups nobody asked for":                 {OIDC{UsernameClaim: "sub", UsernamePrefix: "-"}, `"sub":"ann","groups":["a"]`, "ann"},
		"a claim that is required":                {OIDC{UsernameClaim: "sub", UsernamePrefix: "-", RequiredClaims: map[string]string{"hd": "x"}}, `"sub":"ann","hd":"x"`, "ann"},
		"a claim that is required and is another": {OIDC{UsernameClaim: "sub", UsernamePrefix: "-", RequiredClaims: map[string]string{"hd": "x"}}, `"sub":"ann","hd":"y"`, "! "},
		"an algorithm that may not sign":          {OIDC{UsernameClaim: "sub", SigningAlgs: []string{"RS256", "ES384"}}, `"sub":"ann"`, "! "},
		"an algorithm that may":                   {OIDC{UsernameClaim: "sub", UsernamePrefix: "-", SigningAlgs: []string{"RS256", "ES256"}}, `"sub":"ann"`, "ann"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := structured(t)
			tt.flags.Issuer, tt.flags.ClientID, tt.flags.CAFile = i.url, "lighter", ca
			if err := s.UseOIDC(tt.flags); err != nil {
				t.Fatal(err)
			}
			u, _, err := s.AuthenticateToken(t.Context(), key.token(t, i.claims(tt.claims), ""), nil)
			got := told(u, err)
			if want := strings.ReplaceAll(tt.want, "ISSUER", i.url); got != want && (want != "! " || !strings.HasPrefix(got, want)) {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	for name, o := range map[string]OIDC{
		"none signs so":  {Issuer: i.url, ClientID: "x", UsernameClaim: "sub", SigningAlgs: []string{"none"}},
		"not over https": {Issuer: "http://example.com", ClientID: "x", UsernameClaim: "sub"},
		"no such file":   {Issuer: i.url, ClientID: "x", UsernameClaim: "sub", CAFile: ca + "x"},
	} {
		if err := structured(t).UseOIDC(o); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// TestDistributedClaims: groups come from the server that the token names, if what it says is good.
func TestDistributedClaims(t *testing.T) {
	key, theirs, stranger := signingKey{"k1", "ES256", curveKey(t, elliptic.P256())}, signingKey{"k2", "ES256", curveKey(t, elliptic.P256())}, signingKey{"k2", "ES256", curveKey(t, elliptic.P256())}
	i := newIssuer(t, key)
	provider := newIssuer(t, theirs)
	both := i.ca + provider.ca
	asked, bearer := 0, ""
	var answer string
	provider.answer = func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/groups":
			asked++
			bearer = r.Header.Get("Authorization")
			_, _ = w.Write([]byte(answer))
			return true
		case "/moved":
			http.Redirect(w, r, "/groups", http.StatusFound)
			return true
		}
		return false
	}
	good := theirs.token(t, provider.claims(`"groups":["a","b"]`), "")
	at := func(endpoint, more string) string {
		return fmt.Sprintf(`"sub":"ann","_claim_names":{"groups":"src"},"_claim_sources":{"src":{"endpoint":%q%s}}`, endpoint, more)
	}
	tests := map[string]struct {
		claims, answer, want string
		asked                int
	}{
		"of another server":              {at(provider.url+"/groups", ""), good, "oidc:ann oidc:a oidc:b", 1},
		"with a token for it":            {at(provider.url+"/groups", `,"access_token":"secret"`), good, "oidc:ann oidc:a oidc:b", 1},
		"one group":                      {at(provider.url+"/groups", ""), theirs.token(t, provider.claims(`"groups":"a"`), ""), "oidc:ann oidc:a", 1},
		"of the same issuer":             {at(provider.url+"/groups", ""), key.token(t, i.claims(`"groups":"own"`), ""), "oidc:ann oidc:own", 1},
		"the token has them itself":      {`"groups":["c"],` + at(provider.url+"/groups", ""), good, "oidc:ann oidc:c", 0},
		"another claim is elsewhere":     {`"sub":"ann","_claim_names":{"roles":"src"},"_claim_sources":{"src":{"endpoint":"https://127.0.0.1:1/x"}}`, good, "oidc:ann", 0},
		"aggregated ones do not count":   {`"sub":"ann","_claim_names":{"groups":"src"},"_claim_sources":{"src":{"JWT":"x.y.z"}}`, good, "oidc:ann", 0},
		"no such source":                 {`"sub":"ann","_claim_names":{"groups":"other"},"_claim_sources":{"src":{"endpoint":"https://127.0.0.1:1/x"}}`, good, "! ", 0},
		"signed by somebody else":        {at(provider.url+"/groups", ""), stranger.token(t, provider.claims(`"groups":["a"]`), ""), "! ", 1},
		"for somebody else":              {at(provider.url+"/groups", ""), theirs.token(t, strings.Replace(provider.claims(`"groups":["a"]`), `["lighter","else"]`, `"else"`, 1), ""), "! ", 1},
		"expired":                        {at(provider.url+"/groups", ""), theirs.token(t, fmt.Sprintf(`{"iss":%q,"aud":"lighter","exp":%d,"groups":["a"]}`, provider.url, time.Now().Add(-time.Minute).Unix()), ""), "! ", 1},
		"without the claim":              {at(provider.url+"/groups", ""), theirs.token(t, provider.claims(`"roles":["a"]`), ""), "! ", 1},
		"no token":                       {at(provider.url+"/groups", ""), `{"groups":["a"]}`, "! ", 1},
		"too long":                       {at(provider.url+"/groups", ""), strings.Repeat("a.", maxIDToken), "! ", 1},
		"sent on to another place":       {at(provider.url+"/moved", ""), good, "! ", 0},
		"not over https":                 {at(strings.Replace(provider.url, "https", "http", 1)+"/groups", ""), good, "! ", 0},
		"an issuer that is no https URL": {at(provider.url+"/groups", ""), theirs.token(t, `{"iss":"file:///etc","aud":"lighter","exp":9999999999,"groups":["a"]}`, ""), "! ", 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := structured(t)
			data, _ := json.Marshal(both)
			config := strings.Replace(string(i.configuration(plainMappings)), string(quoted(i.ca)), string(data), 1)
			if err := s.Use([]byte(config)); err != nil {
				t.Fatal(err)
			}
			provider.set(func() { asked, bearer, answer = 0, "", tt.answer })
			token := key.token(t, i.claims(tt.claims), "")
			for range 2 { // what was found is remembered
				u, _, err := s.AuthenticateToken(t.Context(), token, nil)
				if got := told(u, err); got != tt.want && (tt.want != "! " || !strings.HasPrefix(got, tt.want)) {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				if tt.want == "! " {
					break
				}
			}
			provider.set(func() {
				if asked != tt.asked {
					t.Errorf("asked %d times, want %d", asked, tt.asked)
				}
				if want := strings.Contains(tt.claims, "access_token"); (bearer == "Bearer secret") != want {
					t.Errorf("asked with %q", bearer)
				}
			})
		})
	}
}

func quoted(s string) []byte {
	data, _ := json.Marshal(s)
	return data
}
