package role

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/apiserver"
	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/etcd"
)

func TestRemovable(t *testing.T) {
	tests := map[string]struct {
		members string // "-" does not answer, "?" has no vote; the first one is to go
		ok      bool
	}{
		"one of three":        {"a b c", true},
		"a dead one of three": {"a- b c", true},
		"a live one of three while another is dead": {"a b- c", false},
		"one of two": {"a b", true},
		"a live one of two while the other is dead": {"a b-", false},
		"the only one":                             {"a", false},
		"the only one that has a vote":             {"a b?", false},
		"one without a vote":                       {"a? b c-", true},
		"a live one of four while another is dead": {"a b- c d", true},
		"one of five while two are dead":           {"a b- c- d e", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var all []etcd.Member
			for _, word := range strings.Fields(tt.members) {
				m := etcd.Member{Name: word[:1], Learner: strings.HasSuffix(word, "?")}
				if strings.HasSuffix(word, "-") {
					m.Err = errors.New("no answer")
				}
				all = append(all, m)
			}
			if err := removable(all, 0); (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	tests := map[string]struct {
		before, live, want string // live "*" is everybody
		serves             bool
	}{
		"the first one":                         {"", "s", "s", true},
		"one adds itself":                       {"a b", "a b s", "a b s", true},
		"a dead one goes":                       {"a b s", "a s", "a s", true},
		"others add themselves":                 {"s", "a b s", "s", true},
		"one that stops goes, whoever lives":    {"a b s", "*", "a b", false},
		"the last one that stops leaves nobody": {"s", "*", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			live := map[string]bool{}
			for _, a := range strings.Fields(tt.live) {
				live[a] = true
			}
			if tt.live == "*" {
				live = nil
			}
			if got := strings.Join(addresses(strings.Fields(tt.before), live, "s", tt.serves), " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLook: a server lives as long as its Lease changes, by the clock of who looks.
func TestLook(t *testing.T) {
	r := &registration{name: "self", seen: map[string]sight{}}
	lease := func(name, version, address string) *coordinationv1.Lease {
		return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version, Annotations: map[string]string{addressAnnotation: address}}}
	}
	now := time.Now()
	looks := []struct {
		after time.Duration
		b     string // the version of b's Lease
		want  string
	}{
		{0, "1", "192.0.2.1 192.0.2.2"},
		{deadAfter - 1, "1", "192.0.2.1 192.0.2.2"},
		{deadAfter, "1", "192.0.2.1"},
		{deadAfter + 1, "2", "192.0.2.1 192.0.2.2"}, // it came back
		{3 * deadAfter, "2", "192.0.2.1"},
	}
	for _, l := range looks {
		live := r.look(t.Context(), []*coordinationv1.Lease{lease("self", "1", "192.0.2.1"), lease("b", l.b, "192.0.2.2"), lease("of-others", "1", "")}, now.Add(l.after))
		var got []string
		for a := range live {
			got = append(got, a)
		}
		slices.Sort(got)
		if text := strings.Join(got, " "); text != l.want {
			t.Errorf("after %s: %q, want %q", l.after, text, l.want)
		}
	}
}

// TestGate: what is under way on a server that falls ill ends, and what comes then is sent elsewhere; its own pages answer.
func TestMasters(t *testing.T) {
	begin := time.Now()
	m := masters{}
	at := func(key string, rev store.Revision) store.Entry {
		return store.Entry{Key: mastersKey + key, Revision: rev}
	}
	for _, tt := range []struct {
		after   time.Duration
		entries []store.Entry
		want    string
	}{
		{0, []store.Entry{at("a", 1), at("b", 2)}, "live a b, dead"},
		{20 * time.Second, []store.Entry{at("a", 3), at("b", 2)}, "live a b, dead"},
		{31 * time.Second, []store.Entry{at("a", 3), at("b", 2)}, "live a, dead b"},
		{40 * time.Second, []store.Entry{at("a", 4)}, "live a, dead"},
		{41 * time.Second, []store.Entry{at("a", 4), at("b", 2)}, "live a b, dead"}, // one that is seen anew
	} {
		live, dead := m.look(tt.entries, begin.Add(tt.after))
		words := []string{strings.Join(append([]string{"live"}, live...), " ") + ",", "dead"}
		for _, e := range dead {
			words = append(words, strings.TrimPrefix(e.Key, mastersKey))
		}
		if got := strings.Join(words, " "); got != tt.want {
			t.Errorf("after %s: %s, want %s", tt.after, got, tt.want)
		}
	}
}

// joe asks with the right password, and may.
type joe struct{}

func (joe) Authenticate(r *http.Request) (*authenticationv1.UserInfo, []string, error) {
	if name, password, _ := r.BasicAuth(); name != "joe" || password != "right" {
		return nil, nil, errors.New("who is that?")
	}
	return &authenticationv1.UserInfo{Username: "joe"}, nil, nil
}

func (joe) Authorize(context.Context, authz.Attributes) (authz.Decision, string, error) {
	return authz.Allow, "", nil
}

// TestGate: a server that falls ill ends its streams and refuses what is asked then, and who was refused stands in the audit trail.
func TestGate(t *testing.T) {
	w := &wellness{server: &Server{Log: slog.New(slog.DiscardHandler)}}
	w.recover(t.Context())
	trail := filepath.Join(t.TempDir(), "audit.log")
	api := apiserver.New(nil, nil)
	api.Authn, api.Authz, api.Log, api.Unfit = joe{}, joe{}, w.server.Log, w.unfit
	api.Audit = audit.New(audit.DefaultPolicy(), time.Now, audit.NewLog(audit.LogOptions{Path: trail, Mode: audit.Blocking, Log: w.server.Log, Now: time.Now}), nil)
	api.SetReady(nil)
	begun := make(chan struct{})
	web := httptest.NewServer(w.gate(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/watch" {
			close(begun)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}
		api.ServeHTTP(out, r)
	})))
	defer web.Close()
	password := "right"
	get := func(path string) (int, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, web.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("joe", password)
		resp, err := web.Client().Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "1" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
		if resp.StatusCode != http.StatusOK && !resp.Close {
			t.Errorf("%s: the connection stays", path)
		}
		return resp.StatusCode, nil
	}
	if code, err := get("/api"); code != http.StatusOK || err != nil {
		t.Errorf("well: %d %v", code, err)
	}
	ended := make(chan int)
	go func() { code, _ := get("/watch"); ended <- code }() // 0: broken off; an HTTP client may have asked again
	<-begun
	w.well.Swap(nil).end()
	if code := <-ended; code == http.StatusOK {
		t.Error("the watch ended in order")
	}
	for path, want := range map[string]int{"/api": 503, "/apis/apps/v1/deployments": 503, "/readyz": 200, "/metrics": 200} {
		if code, err := get(path); code != want || err != nil {
			t.Errorf("ill: %s: %d %v, want %d", path, code, err, want)
		}
	}
	password = "not heard of yet"
	if code, err := get("/api/v1/pods"); code != http.StatusServiceUnavailable || err != nil {
		t.Errorf("ill: who has a password that this server does not know: %d %v", code, err)
	}
	password = "right"
	written, err := os.ReadFile(trail)
	for _, want := range []string{`"ResponseComplete","requestURI":"/apis/apps/v1/deployments","verb":"list","user":{"username":"joe"}`, `"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{}`} {
		if err != nil || !slices.ContainsFunc(strings.Split(string(written), "\n"), func(line string) bool {
			return strings.Contains(line, want) && strings.Contains(line, `"reason":"ServiceUnavailable"`) && strings.Contains(line, `"code":503`)
		}) {
			t.Errorf("the audit trail has no 503 of %s: %v\n%s", want, err, written)
		}
	}
	w.recover(t.Context())
	if code, err := get("/api"); code != http.StatusOK || err != nil {
		t.Errorf("well again: %d %v", code, err)
	}
}

// TestKeepRefusesOtherNames: what a server gives is written below its folder and nowhere else.
func TestKeepRefusesOtherNames(t *testing.T) {
	m := &member{dir: t.TempDir()}
	for _, name := range []string{"../x", "/etc/x", "a/../../x"} {
		if err := m.keep(map[string][]byte{name: []byte("x")}); err == nil {
			t.Errorf("%q was written", name)
		}
	}
	if err := m.keep(map[string][]byte{"pki/ca.crt": []byte("one")}); err != nil {
		t.Fatal(err)
	}
	if err := m.keep(map[string][]byte{"pki/ca.crt": []byte("two")}); err == nil {
		t.Error("another cluster's authority took the place of the one that was there")
	}
}
