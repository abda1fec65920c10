package role_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/store"
)

// stream is an open watch.
type stream struct {
	t       testing.TB
	decoder *json.Decoder
}

// watch opens a watch that ends with the test.
func (c caller) watch(t testing.TB, path string, query ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	r, err := http.NewRequestWithContext(ctx, "GET", c.url+path+"?watch=1&"+strings.Join(query, "&"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = res.Body.Close() })
	if res.StatusCode != http.StatusOK {
		t.Fatalf("watch %s: HTTP %d", path, res.StatusCode)
	}
	return &stream{t, json.NewDecoder(res.Body)}
}

// event is one line of a watch.
type event struct {
	Type   string
	Object struct {
		metav1.PartialObjectMetadata
		Code    int
		Reason  string
		Message string
	}
}

func (s *stream) next() (e event) {
	s.t.Helper()
	if err := s.decoder.Decode(&e); err != nil {
		s.t.Fatalf("watch: %v", err)
	}
	return e
}

// expect reads events and compares them with words such as "ADDED a".
func (s *stream) expect(want ...string) (last event) {
	s.t.Helper()
	for _, w := range want {
		last = s.next()
		if got := last.Type + " " + last.Object.Name; got != w {
			s.t.Fatalf("got %q, want %q", got, w)
		}
	}
	return last
}

const merge = "Content-Type: application/merge-patch+json"

func TestWatch(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	setup := func(t *testing.T) (path string, put, patch func(name, body string) string, del func(name string)) {
		path = "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
		put = func(name, more string) string {
			return into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", path, `{"metadata":{"name":"`+name+`"`+more+`}}`), 201).ResourceVersion
		}
		patch = func(name, body string) string {
			return into[metav1.PartialObjectMetadata](t, admin.do(t, "PATCH", path+"/"+name, body, merge), 200).ResourceVersion
		}
		del = func(name string) {
			if a := admin.do(t, "DELETE", path+"/"+name, ""); a.code != 200 {
				t.Fatalf("delete: HTTP %d %s", a.code, a.body)
			}
		}
		return path, put, patch, del
	}

	t.Run("what happens comes in order, once", func(t *testing.T) {
		path, put, patch, del := setup(t)
		put("a", "")
		w := admin.watch(t, path)
		put("b", "")
		patch("a", `{"data":{"k":"v"}}`)
		patch("a", `{"data":{"k":"v"}}`) // changes nothing: no event
		del("a")
		put("a", "")
		var last int
		for _, want := range []string{"ADDED a", "ADDED b", "MODIFIED a", "DELETED a", "ADDED a"} {
			e := w.expect(want)
			var at int
			if _, err := fmt.Sscan(e.Object.ResourceVersion, &at); err != nil || at <= last {
				t.Errorf("%s at revision %s, after %d", want, e.Object.ResourceVersion, last)
			}
			last = at
		}
	})
	t.Run("an object enters and leaves a selector", func(t *testing.T) {
		path, put, patch, del := setup(t)
		w := admin.watch(t, path, "labelSelector="+url.QueryEscape("color=red"))
		put("a", `,"labels":{"color":"red"}`)
		put("other", "")
		patch("a", `{"metadata":{"labels":{"color":"blue"}}}`)
		patch("a", `{"data":{"unseen":"v"}}`)
		at := patch("a", `{"metadata":{"labels":{"color":"red"}}}`)
		del("a")
		w.expect("ADDED a")
		gone := w.expect("DELETED a")
		if gone.Object.Labels["color"] != "red" {
			t.Errorf("the last state that matched is shown, not %v", gone.Object.Labels)
		}
		if e := w.expect("ADDED a"); e.Object.ResourceVersion != at {
			t.Errorf("revision %s, want %s", e.Object.ResourceVersion, at)
		}
		w.expect("DELETED a")
	})
	t.Run("a watch goes on where another ended", func(t *testing.T) {
		path, put, patch, del := setup(t)
		put("a", "")
		first := admin.watch(t, path)
		from := first.expect("ADDED a").Object.ResourceVersion
		patch("a", `{"data":{"k":"1"}}`)
		put("b", "")
		del("a")
		admin.watch(t, path, "resourceVersion="+from).expect("MODIFIED a", "ADDED b", "DELETED a")
	})
	t.Run("a watch from a revision that is still to come shows nothing before it", func(t *testing.T) {
		path, put, _, _ := setup(t)
		w := admin.watch(t, path, fmt.Sprintf("resourceVersion=%d", p.revision()+2))
		put("a", "")
		put("b", "")
		put("c", "")
		w.expect("ADDED c")
	})
	t.Run("initial events end with a bookmark", func(t *testing.T) {
		path, put, _, _ := setup(t)
		put("a", "")
		at := put("b", "")
		w := admin.watch(t, path, "sendInitialEvents=true", "resourceVersionMatch=NotOlderThan", "allowWatchBookmarks=true")
		w.expect("ADDED a", "ADDED b")
		mark := w.expect("BOOKMARK ")
		if mark.Object.Annotations[metav1.InitialEventsAnnotationKey] != "true" || mark.Object.ResourceVersion < at || mark.Object.Kind != "ConfigMap" {
			t.Errorf("bookmark %+v", mark.Object)
		}
		put("c", "")
		w.expect("ADDED c")
	})
	t.Run("one object by its name", func(t *testing.T) {
		path, put, _, _ := setup(t)
		w := admin.watch(t, path, "fieldSelector=metadata.name%3Db")
		put("a", "")
		put("b", "")
		w.expect("ADDED b")
	})
	t.Run("a watch from before what is remembered shows what the store has, or 410", func(t *testing.T) {
		path, put, patch, _ := setup(t)
		from := put("a", "")
		for n := range 20 {
			patch("a", fmt.Sprintf(`{"data":{"k":%q}}`, strings.Repeat(fmt.Sprint(n%10), 900<<10)))
		}
		w := admin.watch(t, path, "resourceVersion="+from)
		w.expect(slices.Repeat([]string{"MODIFIED a"}, 20)...)
		put("b", "")
		w.expect("ADDED b")
		if err := p.Direct.Registry.Store.Compact(t.Context(), store.Revision(p.revision())); err != nil {
			t.Fatal(err)
		}
		e := admin.watch(t, path, "resourceVersion="+from).next()
		if e.Type != "ERROR" || e.Object.Code != 410 || e.Object.Reason != "Expired" || !strings.HasPrefix(e.Object.Message, "too old resource version: "+from) {
			t.Errorf("got %s %d %s %s", e.Type, e.Object.Code, e.Object.Reason, e.Object.Message)
		}
	})
}

