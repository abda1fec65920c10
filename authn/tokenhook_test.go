package authn

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lighter-k8s/lighter/callout"
)

// tokenHook is a server that is asked about tokens, over TLS on this machine.
func tokenHook(t testing.TB, version string, ttl time.Duration, answer func(w http.ResponseWriter, r *authenticationv1.TokenReview)) (*Webhook, *atomic.Int32) {
	t.Helper()
	asked := new(atomic.Int32)
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		answer(w, &review)
	}))
	t.Cleanup(web.Close)
	server := callout.New(web.URL, web.Client())
	server.Pause = time.Microsecond
	return NewWebhook(server, version, []string{"us"}, ttl, slog.New(slog.DiscardHandler), NewMetrics("")), asked
}

func TestTokenWebhook(t *testing.T) {
	status := func(text string) func(http.ResponseWriter, *authenticationv1.TokenReview) {
		return func(w http.ResponseWriter, r *authenticationv1.TokenReview) {
			fmt.Fprintf(w, `{"kind":"TokenReview","apiVersion":%q,"status":%s}`, r.APIVersion, text)
		}
	}
	const ann = `"authenticated":true,"user":{"username":"ann","uid":"7","groups":["dev"],"extra":{"k":["v"]}}`
	tests := map[string]struct {
		answer func(http.ResponseWriter, *authenticationv1.TokenReview)
		wanted []string
		want   string // user, then audiences; "! " and part of the error
	}{
		"a user":                          {status("{" + ann + "}"), nil, "ann uid:7 dev k=v for us"},
		"a user, for whom it may be":      {status("{" + ann + `,"audiences":["us","x"]}`), nil, "ann uid:7 dev k=v for us"},
		"a user, for others":              {status("{" + ann + `,"audiences":["x"]}`), nil, "! not for"},
		"asked for others, and for them":  {status("{" + ann + `,"audiences":["x"]}`), []string{"x", "y"}, "ann uid:7 dev k=v for x"},
		"asked for others, knows of none": {status("{" + ann + "}"), []string{"x"}, "! not for"},
		"nobody":                          {status(`{"authenticated":false}`), nil, "nobody"},
		"nobody, with a reason":           {status(`{"error":"it is old"}`), nil, "! it is old"},
		"a user without a name":           {status(`{"authenticated":true,"user":{}}`), nil, "! names no user"},
		"an answer to something else": {func(w http.ResponseWriter, _ *authenticationv1.TokenReview) {
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1"}`)
		}, nil, "! want a TokenReview"},
		"an answer in another version": {func(w http.ResponseWriter, _ *authenticationv1.TokenReview) {
			fmt.Fprint(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1alpha1","status":{"authenticated":true,"user":{"username":"ann"}}}`)
		}, nil, "! want a TokenReview"},
		"what is no JSON":            {func(w http.ResponseWriter, _ *authenticationv1.TokenReview) { fmt.Fprint(w, `yes`) }, nil, "! token webhook"},
		"a server that is not well":  {func(w http.ResponseWriter, _ *authenticationv1.TokenReview) { http.Error(w, "no", 500) }, nil, "! HTTP 500"},
		"a server that says it back": {func(w http.ResponseWriter, r *authenticationv1.TokenReview) { http.Error(w, r.Spec.Token, 400) }, nil, "! HTTP 400"},
	}
	for name, tt := range tests {
		for _, version := range []string{"v1", "v1beta1"} {
			t.Run(name+" "+version, func(t *testing.T) {
				hook, _ := tokenHook(t, version, 0, func(w http.ResponseWriter, r *authenticationv1.TokenReview) {
					if r.APIVersion != "authentication.k8s.io/"+version || r.Kind != "TokenReview" || r.Spec.Token != "opaque" || len(r.Spec.Audiences) == 0 {
						t.Errorf("asked %+v", r)
					}
					tt.answer(w, r)
				})
				u, audiences, err := hook.AuthenticateToken(t.Context(), "opaque", tt.wanted)
				got := told(u, err)
				if audiences != nil {
					got += " for " + strings.Join(audiences, " ")
				}
				if strings.Contains(got, "opaque") {
					t.Errorf("the token is in %q", got)
				}
				if want, bad := strings.CutPrefix(tt.want, "! "); bad && (err == nil || !strings.Contains(got, want)) || !bad && got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		}
	}
}

func TestTokenWebhookRemembers(t *testing.T) {
	well := new(atomic.Bool)
	answer := func(w http.ResponseWriter, r *authenticationv1.TokenReview) {
		if !well.Load() {
			http.Error(w, "no", 400)
			return
		}
		fmt.Fprintf(w, `{"kind":"TokenReview","apiVersion":%q,"status":{"authenticated":%v,"user":{"username":"ann"}}}`, r.APIVersion, r.Spec.Token == "good")
	}
	hook, asked := tokenHook(t, "v1", time.Minute, answer)
	if _, _, err := hook.AuthenticateToken(t.Context(), "good", nil); err == nil {
		t.Fatal("a server that is not well knows somebody")
	}
	well.Store(true)
	for range 3 {
		if u, _, err := hook.AuthenticateToken(t.Context(), "good", nil); err != nil || u.Username != "ann" {
			t.Errorf("got %v, %v", u, err)
		}
		if u, _, err := hook.AuthenticateToken(t.Context(), "bad", nil); err != nil || u != nil {
			t.Errorf("got %v, %v", u, err)
		}
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times, want 3: what went wrong is not remembered, the two answers are", n)
	}
	if _, _, err := hook.AuthenticateToken(t.Context(), "good", []string{"us", "x"}); err != nil || asked.Load() != 4 {
		t.Errorf("other audiences are another question: %v, asked %d times", err, asked.Load())
	}
	for key, a := range hook.answers.m {
		a := *a
		a.until = time.Now()
		hook.answers.m[key] = &a
	}
	if _, _, err := hook.AuthenticateToken(t.Context(), "good", nil); err != nil || asked.Load() != 5 {
		t.Errorf("an answer counts for its time: %v, asked %d times", err, asked.Load())
	}
}

// TestWhoSeesTokens: a webhook is shown what nobody else takes, never the cluster's own tokens.
func TestWhoSeesTokens(t *testing.T) {
	w := newWorld(t, nil)
	hook, asked := tokenHook(t, "v1", 0, func(w http.ResponseWriter, r *authenticationv1.TokenReview) {
		fmt.Fprintf(w, `{"kind":"TokenReview","apiVersion":%q,"status":{"authenticated":true,"user":{"username":"ann"}}}`, r.APIVersion)
	})
	bearer := Bearer{w.Tokens, Bootstrap{w.views.Secrets}, hook}
	ring := w.Tokens.ring.Load()
	forged, err := sign(ring.key, ring.signer, map[string]any{"iss": w.Tokens.issuer, "aud": []string{"us"}, "exp": 1})
	if err != nil {
		t.Fatal(err)
	}
	for token, shown := range map[string]bool{"opaque": true, "abcdef.0123456789abcdef": true, "eyJ.not.one": true, forged: false} {
		before := asked.Load()
		u, _, err := bearer.AuthenticateToken(t.Context(), token, nil)
		if (asked.Load() > before) != shown || (u != nil && err == nil) != shown {
			t.Errorf("%s: shown %v, got %v, %v", token, asked.Load() > before, u, err)
		}
	}
}
