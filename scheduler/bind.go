package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

type apiQuantity = resource.Quantity

// writesAtOnce is how many writes are under way at most.
const writesAtOnce = 64

// outbox does writes in goroutines of its own, limit at once; more wait their turn in order.
type outbox struct {
	limit int

	mu      sync.Mutex
	todo    []func()
	workers int
	group   sync.WaitGroup
}

// do has f done and returns at once.
func (o *outbox) do(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.todo = append(o.todo, f)
	if o.workers < o.limit {
		o.workers++
		o.group.Go(o.work)
	}
}

func (o *outbox) work() {
	for {
		o.mu.Lock()
		if len(o.todo) == 0 {
			o.workers--
			o.mu.Unlock()
			return
		}
		f := o.todo[0]
		o.todo[0] = nil
		o.todo = o.todo[1:]
		o.mu.Unlock()
		f()
	}
}

// wait blocks until all is done.
func (o *outbox) wait() { o.group.Wait() }

// bind writes a decision. The pod stays counted on the node until the view shows what became of it.
func (s *scheduler) bind(ctx context.Context, e *entry, node string) {
	obj := e.ask.obj
	b := &corev1.Binding{ObjectMeta: v1.ObjectMeta{Namespace: obj.Namespace, Name: obj.Name, UID: obj.UID},
		Target: corev1.ObjectReference{Kind: "Node", Name: node}}
	s.out.do(func() {
		if ctx.Err() != nil {
			return
		}
		_, err := s.Client.Create(ctx, client.Pods.Resource, obj.Namespace, obj.Name, "binding", b)
		if err == nil {
			s.tell(obj, corev1.EventTypeNormal, "Scheduled", fmt.Sprintf("Successfully assigned %s/%s to %s", obj.Namespace, obj.Name, node))
			s.post(func() { s.bound(obj) })
			return
		}
		if ctx.Err() == nil {
			s.Log.Info("pod not bound", "object", e.ask.key, "node", node, "err", err)
			s.undo(ctx, e, fmt.Errorf("bind pod %s to node %s: %w", e.ask.key, node, err))
		}
	})
}

func (s *scheduler) bound(obj *corev1.Pod) {
	s.queue.refused = 0
	if e := s.queue.entries[obj.UID]; e != nil && e.place == nowhere {
		s.drop(obj.UID)
	}
}

// undo ends an assumption whose binding had an error. An error may hide a success, so the server is
// asked until it answers: what may be bound stays counted.
func (s *scheduler) undo(ctx context.Context, e *entry, cause error) {
	obj := e.ask.obj
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		got, err := client.Pods.Get(ctx, s.Client, obj.Namespace, obj.Name)
		switch {
		case err == nil && got.UID == obj.UID && got.Spec.NodeName != "":
			s.post(func() { s.bound(obj) })
			return // the view will say
		case err == nil, apierrors.IsNotFound(err):
			s.post(func() { s.forget(ctx, e, cause) })
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// forget takes the pod off its node again and tries it later, if it is still there.
func (s *scheduler) forget(ctx context.Context, e *entry, cause error) {
	now := s.Now()
	if p := e.ask.pod; p.assumed && p.node != nil {
		s.cache.discount(p)
		s.queue.wake(byResources|byPorts|bySpread|byNeighbours, now)
	}
	if s.queue.entries[e.ask.obj.UID] == e && e.place == nowhere {
		if obj, ok := s.views.pods.Get(e.ask.obj.Namespace, e.ask.obj.Name); ok && obj.UID == e.ask.obj.UID {
			e.ask = s.cache.newAsk(obj) // it may have changed meanwhile
		}
		s.queue.retry(e, now)
		s.report(ctx, e, corev1.PodReasonSchedulerError, cause.Error(), "")
	}
}

// tell records an event about a pod.
func (s *scheduler) tell(obj *corev1.Pod, kind, reason, message string) {
	if s.Events != nil {
		s.Events.Event(corev1.SchemeGroupVersion.WithKind("Pod"), obj, kind, reason, message)
	}
}

// gatedMessage is what the condition of a pod with scheduling gates says.
const gatedMessage = "Scheduling is blocked due to non-empty scheduling gates"

// gated says of a pod that its gates keep it from being scheduled; it does not enter the queue.
func (s *scheduler) gated(ctx context.Context, obj *corev1.Pod) {
	s.drop(obj.UID)
	s.report(ctx, &entry{ask: &ask{obj: obj, pod: &pod{brief: briefOf(obj), key: obj.Namespace + "/" + obj.Name}}, said: saidOf(obj)},
		corev1.PodReasonSchedulingGated, gatedMessage, "")
}

// saidOf is what a pod's status says of its scheduling.
func saidOf(obj *corev1.Pod) said {
	for i := range obj.Status.Conditions {
		if c := &obj.Status.Conditions[i]; c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return said{c.Reason, c.Message, obj.Status.NominatedNodeName}
		}
	}
	return said{room: obj.Status.NominatedNodeName}
}

// said is the reason and message of PodScheduled=False, and status.nominatedNodeName.
type said struct{ reason, message, room string }

// report writes PodScheduled=False and the node where room is kept, if the status does not say so already.
func (s *scheduler) report(ctx context.Context, e *entry, reason, message, room string) {
	before, now := e.said, said{reason, message, room}
	if before == now {
		return
	}
	e.said = now
	obj := e.ask.obj
	c := map[string]any{"type": corev1.PodScheduled, "status": corev1.ConditionFalse, "reason": reason, "message": message,
		"lastProbeTime": nil, "observedGeneration": obj.Generation}
	if before.reason == "" {
		c["lastTransitionTime"] = v1.NewTime(s.Now())
	}
	status := map[string]any{"conditions": []any{c}}
	if before.room != room {
		status["nominatedNodeName"] = room
		if room == "" {
			status["nominatedNodeName"] = nil
		}
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": obj.UID}, "status": status})
	if err != nil {
		s.Log.Error("condition not written", "object", e.ask.key, "err", err)
		return
	}
	s.out.do(func() {
		if ctx.Err() != nil {
			return
		}
		_, err := client.Pods.Patch(ctx, s.Client, obj.Namespace, obj.Name, "status", types.StrategicMergePatchType, patch)
		if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) {
			s.Log.Info("condition not written", "object", e.ask.key, "err", err)
			s.post(func() { e.said = said{} })
		}
	})
}
