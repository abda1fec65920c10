// Package managed keeps metadata.managedFields: which manager wrote which field of an object last. Update is called
// by the registry for every write that is no server-side apply; it gives exactly what apimachinery's
// managedfields.FieldManager gives (a test compares the two), from the typed objects, for a small part of its cost.
// Apply is the library itself, but for objects of many fields (large.go; a test compares the two).
//
//	managed.go  Update, the rules between managers     shape.go    how a Go type merges
//	diff.go     what differs between two objects       set.go      sets of fields, and their FieldsV1 form
//	create.go   what a new object has
//	apply.go    Apply, the configurations of managers  typed.go    how a Go type merges, for the library
//	large.go    Apply where there are many fields      tree.go, walk.go  what differs between, and is done to, objects of JSON
package managed

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/lighter-k8s/lighter/api"
)

const (
	maxManagers = 10                // entries of updates; older ones are merged beyond that
	ancient     = "ancient-changes" // the manager that they are merged into
)

// Write says who writes an object, and through what.
type Write struct {
	Manager     string // "" is "unknown"
	Subresource string
	Now         time.Time
	// Versions are all of the resource, for the entries of managers that used them; those of others go.
	Versions []*api.Info
}

// Update sets obj's managedFields to what they are after the write that makes it of old (nil: a create), both in
// version i. Only obj's metadata is written to. Managers of an object that has none yet are only kept from its
// creation on, and what a request itself says of managedFields counts unless it is of a subresource.
// Source: Kubernetes documentation, Server-Side Apply, Field management.
func Update(i *api.Info, old, obj api.Object, w Write) {
	var live []metav1.ManagedFieldsEntry
	if old != nil {
		live = api.Owners(old)
	}
	entries := given(live, api.Owners(obj), w.Subresource)
	obj.SetManagedFields(nil)
	if len(entries) == 0 && old != nil && old.GetUID() != "" {
		return
	}
	version := i.GroupVersion().String()
	if len(entries) == 0 && old == nil && i.Custom == nil {
		if fields := created(i, obj, w.Subresource); fields != nil {
			api.SetOwners(obj, []metav1.ManagedFieldsEntry{w.entry(version, fields)})
		}
		return
	}
	took, gone := diff(i, old, obj)
	if i.HasStatus && w.Subresource == "" { // the status is not written through the main resource
		took, gone = took.without("f:status"), gone.without("f:status")
	}
	changes := map[string]*set{version: took.union(gone)}
	took = took.stripped()
	kept, mine := entries[:0:0], w.entry(version, nil)
	for _, e := range entries {
		change, ok := changes[e.APIVersion]
		if !ok {
			if o, n, served := w.in(i, e.APIVersion, old, obj); served {
				t, g := diffIn(i, e.APIVersion, o, n)
				change = t.union(g)
			} else {
				continue
			}
			changes[e.APIVersion] = change
		}
		rest, changed, left := subtracted(e, change)
		if !left {
			continue
		}
		if changed && !took.empty() && same(e, mine) {
			took = took.union(rest) // which is not written down to be read again
			continue
		}
		if changed {
			e.FieldsV1 = rest.encode()
		}
		kept = append(kept, e)
	}
	if !took.empty() {
		kept = w.take(kept, took, version)
	}
	kept = capped(kept)
	slices.SortFunc(kept, order)
	if len(kept) > 0 {
		api.SetOwners(obj, kept)
	}
}

// diffIn is diff for objects in another version of the resource.
func diffIn(i *api.Info, apiVersion string, old, obj api.Object) (took, gone *set) {
	if i.Custom != nil {
		return diff(version(i, apiVersion), old, obj)
	}
	return diffOf(reflect.TypeOf(obj), old, obj)
}

// in gives both objects in another version; false: it is not served any more.
func (w Write) in(i *api.Info, apiVersion string, old, obj api.Object) (o, n api.Object, ok bool) {
	for _, other := range w.Versions {
		if other.GroupVersion().String() != apiVersion {
			continue
		}
		n, err := convert(i, other, obj)
		if err == nil && old != nil {
			o, err = convert(i, other, old)
		}
		return o, n, err == nil
	}
	return nil, nil, false
}

