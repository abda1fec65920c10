package remote

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/client"
)

type viewKey struct {
	schema.GroupVersionResource
	client.Selection
}

// View keeps a copy of the selected objects by list and watch.
func (c *Client) View(_ context.Context, r client.Resource, s client.Selection) client.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := viewKey{r.GroupVersionResource, s}
	v := c.views[key]
	if v == nil {
		v = &view{client: c, resource: r, selection: s, objects: map[string]client.Object{}, synced: make(chan struct{}),
			owners: map[string]map[string]client.Object{}, nodes: map[string]map[string]client.Object{}, moved: make(chan struct{})}
		c.views[key] = v
		go v.run(c.ctx)
	}
	return v
}

// view is one list and watch.
type view struct {
	client    *Client
	resource  client.Resource
	selection client.Selection
	synced    chan struct{} // closed after the first list

	mu          sync.RWMutex
	objects     map[string]client.Object
	sorted      []string // keys in order; nil: to be made
	owners      map[string]map[string]client.Object
	nodes       map[string]map[string]client.Object
	version     uint64
	moved       chan struct{} // closed and replaced when version rises
	subscribers []*subscriber
}

// subscriber is one Subscribe: changes wait in pending until its goroutine has handed them on.
type subscriber struct {
	mu      sync.Mutex
	pending []client.Change
	wake    chan struct{}
}

