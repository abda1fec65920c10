package role

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/watch"
)

const expireEvery = time.Minute

// due says when an Event goes that is at a revision.
type due struct {
	revision uint64
	at       time.Time
}

// expire deletes Events whose time is up, until ctx ends. Some stores do so by themselves. Source: kube-apiserver, --event-ttl.
func (s *Server) expire(ctx context.Context) error {
	known := map[string]due{} // by key: an Event is looked into once
	c := s.Client("system:apiserver", pki.MastersGroup)
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		items, _ := s.state.List(core.Event, watch.Filter{})
		for _, i := range overdue(items, known, time.Now()) {
			version := strconv.FormatUint(i.Revision, 10)
			err := client.Events.Delete(ctx, c, i.Namespace, i.Name, *metav1.NewRVDeletionPrecondition(version))
			if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
				s.Log.Warn("old event not deleted", "object", i.Key(), "err", err)
				break // and the others with the next tick
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// overdue are the Events that were written longer ago than they are kept; known goes with them.
func overdue(items []*watch.Item, known map[string]due, now time.Time) (out []*watch.Item) {
	there := make(map[string]bool, len(items))
	for _, i := range items {
		there[i.Key()] = true
		d, ok := known[i.Key()]
		if !ok || d.revision != i.Revision {
			d = due{i.Revision, now.Add(core.Event.Life)} // if nobody knows
			if o, err := i.Object(); err == nil {
				d.at = written(o.(*corev1.Event)).Add(core.Event.Life)
			}
			known[i.Key()] = d
		}
		if d.at.Before(now) {
			out = append(out, i)
		}
	}
	for key := range known {
		if !there[key] {
			delete(known, key)
		}
	}
	return out
}

// written is when an Event was last written, as far as it says so.
func written(e *corev1.Event) time.Time {
	at := e.CreationTimestamp.Time
	for _, m := range e.ManagedFields {
		if m.Time != nil && m.Time.After(at) {
			at = m.Time.Time
		}
	}
	return at
}