// take gives the fields to the writer.
func (w Write) take(entries []metav1.ManagedFieldsEntry, took *set, version string) []metav1.ManagedFieldsEntry {
	mine := w.entry(version, nil)
	for n, e := range entries {
		if !same(e, mine) {
			continue
		}
		if had, err := parse(e.FieldsV1.GetRawBytes()); err == nil {
			took = took.union(had)
		}
		entries = slices.Delete(slices.Clone(entries), n, n+1)
		break
	}
	mine.FieldsV1 = took.encode()
	return append(entries, mine)
}

// entry says that the writer has the fields.
func (w Write) entry(version string, fields *metav1.FieldsV1) metav1.ManagedFieldsEntry {
	now := metav1.NewTime(w.Now.UTC().Truncate(time.Second))
	return metav1.ManagedFieldsEntry{Manager: cmp.Or(w.Manager, "unknown"), Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: version,
		Time: &now, FieldsType: "FieldsV1", FieldsV1: fields, Subresource: w.Subresource}
}

// same tells whether two entries are of one manager: appliers are one over all versions.
func same(a, b metav1.ManagedFieldsEntry) bool {
	return a.Manager == b.Manager && a.Operation == b.Operation && a.Subresource == b.Subresource &&
		(a.APIVersion == b.APIVersion || a.Operation == metav1.ManagedFieldsOperationApply)
}

// subtracted are e's fields without those that changed, where that is something else; not left: it is nothing.
func subtracted(e metav1.ManagedFieldsEntry, change *set) (rest *set, changed, left bool) {
	if change.apartFrom(e.FieldsV1.GetRawBytes()) {
		return nil, false, true
	}
	had, err := parse(e.FieldsV1.GetRawBytes())
	if err != nil {
		return nil, false, false // nobody can read it
	}
	rest, changed = had.subtract(change)
	return rest, changed, !rest.empty()
}

// given are the entries to go on from: those that the request says, or the object's own when it says none that
// can be understood; none when it says so by one empty entry.
func given(live, said []metav1.ManagedFieldsEntry, subresource string) []metav1.ManagedFieldsEntry {
	if subresource == "" && !unchanged(live, said) {
		if said != nil && (len(said) == 0 || len(said) == 1 && reflect.DeepEqual(said[0], metav1.ManagedFieldsEntry{})) {
			return nil
		}
		if ok, valid := canonical(said); valid && len(ok) > 0 {
			return ok
		}
	}
	for _, e := range live { // as they were written by us or upstream, unless somebody else wrote the store
		if !valid(e) || e.FieldsV1 == nil {
			ok, _ := canonical(live)
			return ok
		}
	}
	return live
}

// unchanged: the usual case, a client that sends back what it was given.
func unchanged(live, said []metav1.ManagedFieldsEntry) bool {
	return len(live) > 0 && slices.EqualFunc(live, said, func(a, b metav1.ManagedFieldsEntry) bool {
		return same(a, b) && a.APIVersion == b.APIVersion && a.FieldsType == b.FieldsType && a.Time.Equal(b.Time) &&
			a.FieldsV1 != nil && b.FieldsV1 != nil && bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes())
	})
}

func valid(e metav1.ManagedFieldsEntry) bool {
	return (e.Operation == metav1.ManagedFieldsOperationApply || e.Operation == metav1.ManagedFieldsOperationUpdate) &&
		e.APIVersion != "" && e.FieldsType == "FieldsV1"
}

// canonical reads what somebody wrote by hand: one entry a manager, in the one form that sets have.
func canonical(entries []metav1.ManagedFieldsEntry) (out []metav1.ManagedFieldsEntry, ok bool) {
	for _, e := range entries {
		if !valid(e) {
			return nil, false
		}
		raw := []byte("{}")
		if e.FieldsV1 != nil {
			raw = e.FieldsV1.GetRawBytes()
		}
		if s, err := parse(raw); err == nil && s.plain() {
			e.FieldsV1 = s.encode()
		} else if e.FieldsV1, ok = byLibraryForm(raw); !ok {
			return nil, false
		}
		out = slices.DeleteFunc(out, func(o metav1.ManagedFieldsEntry) bool { return same(o, e) })
		out = append(out, e)
	}
	return out, true
}

