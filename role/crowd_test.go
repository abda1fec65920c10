package role_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// crowded is one of many clients: it shares its connection with others.
type crowded struct {
	*http.Client
	base, token string
	busy        *atomic.Int64 // answers 429, after which it asks again
}

// ask sends a request, again while the server is too busy, and gives the answer, whose body the caller closes.
func (c crowded) ask(method, path, body string) (*http.Response, error) {
	for {
		r, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Authorization", "Bearer "+c.token)
		r.Header.Set("Content-Type", "application/json")
		a, err := c.Do(r)
		if err != nil || a.StatusCode != http.StatusTooManyRequests {
			return a, err
		}
		_ = a.Body.Close()
		if a.Header.Get("Retry-After") == "" {
			return nil, fmt.Errorf("%s %s: 429 that does not say when to come again", method, path)
		}
		c.busy.Add(1)
		time.Sleep(50 * time.Millisecond) // sooner than it is told to
	}
}

// do is ask for an object or a list.
func (c crowded) do(method, path, body string, code int) (got metav1.PartialObjectMetadataList, err error) {
	a, err := c.ask(method, path, body)
	if err != nil {
		return got, err
	}
	defer func() { _ = a.Body.Close() }()
	data, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != code {
		err = fmt.Errorf("%s %s: HTTP %d: %s", method, path, a.StatusCode, data)
	}
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	return got, err
}

// live is a round of one client: an object's life, seen by GET, LIST and WATCH.
func (c crowded) live(name string) error {
	c.base += "/configmaps"
	object := func(value int) string {
		return text("v1", "ConfigMap", name, fmt.Sprintf(`"data":{"k":"%d"}`, value))
	}
	made, err := c.do("POST", "", object(0), 201)
	if err != nil {
		return err
	}
	if _, err = c.do("GET", "/"+name, "", 200); err != nil {
		return err
	}
	w, err := c.ask("GET", "?watch=1&fieldSelector=metadata.name%3D"+name+"&resourceVersion="+made.ResourceVersion, "")
	if err != nil {
		return err
	}
	defer func() { _ = w.Body.Close() }()
	if _, err = c.do("PUT", "/"+name, object(1), 200); err != nil {
		return err
	}
	if line, err := bufio.NewReader(w.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"type":"MODIFIED"`) || !strings.Contains(line, name) {
		return fmt.Errorf("watch of %s: %q, %w", name, line, err)
	}
	if list, err := c.do("GET", "?fieldSelector=metadata.name%3D"+name, "", 200); err != nil || len(list.Items) != 1 {
		return fmt.Errorf("list of %s: %d items, %w", name, len(list.Items), err)
	}
	_, err = c.do("DELETE", "/"+name, "", 200)
	return err
}

// TestCrowd: a thousand clients on a hundred connections all get on, and leave nothing behind.
func TestCrowd(t *testing.T) {
	const connections, each, users = 100, 10, 10
	rounds := 1
	if os.Getenv("PROVE") != "" {
		rounds = 20
	}
	p := api(t)
	var spaces, tokens []string
	for range users {
		ns := p.namespace(t)
		grant(t, p, ns, "system:serviceaccount:"+ns+":default", rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{""}, Resources: []string{"*"}})
		spaces, tokens = append(spaces, ns), append(tokens, p.token(t, ns))
	}
	trust := must(rest.TLSConfigFor(rest.AnonymousClientConfig(p.admin)))(t)
	before, goroutines := held(), runtime.NumGoroutine()
	var usage [2]syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage[0])
	var busy, done atomic.Int64
	var all sync.WaitGroup
	var transports []*http.Transport
	for n := range connections {
		transport := &http.Transport{TLSClientConfig: trust.Clone(), ForceAttemptHTTP2: true}
		transports = append(transports, transport)
		c := crowded{Client: &http.Client{Transport: transport, Timeout: 2 * time.Minute}, base: p.url + "/api/v1/namespaces/" + spaces[n%users], token: tokens[n%users], busy: &busy}
		first, err := c.ask("GET", "/configmaps", "") // the others find its connection
		if err != nil || first.StatusCode != 200 || first.ProtoMajor != 2 {
			t.Fatal(first, err)
		}
		_, _ = io.Copy(io.Discard, first.Body)
		_ = first.Body.Close()
		for k := range each {
			all.Go(func() {
				for round := range rounds {
					if err := c.live(fmt.Sprintf("c-%d-%d-%d", n, k, round)); err != nil {
						t.Error(err)
						return
					}
					done.Add(1)
				}
			})
		}
	}
	all.Wait()
	for _, transport := range transports {
		transport.CloseIdleConnections()
	}
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage[1])
	cpu := time.Duration(usage[1].Utime.Nano() + usage[1].Stime.Nano() - usage[0].Utime.Nano() - usage[0].Stime.Nano())
	if want := int64(connections * each * rounds); done.Load() != want {
		t.Errorf("%d of %d lives were lived", done.Load(), want)
	}
	for end := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines+50 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > goroutines+50 {
		t.Errorf("%d goroutines, %d before", now, goroutines)
	}
	after := held()
	t.Logf("%d requests, %v of processor time each with its client's, %d times too busy, heap and stacks %d KiB before and %d KiB after",
		6*done.Load(), cpu/time.Duration(6*max(1, done.Load())), busy.Load(), before>>10, after>>10)
	if after > before+24<<20 { // memory keeps recent events for some minutes, 16 MiB of them at most
		t.Errorf("%d MiB are left of it", (after-before)>>20)
	}
}
