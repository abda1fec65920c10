package role_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	records "github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// The proofs of what a server holds in memory, in bytes. They run against the real handler over real HTTP/2 and TLS, in
// this process; the client is but a socket and a framer per connection, so that what grows is the server's. A slice
// runs always, the sizes that Lighter promises with PROVE set.

// slice is the small size, or with PROVE set the whole one.
func slice(small, whole int) int {
	if os.Getenv("PROVE") != "" {
		return whole
	}
	return small
}

// held is what the process holds on its heap and stacks once all garbage is gone.
func held() int64 {
	for range 3 { // weak pointers, pools and finalizers take more than one
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// wire is one HTTP/2 connection that reads only when it is told to.
type wire struct {
	t    testing.TB
	conn *tls.Conn
	out  *http2.Framer
	head bytes.Buffer
	enc  *hpack.Encoder
	next uint32
	host string
}

func (p *plane) wire(t testing.TB) *wire {
	t.Helper()
	config := tlsOf()
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", u.Host, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	w := &wire{t: t, conn: conn, out: http2.NewFramer(conn, conn), next: 1, host: u.Host}
	w.enc = hpack.NewEncoder(&w.head)
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	w.check(w.out.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
	w.check(w.out.WriteWindowUpdate(0, 1<<30))
	return w
}

// tlsOf is the administrator's TLS configuration, read once: its certificates are the client's memory.
var tlsOf = sync.OnceValue(func() *tls.Config {
	config, err := rest.TLSConfigFor(shared.admin)
	if err != nil {
		panic(err)
	}
	config.NextProtos = []string{"h2"}
	return config
})

func (w *wire) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// get begins a request.
func (w *wire) get(path, accept string) {
	w.t.Helper()
	w.head.Reset()
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", w.host}, {":path", path}, {"accept", accept}, {"user-agent", "proof"}} {
		w.check(w.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	w.check(w.out.WriteHeaders(http2.HeadersFrameParam{StreamID: w.next, BlockFragment: w.head.Bytes(), EndStream: true, EndHeaders: true}))
	w.next += 2
}

// answered reads until n answers have begun.
func (w *wire) answered(n int) {
	w.t.Helper()
	for n > 0 {
		f, err := w.out.ReadFrame()
		w.check(err)
		switch f := f.(type) {
		case *http2.HeadersFrame:
			n--
		case *http2.SettingsFrame:
			if !f.IsAck() {
				w.check(w.out.WriteSettingsAck())
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			w.t.Fatalf("server says %v", f)
		}
	}
}

const protobuf = "application/vnd.kubernetes.protobuf"

// TestAWatcherInBytes: idle watchers, each of another node's pods as kubelets have them, on few connections.
func TestAWatcherInBytes(t *testing.T) {
	p := api(t)
	n := slice(1000, 10000)
	p.wire(t).get("/livez", "*/*") // what the first connection alone costs
	before := held()
	for left := n; left > 0; left -= 500 {
		w := p.wire(t)
		for k := range min(left, 500) {
			w.get(fmt.Sprintf("/api/v1/pods?watch=1&allowWatchBookmarks=true&fieldSelector=spec.nodeName%%3Dproof-%d", left-k), protobuf+";stream=watch")
		}
		w.answered(min(left, 500))
	}
	each := (held() - before) / int64(n)
	t.Logf("%d watchers: %d bytes each", n, each)
	if each > 24<<10 {
		t.Errorf("a watcher takes %d bytes, at most 24 KiB are promised", each)
	}
}

// TestSlowReadersInBytes: watchers that read nothing while thousands of events pass, and full lists to clients that
// read 10 KB/s. Together they add little, a reader that keeps up misses nothing, and the slow are told 410 or are held up alone.
func TestSlowReadersInBytes(t *testing.T) {
	p := api(t)
	ns := p.namespace(t)
	watchers, lists, pods := slice(100, 1000), slice(20, 50), slice(1000, 10000)
	s := p.Direct.Registry
	put := func(n int, text string) uint64 {
		pod := newPodOf(ns, fmt.Sprintf("slow-%05d", n), text)
		value, err := records.EncodeStored(core.Pod, pod)
		if err != nil {
			t.Fatal(err)
		}
		at, err := s.Store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: watch.Key(core.Pod, ns, pod.Name), Value: value, Expect: store.Any}}})
		if err != nil {
			t.Fatal(err)
		}
		return uint64(at)
	}
	var last uint64
	filler := strings.Repeat("x", 5000)
	for n := range pods {
		last = put(n, filler)
	}
	if err := s.State.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/namespaces/" + ns + "/pods"
	for range logTurns { // the log of events is full before, as it always is on a busy server
		for n := range 200 {
			last = put(n, filler)
		}
	}
	if err := s.State.Wait(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	forget := func() { // the store in memory keeps all history, until it is told not to
		if err := s.Store.Compact(t.Context(), store.Revision(last)); err != nil {
			t.Fatal(err)
		}
	}
	forget()
	before := held()
	for range watchers {
		w := p.wire(t)
		w.get(fmt.Sprintf("%s?watch=1&resourceVersion=%d", path, last), protobuf+";stream=watch")
		w.answered(1) // and nothing more is read
	}
	ctx, stop := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	for n := range lists {
		w := p.wire(t)
		w.get(path, []string{protobuf, "application/json"}[n%2])
		reading.Go(func() {
			b := make([]byte, 1000)
			for ctx.Err() == nil {
				if _, err := w.conn.Read(b); err != nil {
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	seen, from := 0, last
	fast, err := s.State.Watch(t.Context(), core.Pod, watch.Filter{Namespace: ns}, last)
	if err != nil {
		t.Fatal(err)
	}
	defer fast.Close()
	writes := slice(1000, 5000)
	for n := range writes {
		last = put(n%200, filler)
		if n%50 == 49 || n == writes-1 {
			if err := s.State.Wait(t.Context(), last); err != nil {
				t.Fatal(err)
			}
			for {
				events, _, err := fast.Take(nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(events) == 0 {
					break
				}
				for _, e := range events {
					if e.Revision <= from {
						t.Fatalf("event %d after %d", e.Revision, from)
					}
					from = e.Revision
				}
				seen += len(events)
			}
		}
	}
	if seen != writes {
		t.Errorf("one who reads saw %d of %d events", seen, writes)
	}
	forget()
	grew := held() - before
	// The client's ends of the connections are in this process too: a TLS client holds some 50 KB of its own.
	clients := int64(watchers+lists) * clientSide(t, p)
	t.Logf("%d slow watchers and %d slow lists: %d bytes more, of which %d are the clients' ends", watchers, lists, grew, clients)
	if grew-clients > 64<<20 {
		t.Errorf("slow readers hold %d bytes, at most 64 MiB are promised", grew-clients)
	}
	stop()
	reading.Wait()
}

// newPodOf is a pod of the namespace with that much in an annotation.
func newPodOf(namespace, name, text string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), Annotations: map[string]string{"text": text}, Labels: map[string]string{"app": "slow"}},
		Spec: corev1.PodSpec{SchedulerName: "none", Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}

// logTurns times 200 events fill the log of events.
const logTurns = 10

// clientSide is what a connection's end in this process holds, taken from a server that holds next to nothing.
func clientSide(t *testing.T, p *plane) int64 {
	const n = 50
	var idle []*wire
	before := held()
	for range n {
		w := p.wire(t)
		w.get("/livez", "*/*")
		w.answered(1)
		idle = append(idle, w)
	}
	each := (held() - before) / n
	for _, w := range idle {
		_ = w.conn.Close()
	}
	return each / 2 // the other half is the server's, and counts as such
}
