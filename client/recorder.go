package client

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Recorder writes Events about objects on behalf of one component. Repeated events
// are one Event whose count rises. Writing happens in Run; Event never blocks, and drops what
// a full queue cannot take: an Event is news, not state. Safe for concurrent use.
type Recorder struct {
	client    Client
	log       *slog.Logger
	component string
	host      string
	now       func() time.Time
	queue     chan *corev1.Event

	mu     sync.Mutex
	seen   map[eventKey]*corev1.Event // as last written
	spam   map[types.UID]*bucket
	serial uint64
}

// An object may have spamBurst events at once and then one each spamRefill: a ReplicaSet of 2,000 pods says
// no more than anybody reads. Source: client-go, record.EventCorrelator.
const (
	spamBurst  = 25
	spamRefill = 5 * time.Minute
)

type bucket struct {
	left float64
	at   time.Time
}

type eventKey struct {
	uid                          types.UID
	field, kind, reason, message string
}

// NewRecorder makes a Recorder for a component such as "kubelet"; host is the node it runs on, or "".
func NewRecorder(c Client, log *slog.Logger, component, host string, now func() time.Time) *Recorder {
	return &Recorder{client: c, log: log, component: component, host: host, now: now,
		queue: make(chan *corev1.Event, 1000), seen: map[eventKey]*corev1.Event{}, spam: map[types.UID]*bucket{}}
}

// Event records that something happened to an object of the kind. kind is corev1.EventTypeNormal or
// EventTypeWarning, reason a CamelCase word, message a sentence for people.
func (r *Recorder) Event(gvk schema.GroupVersionKind, o v1.Object, kind, reason, message string) {
	r.EventOn(Reference(gvk, o), kind, reason, message)
}

// EventOn is Event for what a reference names, such as one container of a pod (FieldPath).
func (r *Recorder) EventOn(ref corev1.ObjectReference, kind, reason, message string) {
	now := v1.NewTime(r.now())
	if !r.may(identity(ref), now.Time) {
		return
	}
	namespace := ref.Namespace
	if namespace == "" {
		namespace = v1.NamespaceDefault
	}
	e := &corev1.Event{
		ObjectMeta:     v1.ObjectMeta{Namespace: namespace},
		InvolvedObject: ref, Type: kind, Reason: reason, Message: message,
		Source:         corev1.EventSource{Component: r.component, Host: r.host},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
		ReportingController: r.component, ReportingInstance: r.host,
	}
	select {
	case r.queue <- e:
	default:
		r.log.Debug("event dropped, queue is full", "object", ref.Name, "reason", reason)
	}
}

// Reference names an object in the way that Events do.
func Reference(gvk schema.GroupVersionKind, o v1.Object) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Namespace: o.GetNamespace(),
		Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion()}
}

// Run writes events until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-r.queue:
			if err := r.write(ctx, e); err != nil && ctx.Err() == nil {
				r.log.Debug("event not written", "object", e.InvolvedObject.Name, "reason", e.Reason, "err", err)
			}
		}
	}
}

// write stores a new Event or raises the count of the one that said the same.
func (r *Recorder) write(ctx context.Context, e *corev1.Event) error {
	key := eventKey{e.InvolvedObject.UID, e.InvolvedObject.FieldPath, e.Type, e.Reason, e.Message}
	key.uid = identity(e.InvolvedObject)
	r.mu.Lock()
	old := r.seen[key]
	r.mu.Unlock()
	if old != nil {
		patch := map[string]any{"count": old.Count + 1, "lastTimestamp": e.LastTimestamp}
		got, err := Events.Merge(ctx, r.client, old.Namespace, old.Name, "", patch)
		if err == nil {
			r.remember(key, got)
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	r.mu.Lock()
	r.serial++
	e.Name = fmt.Sprintf("%s.%x", e.InvolvedObject.Name, uint64(r.now().UnixNano())+r.serial)
	r.mu.Unlock()
	got, err := Events.Create(ctx, r.client, e)
	if err == nil {
		r.remember(key, got)
	}
	return err
}

// identity is the object's UID, or its name where it has none.
func identity(ref corev1.ObjectReference) types.UID {
	if ref.UID != "" {
		return ref.UID
	}
	return types.UID(ref.Kind + "/" + ref.Namespace + "/" + ref.Name)
}

// may tells whether there is room for one more event about the object.
func (r *Recorder) may(object types.UID, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.spam[object]
	if b == nil {
		if len(r.spam) >= 4096 {
			clear(r.spam)
		}
		b = &bucket{left: spamBurst, at: now}
		r.spam[object] = b
	}
	b.left = min(spamBurst, b.left+max(0, now.Sub(b.at).Seconds()/spamRefill.Seconds()))
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// remember keeps what was written for a later count; it forgets all when that becomes too much.
func (r *Recorder) remember(key eventKey, e *corev1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.seen) >= 2048 {
		clear(r.seen)
	}
	r.seen[key] = e
}