// byLibraryForm is the library's form of a set, which it takes forty times its bytes to find.
func byLibraryForm(raw []byte) (*metav1.FieldsV1, bool) {
	var s fieldpath.Set
	if err := s.FromJSON(bytes.NewReader(raw)); err != nil {
		return nil, false
	}
	data, err := s.ToJSON()
	return metav1.NewFieldsV1(string(data)), err == nil
}

// plain tells whether all path elements of a set are in their one form, as far as that is easy to tell.
func (s *set) plain() bool {
	if s.empty() {
		return true
	}
	for _, e := range s.elems {
		if !plainElement(e.key) || !e.sub.plain() {
			return false
		}
	}
	return true
}

func plainElement(key string) bool {
	switch key[0] {
	case 'f':
		return true
	case 'v':
		rest, ok := plainText(key[2:])
		return ok && rest == ""
	case 'k':
		rest, ok := strings.CutPrefix(key[2:], "{")
		for before := ""; ok; {
			name := rest
			if rest, ok = plainText(rest); !ok {
				return false
			}
			if name = name[:len(name)-len(rest)]; name <= before || !strings.HasPrefix(rest, ":") {
				return false
			}
			before = name
			if rest, ok = plainText(rest[1:]); !ok || rest == "}" {
				return ok
			}
			rest, ok = strings.CutPrefix(rest, ",")
		}
	}
	return false
}

// plainText cuts a JSON string of plain letters off.
func plainText(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[i+1:], true
		case c < ' ' || c > '~' || c == '\\' || c == '<' || c == '>' || c == '&':
			return s, false
		}
	}
	return s, false
}

// capped merges the oldest entries of updates when there are too many.
func capped(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	var updates []metav1.ManagedFieldsEntry
	for _, e := range entries {
		if e.Operation == metav1.ManagedFieldsOperationUpdate {
			updates = append(updates, e)
		}
	}
	excess := len(updates) - maxManagers
	if excess <= 0 {
		return entries
	}
	slices.SortStableFunc(updates, order)
	first := map[string]metav1.ManagedFieldsEntry{} // by version: the oldest of it, merged once there is a second
	drop := func(e metav1.ManagedFieldsEntry) {
		entries = slices.DeleteFunc(slices.Clone(entries), func(o metav1.ManagedFieldsEntry) bool { return same(o, e) })
	}
	for _, e := range updates {
		if excess <= 0 {
			break
		}
		one, seen := first[e.APIVersion]
		if !seen {
			first[e.APIVersion] = e
			continue
		}
		bucket := metav1.ManagedFieldsEntry{Manager: ancient, Operation: e.Operation, APIVersion: e.APIVersion, FieldsType: "FieldsV1", Time: e.Time}
		a, errA := parse(one.FieldsV1.GetRawBytes())
		b, errB := parse(e.FieldsV1.GetRawBytes())
		if errA != nil || errB != nil {
			continue
		}
		bucket.FieldsV1 = a.union(b).encode()
		drop(one)
		drop(e)
		entries = append(entries, bucket)
		first[e.APIVersion] = bucket
		excess--
	}
	return entries
}

// order is that of managedFields: appliers first, then by age and name.
func order(p, q metav1.ManagedFieldsEntry) int {
	if c := strings.Compare(string(p.Operation), string(q.Operation)); c != 0 {
		return c
	}
	if a, b := seconds(p), seconds(q); a != b {
		if a < b {
			return -1
		}
		return 1
	}
	if c := strings.Compare(p.Manager, q.Manager); c != 0 {
		return c
	}
	if c := strings.Compare(p.APIVersion, q.APIVersion); c != 0 {
		return c
	}
	return strings.Compare(p.Subresource, q.Subresource)
}

func seconds(e metav1.ManagedFieldsEntry) int64 {
	if e.Time == nil {
		return 0
	}
	return e.Time.Unix()
}
