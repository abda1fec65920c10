package apiserver

import (
	"maps"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lighter-k8s/lighter/api"
)

// A label's patch of a large object need not make JSON of all of it, and of who owns what in it, to read that again.

// saysMetadata tells whether a merge patch, strategic or not, says something within metadata, but of its owners, and nothing else.
func saysMetadata(patch map[string]any) bool {
	within, ok := patch["metadata"].(map[string]any)
	if !ok || len(patch) != 1 {
		return false
	}
	for key := range within {
		if key == "managedFields" || strings.HasPrefix(key, "$") {
			return false
		}
	}
	return true
}

// operatesAlone is saysMetadata of a JSON patch.
func operatesAlone(p jsonpatch.Patch) bool {
	for _, op := range p {
		path, err := op.Path()
		if err != nil || !aloneAt(path) {
			return false
		}
		if _, ok := op["from"]; !ok {
			continue
		}
		if from, err := op.From(); err != nil || !aloneAt(from) {
			return false
		}
	}
	return true
}

func aloneAt(path string) bool {
	return strings.HasPrefix(path, "/metadata/") && !strings.HasPrefix(path, "/metadata/managedFields")
}

// metadata applies a patch of metadata alone; nil: something is to be said of it, by whoever applies it to the whole object.
func (p patched) metadata(i *api.Info, old api.Object) api.Object {
	doc, err := api.EncodeJSON(i, onlyMetadata(i, old))
	if err != nil {
		return nil
	}
	out, err := p.apply(doc)
	if err != nil || crowded(i, out) != nil {
		return nil
	}
	next := i.New()
	if strict, err := read(i, next, out); err != nil || len(strict) > 0 || next.GetObjectKind().GroupVersionKind() != i.GVK() {
		return nil
	}
	if was, ok := old.(*unstructured.Unstructured); ok {
		rest := maps.Clone(was.Object)
		delete(rest, "metadata")
		obj := &unstructured.Unstructured{Object: rest}
		if !i.Custom.Single { // else nobody writes to what is below
			obj = obj.DeepCopy()
		}
		meta, of := next.(*unstructured.Unstructured).Object["metadata"].(map[string]any), metadataOf(was)
		if owners, ok := of["managedFields"]; ok {
			meta["managedFields"] = owners // which nobody writes to
		}
		obj.Object["metadata"] = meta
		return obj
	}
	obj := i.Copied(old)
	*typedMetadata(obj) = *typedMetadata(next)
	obj.SetManagedFields(old.GetManagedFields())
	obj.GetObjectKind().SetGroupVersionKind(i.GVK())
	return obj
}

// onlyMetadata is an object without all else, and without its owners.
func onlyMetadata(i *api.Info, old api.Object) api.Object {
	if u, ok := old.(*unstructured.Unstructured); ok {
		meta := maps.Clone(metadataOf(u))
		delete(meta, "managedFields")
		out := &unstructured.Unstructured{Object: map[string]any{"metadata": meta}}
		out.SetGroupVersionKind(i.GVK())
		return out
	}
	out := i.New()
	*typedMetadata(out) = *typedMetadata(old)
	out.SetManagedFields(nil)
	return out
}

func metadataOf(u *unstructured.Unstructured) map[string]any {
	meta, _ := u.Object["metadata"].(map[string]any)
	return meta
}

func typedMetadata(o api.Object) *metav1.ObjectMeta {
	return o.(metav1.ObjectMetaAccessor).GetObjectMeta().(*metav1.ObjectMeta)
}
