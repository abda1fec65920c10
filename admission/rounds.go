package admission

import (
	"bytes"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Rounds is what a plugin whose members change objects, each named by a K, keeps between the two passes of a request: in the second
// those are asked again that want to be, and were asked before somebody else changed the object.
type Rounds[K comparable] struct {
	key   string
	asked map[K]bool // those that want to see later changes
	again map[K]bool // those of them that somebody changed the object after
	last  []byte     // the object after the last member
}

// Round begins a pass of the plugin that is kept under a key; ok false: nobody needs to be asked.
func Round[K comparable](a *Attributes, key string) (r *Rounds[K], ok bool) {
	if r, ok = a.Kept[key].(*Rounds[K]); !ok {
		return &Rounds[K]{key: key}, !a.Second
	}
	if now, err := json.Marshal(a.Object); a.Second && (err != nil || !bytes.Equal(now, r.last)) {
		r.require(nil)
	}
	return r, true
}

// Skips tells whether a member has nothing new to see.
func (r *Rounds[K]) Skips(a *Attributes, k K) bool { return a.Second && !r.again[k] }

// Did notes that a member was asked; changed: it changed the object, again: it wants to see later changes.
func (r *Rounds[K]) Did(a *Attributes, k K, changed, again bool) {
	delete(r.again, k)
	if changed {
		a.Altered, a.Again = true, !a.Second
		r.require(&k)
	}
	if again && r.asked == nil {
		r.asked, r.again = map[K]bool{}, map[K]bool{}
	}
	if again {
		r.asked[k] = true
	}
}

// require notes that all who were asked before must see what changed; but not who did it.
func (r *Rounds[K]) require(by *K) {
	for k := range r.asked {
		if by == nil || k != *by {
			r.again[k] = true
		}
	}
}

// Keep ends a pass.
func (r *Rounds[K]) Keep(a *Attributes) (err error) {
	if r.last, err = json.Marshal(a.Object); err != nil {
		return apierrors.NewInternalError(err)
	}
	if a.Kept == nil {
		a.Kept = map[string]any{}
	}
	a.Kept[r.key] = r
	return nil
}