// TestFuture: what has not happened yet is waited for a little, then refused.
func TestFuture(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	path := "/api/v1/namespaces/" + p.namespace(t) + "/serviceaccounts"
	for name, where := range map[string]string{"list": path, "get": path + "/default"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := admin.do(t, "GET", where+"?resourceVersion=99999999", "").status()
			if s.Code != 504 || s.Reason != metav1.StatusReasonTimeout || !strings.HasPrefix(s.Message, "Timeout: Too large resource version: 99999999, current: ") ||
				s.Details == nil || len(s.Details.Causes) != 1 || s.Details.Causes[0].Type != metav1.CauseTypeResourceVersionTooLarge {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// TestPages: a list in pages shows one revision, whatever is written between them.
func TestPages(t *testing.T) {
	p := api(t)
	admin := p.as(t, "admin")
	path := "/api/v1/namespaces/" + p.namespace(t) + "/configmaps"
	for n := range 7 {
		into[metav1.PartialObjectMetadata](t, admin.do(t, "POST", path, text("v1", "ConfigMap", fmt.Sprintf("c%d", n))), 201)
	}
	var names []string
	var revision, token string
	for page := 0; ; page++ {
		l := into[metav1.PartialObjectMetadataList](t, admin.do(t, "GET", path+"?limit=3&continue="+token, ""), 200)
		for _, o := range l.Items {
			names = append(names, o.Name)
		}
		if page == 0 {
			revision = l.ResourceVersion
		}
		if l.ResourceVersion != revision {
			t.Errorf("page %d is of revision %s, the first of %s", page, l.ResourceVersion, revision)
		}
		if left := 7 - len(names); left > 0 && (l.RemainingItemCount == nil || *l.RemainingItemCount != int64(left)) {
			t.Errorf("page %d: %v items remain, want %d", page, l.RemainingItemCount, left)
		}
		if token = l.Continue; token == "" {
			break
		}
		admin.do(t, "DELETE", fmt.Sprintf("%s/c%d", path, 6-page), "")
		admin.do(t, "POST", path, text("v1", "ConfigMap", fmt.Sprintf("b%d", page)))
	}
	if got := strings.Join(names, " "); got != "c0 c1 c2 c3 c4 c5 c6" {
		t.Errorf("got %s", got)
	}
	now := into[metav1.PartialObjectMetadataList](t, admin.do(t, "GET", path, ""), 200)
	if len(now.Items) != 7 || now.Items[0].Name != "b0" {
		t.Errorf("now there are %d, first %s", len(now.Items), now.Items[0].Name)
	}
	exact := into[metav1.PartialObjectMetadataList](t, admin.do(t, "GET", path+"?resourceVersionMatch=Exact&resourceVersion="+revision, ""), 200)
	if len(exact.Items) != 7 || exact.Items[0].Name != "c0" || exact.ResourceVersion != revision {
		t.Errorf("as of %s: %d, first %s, revision %s", revision, len(exact.Items), exact.Items[0].Name, exact.ResourceVersion)
	}
}