func (s *subscriber) push(c client.Change) {
	s.mu.Lock()
	s.pending = append(s.pending, c)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func key(o client.Object) string { return o.GetNamespace() + "/" + o.GetName() }

// run lists and watches until ctx ends. A watch that breaks off is resumed where it was, on whichever server answers;
// when that fails several times, or the server has forgotten what came after, it begins with a list again.
func (v *view) run(ctx context.Context) {
	const least, most = 100 * time.Millisecond, 10 * time.Second
	pause := time.Duration(0)
	failed := func(err error) {
		pause = min(max(2*pause, least), most)
		v.client.log.Debug("watch interrupted", "object", v.resource.GroupVersionResource.Resource, "err", err)
		sleep(ctx, pause)
	}
	for ctx.Err() == nil {
		items, version, err := v.client.list(ctx, v.resource, v.selection, "")
		if err != nil {
			if !expired(err) && ctx.Err() == nil {
				failed(err)
			}
			continue
		}
		v.replace(items, version)
		pause = 0
		for tries := 0; tries < 5 && !expired(err) && ctx.Err() == nil; {
			began := time.Now()
			err = v.watch(ctx)
			switch took := time.Since(began); {
			case ctx.Err() != nil:
				return
			case took > time.Second:
				tries, pause = 0, 0
			case err == nil:
				sleep(ctx, time.Second) // a server that closes at once is not to be pressed
			}
			if err != nil && !expired(err) {
				tries++
				failed(err)
			}
		}
	}
}

// expired reports whether the server no longer has what was asked for.
func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// list reads all pages of a list.
func (c *Client) list(ctx context.Context, r client.Resource, s client.Selection, next string) (out []client.Object, version string, err error) {
	for {
		u := c.path(r, s.Namespace)
		query(u, s, "limit", "1000", "continue", next)
		data, err := c.do(ctx, http.MethodGet, u, "", nil)
		if err != nil {
			return nil, "", err
		}
		meta, items, err := decodeList(r, data)
		if err != nil {
			return nil, "", fmt.Errorf("list %s: %w", r.GroupVersionResource.Resource, err)
		}
		out = append(out, items...)
		if version == "" {
			version = meta.ResourceVersion
		}
		if next = meta.Continue; next == "" {
			return out, version, nil
		}
	}
}

// decodeList reads a list without knowing its Go type: every list is ListMeta and items.
func decodeList(r client.Resource, data []byte) (meta metav1.ListMeta, out []client.Object, err error) {
	if !bytes.HasPrefix(data, magic) {
		var l struct {
			Metadata metav1.ListMeta   `json:"metadata"`
			Items    []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(data, &l); err != nil {
			return meta, nil, err
		}
		for _, raw := range l.Items {
			o := r.New()
			if err := json.Unmarshal(raw, o); err != nil {
				return meta, nil, err
			}
			out = append(out, o)
		}
		return l.Metadata, out, nil
	}
	var u runtime.Unknown
	if err := u.Unmarshal(data[len(magic):]); err != nil {
		return meta, nil, err
	}
	// In protobuf a list is field 1, ListMeta, and field 2, the items, each a length and a message.
	for raw := u.Raw; len(raw) > 0; {
		tag, n := binary.Uvarint(raw)
		size, m := binary.Uvarint(raw[max(n, 0):])
		if n <= 0 || m <= 0 || tag&7 != 2 || uint64(len(raw)-n-m) < size {
			return meta, nil, errors.New("malformed protobuf list")
		}
		body := raw[n+m : n+m+int(size)]
		raw = raw[n+m+int(size):]
		switch tag >> 3 {
		case 1:
			if err := meta.Unmarshal(body); err != nil {
				return meta, nil, err
			}
		case 2:
			o := r.New()
			if err := o.(message).Unmarshal(body); err != nil {
				return meta, nil, err
			}
			out = append(out, o)
		}
	}
	return meta, out, nil
}

// replace makes the view what a list says and tells subscribers the difference.
func (v *view) replace(items []client.Object, version string) {
	v.mu.Lock()
	gone := make(map[string]client.Object, len(v.objects))
	for k, o := range v.objects {
		gone[k] = o
	}
	for _, o := range items {
		old := gone[key(o)]
		delete(gone, key(o))
		if old == nil || old.GetResourceVersion() != o.GetResourceVersion() {
			v.set(key(o), client.Change{Old: old, New: o})
		}
	}
	for k, o := range gone {
		v.set(k, client.Change{Old: o})
	}
	n, _ := strconv.ParseUint(version, 10, 64)
	v.advance(n)
	v.mu.Unlock()
	select {
	case <-v.synced:
	default:
		close(v.synced)
	}
}

// set takes in one change; v.mu is held.
func (v *view) set(k string, c client.Change) {
	if c.Old != nil {
		v.index(k, c.Old, false)
	}
	if (c.New == nil) != (c.Old == nil) {
		v.sorted = nil
	}
	if c.New == nil {
		delete(v.objects, k)
	} else {
		v.objects[k] = c.New
		v.index(k, c.New, true)
	}
	for _, s := range v.subscribers {
		s.push(c)
	}
}

func (v *view) index(k string, o client.Object, add bool) {
	put := func(m map[string]map[string]client.Object, value string) {
		switch {
		case value == "":
		case add && m[value] == nil:
			m[value] = map[string]client.Object{k: o}
		case add:
			m[value][k] = o
		default:
			delete(m[value], k)
			if len(m[value]) == 0 {
				delete(m, value)
			}
		}
	}
	for _, ref := range o.GetOwnerReferences() {
		if ref.Controller != nil && *ref.Controller {
			put(v.owners, string(ref.UID))
		}
	}
	if p, ok := o.(*corev1.Pod); ok {
		put(v.nodes, p.Spec.NodeName)
	}
}

// advance raises the version; v.mu is held.
func (v *view) advance(n uint64) {
	if n > v.version {
		v.version = n
		close(v.moved)
		v.moved = make(chan struct{})
	}
}

// watch follows one stream until the server closes it (nil) or something is wrong.
func (v *view) watch(ctx context.Context) error {
	u := v.client.path(v.resource, v.selection.Namespace)
	query(u, v.selection, "watch", "true", "allowWatchBookmarks", "true", "resourceVersion", strconv.FormatUint(v.Version(), 10))
	resp, err := v.client.send(ctx, http.MethodGet, u, "", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	next := jsonEvents(resp.Body)
	if strings.HasPrefix(resp.Header.Get("Content-Type"), protobuf) {
		next = protobufEvents(resp.Body)
	}
	for {
		kind, data, err := next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if kind == "ERROR" {
			var status metav1.Status
			if err := decodeInto(data, &status); err != nil {
				return err
			}
			return &apierrors.StatusError{ErrStatus: status}
		}
		o := v.resource.New()
		if err := decodeInto(data, o); err != nil {
			return fmt.Errorf("decode watch event: %w", err)
		}
		v.mu.Lock()
		old := v.objects[key(o)]
		switch kind {
		case "ADDED", "MODIFIED":
			v.set(key(o), client.Change{Old: old, New: o})
		case "DELETED":
			v.set(key(o), client.Change{Old: cmp.Or(old, o)})
		}
		v.advance(client.Version(o))
		v.mu.Unlock()
	}
}

func jsonEvents(r io.Reader) func() (string, []byte, error) {
	d := json.NewDecoder(r)
	return func() (string, []byte, error) {
		var e struct {
			Type   string          `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		err := d.Decode(&e)
		return e.Type, e.Object, err
	}
}

// protobufEvents reads frames of a length in four bytes and a WatchEvent.
func protobufEvents(r io.Reader) func() (string, []byte, error) {
	b := bufio.NewReaderSize(r, 16<<10)
	return func() (string, []byte, error) {
		var size [4]byte
		if _, err := io.ReadFull(b, size[:]); err != nil {
			return "", nil, err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n > 64<<20 {
			return "", nil, fmt.Errorf("watch frame of %d bytes", n)
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(b, data); err != nil {
			return "", nil, err
		}
		var e metav1.WatchEvent
		err := e.Unmarshal(data)
		return e.Type, e.Object.Raw, err
	}
}

func (v *view) WaitSynced(ctx context.Context) error {
	select {
	case <-v.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *view) Synced() bool {
	select {
	case <-v.synced:
		return true
	default:
		return false
	}
}

func (v *view) Get(namespace, name string) client.Object {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.objects[namespace+"/"+name]
}

func (v *view) List(namespace string) []client.Object {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sorted == nil {
		v.sorted = make([]string, 0, len(v.objects))
		for k := range v.objects {
			v.sorted = append(v.sorted, k)
		}
		slices.Sort(v.sorted)
	}
	var out []client.Object
	from := 0
	if namespace != "" {
		from, _ = slices.BinarySearch(v.sorted, namespace+"/")
	}
	for _, k := range v.sorted[from:] {
		if namespace != "" && !strings.HasPrefix(k, namespace+"/") {
			break
		}
		out = append(out, v.objects[k])
	}
	return out
}

func (v *view) By(index, value string) []client.Object {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var set map[string]client.Object
	switch index {
	case "owner":
		set = v.owners[value]
	case "node":
		set = v.nodes[value]
	default:
		panic("remote: no index " + index)
	}
	out := make([]client.Object, 0, len(set))
	for _, o := range set {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b client.Object) int { return strings.Compare(key(a), key(b)) })
	return out
}

func (v *view) Version() uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.version
}

// WaitVersion waits until the view has seen an event of that revision or later. A write that the view's
// selection does not take never shows up in it: callers bound the wait.
func (v *view) WaitVersion(ctx context.Context, n uint64) error {
	for {
		v.mu.RLock()
		have, moved := v.version, v.moved
		v.mu.RUnlock()
		if have >= n {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (v *view) Subscribe(ctx context.Context, f func(client.Change)) {
	s := &subscriber{wake: make(chan struct{}, 1)}
	v.mu.Lock()
	for _, o := range v.objects {
		s.push(client.Change{New: o})
	}
	v.subscribers = append(v.subscribers, s)
	v.mu.Unlock()
	go func() {
		defer func() {
			v.mu.Lock()
			v.subscribers = slices.DeleteFunc(v.subscribers, func(o *subscriber) bool { return o == s })
			v.mu.Unlock()
		}()
		for {
			select {
			case <-s.wake:
			case <-ctx.Done():
				return
			}
			s.mu.Lock()
			batch := s.pending
			s.pending = nil
			s.mu.Unlock()
			for _, c := range batch {
				if ctx.Err() != nil {
					return
				}
				f(c)
			}
		}
	}()
}
