// Package managed keeps metadata.managedFields: which manager wrote which field of an object last. Update is called
// by the registry for every write that is no server-side apply; it gives exactly what apimachinery's
// managedfields.FieldManager gives (a test compares the two), from the typed objects, for a small part of its cost.
// Apply is the library itself, but for objects of many fields (large.go; a test compares the two).
//
//	managed.go  Update, the rules between managers     shape.go    how a Go type merges
//	diff.go     what differs between two objects       set.go      sets of fields, and their FieldsV1 form
//	create.go   what a new object has                  parse.go    FieldsV1, read
//	apply.go    Apply, the configurations of managers  typed.go    how a Go type merges, for the library
//	canonical.go  FieldsV1 that somebody wrote by hand
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
	said := live
	if old == nil || !api.SharedOwners(old, obj) {
		said = api.Owners(obj)
	}
	entries, fields := given(live, said, w.Subresource)
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
	changes := map[string][2]*set{version: {took, gone}} // not as their union, which is long if one of them is
	took = took.stripped()
	kept, mine := entries[:0:0], w.entry(version, nil)
	for n, e := range entries {
		change, ok := changes[e.APIVersion]
		if !ok {
			if o, n, served := w.in(i, e.APIVersion, old, obj); served {
				change[0], change[1] = diffIn(i, e.APIVersion, o, n)
			} else {
				continue
			}
			changes[e.APIVersion] = change
		}
		var had *set
		if fields != nil {
			had = fields[n]
		}
		rest, changed, left := subtracted(e, had, change)
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

// subtracted are e's fields, which are had where they were read by now, without those that changed, where that is something else; not
// left: it is nothing.
func subtracted(e metav1.ManagedFieldsEntry, had *set, changes [2]*set) (rest *set, changed, left bool) {
	raw, looks := e.FieldsV1.GetRawBytes(), 64
	if changes[0].apartFrom(raw, &looks) && changes[1].apartFrom(raw, &looks) {
		return nil, false, true
	}
	if had == nil {
		var err error
		if had, err = parse(raw); err != nil {
			return nil, false, false // nobody can read it
		}
	}
	rest = had
	for _, c := range changes {
		less := false
		rest, less = rest.subtract(c)
		changed = changed || less
	}
	return rest, changed, !rest.empty()
}

// given are the entries to go on from: those that the request says, or the object's own when it says none that
// can be understood; none when it says so by one empty entry. fields are theirs where they were read; nil: none was.
func given(live, said []metav1.ManagedFieldsEntry, subresource string) (entries []metav1.ManagedFieldsEntry, fields []*set) {
	if subresource == "" && !unchanged(live, said) {
		if said != nil && (len(said) == 0 || len(said) == 1 && reflect.DeepEqual(said[0], metav1.ManagedFieldsEntry{})) {
			return nil, nil
		}
		if ok, fields, valid := canonical(said); valid && len(ok) > 0 {
			return ok, fields
		}
	}
	for _, e := range live { // as they were written by us or upstream, unless somebody else wrote the store
		if !valid(e) || e.FieldsV1 == nil {
			ok, fields, _ := canonical(live)
			return ok, fields
		}
	}
	return live, nil
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
	type bucket struct { // of a version: its oldest, merged once there is a second
		entry metav1.ManagedFieldsEntry
		of    []*set
	}
	buckets, gone := map[string]*bucket{}, map[identity]bool{}
	var merged []*bucket
	for _, e := range updates {
		if excess <= 0 {
			break
		}
		b := buckets[e.APIVersion]
		if b == nil {
			buckets[e.APIVersion] = &bucket{entry: e}
			continue
		}
		if len(b.of) == 0 {
			one, err := parse(b.entry.FieldsV1.GetRawBytes())
			if err != nil {
				continue
			}
			b.of = []*set{one}
		}
		s, err := parse(e.FieldsV1.GetRawBytes())
		if err != nil {
			continue
		}
		if len(b.of) == 1 {
			merged = append(merged, b)
		}
		gone[identify(b.entry)], gone[identify(e)] = true, true
		b.entry = metav1.ManagedFieldsEntry{Manager: ancient, Operation: e.Operation, APIVersion: e.APIVersion, FieldsType: "FieldsV1", Time: e.Time}
		b.of = append(b.of, s)
		excess--
	}
	entries = slices.DeleteFunc(slices.Clone(entries), func(e metav1.ManagedFieldsEntry) bool { return gone[identify(e)] })
	for _, b := range merged {
		b.entry.FieldsV1 = all(b.of).encode()
		entries = append(entries, b.entry)
	}
	return entries
}

// all is the union of sets.
func all(of []*set) *set {
	if len(of) == 1 {
		return of[0]
	}
	return all(of[:len(of)/2]).union(all(of[len(of)/2:]))
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
