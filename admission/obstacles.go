package admission

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lighter-k8s/lighter/client"
)

// Obstacles says of webhooks and policies that they refuse what the cluster lives by, so that it does not get well by itself: in an event
// on the configuration or policy, in the log, and in what 'lighter status' shows. Safe for concurrent use.
type Obstacles struct {
	Events *client.Recorder // nil: none are written
	Log    *slog.Logger
	Now    func() time.Time

	mu  sync.Mutex
	all map[types.UID]obstacle
}

type obstacle struct {
	said, seen time.Time
	text       string
}

const (
	// sayEvery is how often at most it is said of the same configuration or policy.
	sayEvery = time.Minute
	// recent is for how long something that was refused stands in the status.
	recent = 2 * time.Minute
)

// BlocksNodes is the reason of events about whoever refuses what Vital is.
const BlocksNodes = "BlocksNodes"

// Vital tells whether nodes are taken for dead without such writes.
func Vital(a *Attributes) bool {
	switch a.Info.Group {
	case "":
		return a.Info.Resource == "nodes" && a.Operation != Delete && strings.HasPrefix(a.User.Username, "system:node:")
	case coordinationv1.GroupName:
		return a.Info.Resource == "leases" && a.Namespace == corev1.NamespaceNodeLease && a.Operation != Delete
	}
	return false
}

// Refused says that one of the requests was refused that Vital tells, by what: `webhook "x" of configuration`.
func (o *Obstacles) Refused(by client.Object, kind schema.GroupVersionKind, what string, a *Attributes, err error) {
	if o == nil || !Vital(a) {
		return
	}
	o.Say(by, kind, BlocksNodes, what+" refused "+string(a.Operation)+" of "+a.Resource()+" "+a.Name+", without which nodes are taken for dead. "+
		"To let requests pass without it for a while: lighter admission bypass "+by.GetName()+" --for 10m. The error: "+err.Error())
}

// Say notes that by stands in the way, and tells whether that was said: it is once a minute.
func (o *Obstacles) Say(by client.Object, kind schema.GroupVersionKind, reason, text string) bool {
	now := o.Now()
	o.mu.Lock()
	before, known := o.all[by.GetUID()]
	say := !known || now.Sub(before.said) >= sayEvery
	next := obstacle{said: before.said, seen: now, text: text}
	if say {
		next.said = now
	}
	if o.all == nil {
		o.all = map[types.UID]obstacle{}
	}
	o.all[by.GetUID()] = next
	for uid, old := range o.all {
		if now.Sub(old.seen) > recent {
			delete(o.all, uid)
		}
	}
	o.mu.Unlock()
	if say {
		o.Log.Error("admission stands in the cluster's way", "object", by.GetName(), "reason", reason, "text", text)
		if o.Events != nil {
			o.Events.Event(kind, by, corev1.EventTypeWarning, reason, text)
		}
	}
	return say
}

// Recent is what was said of those that stood in the way not long ago.
func (o *Obstacles) Recent() (texts []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range o.all {
		if o.Now().Sub(one.seen) <= recent {
			texts = append(texts, one.text)
		}
	}
	slices.Sort(texts)
	return texts
}
