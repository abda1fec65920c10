package managed

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/lighter-k8s/lighter/api"
)

// large is Merge for objects of many fields: by our own sets, in time and memory by their number, and of our own walk over them. What
// comes out is what the library gives (a test compares the two). It is for what nearly all applies are: of the object itself, which
// somebody owns, by owners who all used this version. done is false where something else is asked.
func (a Apply) large(k kinds, old, live api.Object, config *unstructured.Unstructured) (obj api.Object, done bool, err error) {
	i, version := k.info, k.info.GroupVersion().String()
	if a.Subresource != "" || config.GetAPIVersion() != version || config.GetKind() != i.Kind || api.Owners(config) != nil ||
		a.Manager == "kubectl" && live.GetAnnotations()[lastApplied] != "" {
		return nil, false, nil
	}
	owned := api.Owners(live)
	if old != nil && len(owned) == 0 {
		return nil, false, nil
	}
	t, err := k.typed(i)
	if err != nil {
		return nil, true, err
	}
	w := tree{schema: t.Schema}
	before, err := k.content(live)
	if err != nil {
		return nil, true, err
	}
	others, last, mine, ok := a.owners(owned, version, &w, t)
	if !ok {
		return nil, false, nil
	}
	if w.fits(t.TypeRef, before); w.bad {
		return nil, false, nil
	}
	if _, err := k.ObjectToTyped(config); err != nil {
		return nil, true, fmt.Errorf("failed to create typed patch object (%s/%s; %s): %w", config.GetNamespace(), config.GetName(), config.GroupVersionKind(), err)
	}
	merged, err := w.merge(t.TypeRef, before, config.Object)
	if err != nil {
		return nil, true, fmt.Errorf("failed to merge config: %w", err)
	}
	took, _ := w.fields(t.TypeRef, config.Object)
	if i.HasStatus {
		took = took.without("f:status")
	}
	if less, _ := last.subtract(took); !less.empty() { // else the applier says all that it said
		all := took
		for _, o := range others {
			all = all.union(o.fields)
		}
		merged = w.prune(t, merged, last, all)
	}
	after, ok := merged.(map[string]any)
	if !ok || w.bad {
		return nil, false, nil
	}
	d := w.compare(t.TypeRef, before, after)
	changed, gone := d.took, d.gone
	if i.HasStatus {
		changed, gone = changed.without("f:status"), gone.without("f:status")
	}
	if w.bad {
		return nil, false, nil
	}
	var entries []metav1.ManagedFieldsEntry
	var conflicts []owner
	for _, o := range others {
		lost := o.fields.intersect(changed)
		if !lost.empty() {
			conflicts = append(conflicts, owner{o.entry, lost})
		}
		rest, less := o.fields.subtract(lost)
		left, fewer := rest.subtract(gone)
		if left.empty() {
			continue
		}
		if less || fewer {
			o.entry.FieldsV1 = left.encode()
		}
		entries = append(entries, o.entry)
	}
	if len(conflicts) > 0 && !a.Force {
		return nil, true, conflict(conflicts)
	}
	same := value.EqualsUsing(value.NewFreelistAllocator(), value.NewValueInterface(before), value.NewValueInterface(after))
	if same { // but for how it is written
		after = before
	}
	if took = took.stripped(); !took.empty() {
		now := metav1.NewTime(a.Now.UTC().Truncate(time.Second))
		e := metav1.ManagedFieldsEntry{Manager: a.Manager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: version, FieldsType: "FieldsV1", FieldsV1: took.encode(), Time: &now}
		if same {
			if e.Time = nil; mine != nil {
				e.Time = mine.Time
			}
		}
		entries = append(entries, e)
	}
	slices.SortStableFunc(entries, order)
	if i.Type == nil {
		obj = &unstructured.Unstructured{Object: after}
	} else {
		obj = i.New()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(after, obj); err != nil {
			return nil, true, fmt.Errorf("failed to convert new object (%s/%s; %s) to proper version: %w", config.GetNamespace(), config.GetName(), config.GroupVersionKind(), err)
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(i.GVK())
	api.SetOwners(obj, entries)
	return obj, true, nil
}

// lastApplied is what kubectl notes of client-side applies.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// content is a copy of an object as JSON has it, without its managedFields and with its kind, which objects of memory do not have: else
// every configuration, which says it, would change something.
func (k kinds) content(obj api.Object) (map[string]any, error) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		o := unmanaged(u)
		if k.info.Custom == nil || !k.info.Custom.Single {
			return runtime.DeepCopyJSON(o), nil // what is made of it shares its memory
		}
		if meta, ok := o["metadata"].(map[string]any); ok { // which is written to: the rest has all that it is given
			o["metadata"] = maps.Clone(meta)
		}
		return o, nil
	}
	o := shallow(obj)
	o.SetManagedFields(nil)
	o.GetObjectKind().SetGroupVersionKind(k.info.GVK())
	return runtime.DefaultUnstructuredConverter.ToUnstructured(o)
}

