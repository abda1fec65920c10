package audit

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/lighter-k8s/lighter/authz"
)

// wire is an Event as its type is published.
type wire = auditv1.Event

// memory is a trail of everything into a file.
func memory(t testing.TB, policy *Policy) (trail *Trail, read func() []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	now := func() time.Time { return time.Date(2026, 11, 26, 19, 0, 0, 5000, time.FixedZone("", 3600)) }
	l := NewLog(LogOptions{Path: path, Mode: Blocking, Log: slog.New(slog.DiscardHandler), Now: now})
	return New(policy, now, l, nil), func() []string {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	}
}

// everything is a policy of one level.
func everything(l Level) *Policy { return &Policy{Rules: []Rule{{Level: &l}}} }

// TestEncode: what we write by hand is, byte for byte, what encoding/json makes of the published type.
func TestEncode(t *testing.T) {
	user := authenticationv1.UserInfo{Username: "jöe <a&b>", UID: "u", Groups: []string{"g", `with "quotes"`}, Extra: map[string]authenticationv1.ExtraValue{"z": {"1", "2"}, "a/b": {"\x00\n"}, "none": {}}}
	tests := map[string]func(e *Event, a *authz.Attributes){
		"as little as can be":  func(e *Event, a *authz.Attributes) { e.Received = time.Time{}; a.User = authenticationv1.UserInfo{} },
		"a path":               func(e *Event, a *authz.Attributes) { *a = authz.Attributes{Verb: "get", Path: "/healthz", User: user} },
		"somebody else's name": func(e *Event, a *authz.Attributes) { e.Impersonated = &user },
		"strange clients":      func(e *Event, a *authz.Attributes) { e.UserAgent = "a\u2028b\t\x7f"; e.RequestURI = "/a?b=c&d=<e>" },
		"an error": func(e *Event, a *authz.Attributes) {
			e.Status = &metav1.Status{Status: "Failure", Message: `no "x"`, Reason: "NotFound", Details: &metav1.StatusDetails{Name: "x"}}
		},
		"annotations": func(e *Event, a *authz.Attributes) {
			e.trail = &Trail{} // as Begin sets it
			e.Annotate("z/b", "1")
			e.Annotate("a", "<")
			e.Annotate("a", "the first stays")
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			e := &Event{ID: NewID(), RequestURI: "/api/v1/namespaces/shop/pods/web/log", UserAgent: "kubectl", SourceIPs: []string{"10.0.0.1", "::1"}, Received: time.Date(2026, 1, 2, 3, 4, 5, 67, time.UTC)}
			a := authz.Attributes{ResourceRequest: true, User: user, Verb: "get", Resource: "pods", Namespace: "shop", Name: "web", Subresource: "log", Version: "v1"}
			change(e, &a)
			trail, read := memory(t, everything(Metadata))
			if err := trail.Begin(e, &a); err != nil {
				t.Fatal(err)
			}
			e.Judged(authz.Allow, `RBAC: allowed by "x"`)
			if err := e.Reached(ResponseComplete, 200); err != nil {
				t.Fatal(err)
			}
			lines := read()
			if len(lines) != 2 {
				t.Fatalf("%d lines, want 2: %q", len(lines), lines)
			}
			for _, line := range lines {
				var w wire
				dec := json.NewDecoder(strings.NewReader(line))
				dec.DisallowUnknownFields()
				if err := dec.Decode(&w); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				again, err := json.Marshal(w)
				if err != nil {
					t.Fatal(err)
				}
				if string(again) != line && e.Received != (time.Time{}) { // metav1 has null for no time
					t.Errorf("got  %s\nwant %s", line, again)
				}
				if a.User.Username != "" && !reflect.DeepEqual(w.User, user) || string(w.AuditID) != e.ID || w.RequestURI != e.RequestURI || w.Verb != a.Verb || (w.ObjectRef != nil) != a.ResourceRequest {
					t.Errorf("%+v of %+v", w, a)
				}
			}
		})
	}
}

func TestBodies(t *testing.T) {
	const object = `{"kind":"ConfigMap", "metadata":{"name":"a","uid":"1","managedFields":[{}]},
		"data":{"n":1.50}}`
	const list = `{"kind":"List","items":[` + object + `]}`
	yes := true
	tests := map[string]struct {
		level        Level
		omit         bool
		sent, answer string
		want         string
	}{
		"metadata has none":             {Metadata, false, object, object, " | "},
		"what is sent":                  {Request, false, object, object, `{"kind":"ConfigMap","metadata":{"name":"a","uid":"1","managedFields":[{}]},"data":{"n":1.50}} | `},
		"what is answered":              {RequestResponse, false, `[1, 2]`, object, `[1,2] | {"kind":"ConfigMap","metadata":{"name":"a","uid":"1","managedFields":[{}]},"data":{"n":1.50}}`},
		"without owners, in lists too":  {RequestResponse, true, object, list, `{"data":{"n":1.50},"kind":"ConfigMap","metadata":{"name":"a","uid":"1"}} | {"items":[{"data":{"n":1.50},"kind":"ConfigMap","metadata":{"name":"a","uid":"1"}}],"kind":"List"}`},
		"without owners, where none is": {RequestResponse, true, `[ 1]`, `{"kind": "Status"}`, `[1] | {"kind":"Status"}`},
		"what is no JSON":               {RequestResponse, false, `{`, "nothing", " | "},
		"what is too long":              {Request, false, `"` + strings.Repeat("a", Longest) + `"`, "", " | , audit.k8s.io/truncated"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := everything(tt.level)
			if tt.omit {
				p.Rules[0].OmitManagedFields = &yes
			}
			trail, read := memory(t, p)
			e := &Event{ID: NewID()}
			a := ask(t, "joe: create configmaps in shop")
			if err := trail.Begin(e, &a); err != nil {
				t.Fatal(err)
			}
			if e.WantsRequest() {
				e.Sent([]byte(tt.sent))
			}
			if e.WantsResponse() {
				e.Answered([]byte(tt.answer))
			}
			_ = e.Reached(ResponseComplete, 201)
			lines := read()
			var w wire
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &w); err != nil {
				t.Fatal(err)
			}
			body := func(o *runtime.Unknown) string {
				if o == nil {
					return ""
				}
				return string(o.Raw)
			}
			got := body(w.RequestObject) + " | " + body(w.ResponseObject)
			for key := range w.Annotations {
				got += ", " + key
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAbout(t *testing.T) {
	trail, read := memory(t, everything(Metadata))
	a := ask(t, "joe: create pods in shop")
	e := &Event{ID: strings.Repeat("i", 300), UserAgent: strings.Repeat("a", 2000), RequestURI: "/" + strings.Repeat("u", 9000)}
	if err := trail.Begin(e, &a); err != nil {
		t.Fatal(err)
	}
	e.About(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "another", UID: "1", ResourceVersion: "5", GenerateName: "web-"}})
	e.Named("web-1")
	e.Named("web-2")
	_ = e.Reached(ResponseComplete, 201)
	var w wire
	if err := json.Unmarshal([]byte(read()[1]), &w); err != nil {
		t.Fatal(err)
	}
	if *w.ObjectRef != (auditv1.ObjectReference{Resource: "pods", Namespace: "shop", Name: "web-1", UID: "1", APIVersion: "v1", ResourceVersion: "5"}) {
		t.Errorf("got %+v", *w.ObjectRef)
	}
	for _, s := range []string{string(w.AuditID), w.UserAgent, w.RequestURI} {
		if len(s) > 8300 || !strings.HasSuffix(s, "...TRUNCATED") {
			t.Errorf("%d bytes that end in %q", len(s), s[len(s)-12:])
		}
	}
}

func TestTime(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 999999999), time.Unix(1795690000, 123456789), time.Date(9999, 12, 31, 23, 59, 59, 5000, time.FixedZone("", 7200))} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000000Z"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := NewID()
		if len(id) != 36 || id[14] != '4' || !strings.ContainsRune("89ab", rune(id[19])) || strings.Count(id, "-") != 4 || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
}

func FuzzString(f *testing.F) {
	f.Add("a<b>&\"\\\u2028\xff\x00")
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendString(nil, s); !bytes.Equal(got, want) {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

// BenchmarkCreate is all that a request pays: the ID, the verdict of the default policy, the event of a create by an
// administrator, and the copy into the log's buffer, whose goroutine writes to a file beside it.
func BenchmarkCreate(b *testing.B) {
	l := NewLog(LogOptions{Path: filepath.Join(b.TempDir(), "audit.log"), Mode: Batch, MaxSize: 100 << 20, MaxBackups: 1, Log: slog.New(slog.DiscardHandler), Now: time.Now})
	trail := New(DefaultPolicy(), time.Now, l, nil)
	done := make(chan error)
	ctx := b.Context()
	go func() { done <- trail.Run(ctx) }()
	b.Cleanup(func() { <-done })
	a := ask(b, "kubernetes-admin in system:masters,system:authenticated: create configmaps in shop")
	a.User.Extra = map[string]authenticationv1.ExtraValue{"authentication.kubernetes.io/credential-id": {"X509SHA256=4fc89e00f00e22f56aafa3761a97942df3d883c7b095d7c2b4c3c4854b73ef51"}}
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}}
	addresses := []string{"127.0.0.1"}
	b.ReportAllocs()
	began := cpu()
	for n := 0; b.Loop(); n++ {
		e := &Event{ID: NewID(), RequestURI: "/api/v1/namespaces/shop/configmaps?fieldManager=kbench", UserAgent: "kbench/v0.0.0 (linux/amd64) kubernetes/$Format", SourceIPs: addresses, Received: time.Now()}
		if err := trail.Begin(e, &a); err != nil {
			b.Fatal(err)
		}
		e.Judged(authz.Allow, "")
		e.About(object)
		_ = e.Reached(ResponseComplete, 201)
		if n%100 == 99 { // as fast as a server would be, the log keeps up
			_ = l.settled()
		}
	}
	b.ReportMetric(float64(cpu()-began)/1e3/float64(b.N), "cpu-us/op")
}

// cpu is what the process used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