// owner is a manager with what it has.
type owner struct {
	entry  metav1.ManagedFieldsEntry
	fields *set
}

// owners are those of an object but the applier, and what the applier had. Owners by versions that are gone are left out.
func (a Apply) owners(of []metav1.ManagedFieldsEntry, version string, w *tree, t typed.ParseableType) (others []owner, last *set, mine *metav1.ManagedFieldsEntry, ok bool) {
	for _, e := range of {
		if e.APIVersion != version && slices.ContainsFunc(a.Versions, func(i *api.Info) bool { return i.GroupVersion().String() == e.APIVersion }) || !valid(e) || e.FieldsV1 == nil {
			return nil, nil, nil, false
		}
		if e.APIVersion != version {
			continue
		}
		fields, err := parse(e.FieldsV1.GetRawBytes())
		if err != nil || w.beneath(t.TypeRef, fields) {
			return nil, nil, nil, false
		}
		if a.mine(e) {
			last, mine = fields, &e
			continue
		}
		others = append(others, owner{e, fields})
	}
	return others, last, mine, true
}

// conflict is the 409 of an apply that would change what others own.
func conflict(of []owner) error {
	name := func(e metav1.ManagedFieldsEntry) string {
		text := fmt.Sprintf("%q", e.Manager)
		if e.Subresource != "" {
			text = fmt.Sprintf("%s with subresource %q", text, e.Subresource)
		}
		if e.Operation == metav1.ManagedFieldsOperationUpdate {
			text += " using " + e.APIVersion
		}
		return text
	}
	key := func(e metav1.ManagedFieldsEntry) string {
		e.FieldsV1, e.FieldsType, e.Time = nil, "", nil
		if e.Operation == metav1.ManagedFieldsOperationApply {
			e.APIVersion = ""
		}
		text, _ := json.Marshal(e) // which has no field that cannot be
		return string(text)
	}
	slices.SortFunc(of, func(p, q owner) int { return strings.Compare(key(p.entry), key(q.entry)) })
	var causes []metav1.StatusCause
	var lines strings.Builder
	first := ""
	for _, o := range of {
		manager := name(o.entry)
		lines.WriteString("\nconflicts with " + manager + ":")
		o.fields.each("", func(path string) {
			if len(causes) == 0 {
				first = path
			}
			causes = append(causes, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Message: "conflict with " + manager, Field: path})
			lines.WriteString("\n- " + path)
		})
	}
	if len(causes) == 1 {
		return apierrors.NewApplyConflict(causes, "Apply failed with 1 conflict: conflict with "+name(of[0].entry)+": "+first)
	}
	return apierrors.NewApplyConflict(causes, fmt.Sprintf("Apply failed with %d conflicts: %s", len(causes), lines.String()[1:]))
}

// each shows all paths of a set to f, in the words of errors: of each level first those that end there.
func (s *set) each(before string, f func(path string)) {
	if s.empty() {
		return
	}
	for _, e := range s.elems {
		if e.member {
			f(before + shown(e.key))
		}
	}
	for _, e := range s.elems {
		if !e.sub.empty() {
			e.sub.each(before+shown(e.key), f)
		}
	}
}

func shown(key string) string {
	if key[0] == 'f' {
		return "." + key[2:]
	}
	e, err := fieldpath.DeserializePathElement(key)
	if err != nil {
		return key
	}
	return e.String()
}

// intersect is what is in both.
func (s *set) intersect(o *set) *set {
	if s.empty() || o.empty() {
		return nil
	}
	out := &set{}
	for a, b := s.elems, o.elems; len(a) > 0 && len(b) > 0; {
		switch c := compareKeys(a[0].key, b[0].key); {
		case c < 0:
			a = a[1:]
		case c > 0:
			b = b[1:]
		default:
			if e := (elem{key: a[0].key, member: a[0].member && b[0].member, sub: a[0].sub.intersect(b[0].sub)}); e.member || !e.sub.empty() {
				out.elems = append(out.elems, e)
			}
			a, b = a[1:], b[1:]
		}
	}
	return out
}
