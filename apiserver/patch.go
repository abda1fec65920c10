package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/registry"
)

// maxOperations bounds a JSON patch. Source: kube-apiserver.
const maxOperations = 10000

// boundCopies bounds what the copy operations of one JSON patch add up to; few of them could otherwise double an object again and again.
// Source: kube-apiserver, as large as a body.
var boundCopies = sync.OnceFunc(func() { jsonpatch.AccumulatedCopySizeLimit = maxBody })

// patchType is what a patch's body is.
func patchType(r *http.Request) types.PatchType {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = r.Header.Get("Content-Type")
	}
	return types.PatchType(kind)
}

// patches tells whether a body of this kind is a patch at all.
func patches(kind types.PatchType) bool {
	switch kind {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType:
		return true
	}
	return false
}

// patch applies a JSON, merge or strategic merge patch to the newest state; it is
// applied anew when somebody else wrote in between, so that no concurrent field is lost.
func (s *Server) patch(w http.ResponseWriter, r *http.Request, t *route, q registry.Request) error {
	f, err := accept(r, true)
	if err != nil {
		return err
	}
	level, err := fieldValidation(t)
	if err != nil {
		return err
	}
	kind := patchType(r)
	data, err := body(r, nil)
	if err != nil {
		return err
	}
	auditPatch(w, data)
	i := t.info
	if t.subresource == "scale" {
		i = registry.ScaleInfo
	}
	if kind == types.ApplyYAMLPatchType {
		return s.apply(w, r, t, q, f, data, level)
	}
	p, err := patching(i, kind, data)
	if err != nil {
		return err
	}
	// What is wrong is shown in what came of the patch, or in a strategic one. Source: what Kubernetes 1.37 does.
	invalid := func(out []byte, err error) error {
		shown := string(out)
		if p.strategic != nil {
			shown = fmt.Sprint(p.strategic)
		}
		return apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), shown, err.Error())})
	}
	q.Patched = true
	return s.change(w, r, t, q, f, func(_ context.Context, old api.Object) (api.Object, error) {
		if p.alone && t.subresource == "" && i.AsItIs() {
			if obj := p.metadata(i, old); obj != nil {
				return obj, registry.Addressed(q, obj)
			}
		}
		doc, err := api.EncodeJSON(i, old)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		out, err := p.apply(doc)
		if err != nil {
			return nil, err
		}
		if err := crowded(i, out); err != nil && crowded(i, doc) == nil {
			return nil, err // and not for what was there before
		}
		obj := i.New()
		strict, err := read(i, obj, out)
		if err != nil && p.strategic != nil {
			err = restored(i, out, err)
		}
		if err != nil {
			return nil, invalid(out, err)
		}
		switch gvk := obj.GetObjectKind().GroupVersionKind(); {
		case gvk == i.GVK():
		case i.Custom != nil: // Source: what Kubernetes 1.37 does
			return nil, apierrors.NewInvalid(gvk.GroupKind(), q.Name, becomes(gvk, i.GVK()))
		case p.strategic != nil: // the kind is the resource's
		case gvk.Kind != "" && gvk.Kind != i.Kind || gvk.Version != "" && gvk.GroupVersion() != i.GVK().GroupVersion():
			if gvk.Kind == "" {
				gvk.Kind = i.Kind
			}
			return nil, invalid(out, fmt.Errorf("no kind %q is registered for version %q", gvk.Kind, gvk.GroupVersion()))
		}
		obj.GetObjectKind().SetGroupVersionKind(i.GVK())
		strict = slices.Concat(p.twice, strict)
		if len(strict) > 0 && level == metav1.FieldValidationStrict {
			return nil, invalid(out, runtime.NewStrictDecodingError(strict))
		}
		if err := registry.Addressed(q, obj); err != nil {
			return nil, err
		}
		if err := report(i, strict, level, q.Warn); err != nil {
			return nil, err
		}
		// Without a resourceVersion of its own a patch goes onto whatever is there: it keeps the
		// one that it was applied to, and is applied again on a conflict.
		return obj, nil
	})
}

// patched is a patch that was read.
type patched struct {
	apply     func(doc []byte) ([]byte, error) // what it does to an object in JSON
	twice     []error                          // fields that it has twice
	strategic map[string]any                   // itself, if it is a strategic merge patch
	alone     bool                             // it is of what is in metadata, and of nothing else
}

// patching reads a patch of an object of i.
func patching(i *api.Info, kind types.PatchType, data []byte) (pt patched, err error) {
	if err := crowdedPatch(data); err != nil {
		return pt, err
	}
	switch kind {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType:
		if !json.Valid(data) {
			return pt, apierrors.NewBadRequest("invalid JSON patch")
		}
	}
	switch kind {
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(data)
		if err != nil {
			text := strings.NewReplacer("jsonpatch.Patch", "[]handlers.jsonPatchOp", "jsonpatch.Operation", "handlers.jsonPatchOp").Replace(err.Error()) // as upstream calls them
			return pt, apierrors.NewBadRequest("error decoding patch: " + text)
		}
		if len(p) > maxOperations {
			return pt, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(p)))
		}
		pt.alone = operatesAlone(p)
		pt.apply = func(doc []byte) ([]byte, error) {
			if err := shifting(p, doc); err != nil {
				return nil, err
			}
			out, err := p.Apply(doc)
			if err != nil {
				return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
			}
			return out, nil
		}
	case types.MergePatchType:
		var want map[string]any
		if pt.twice, err = kjson.UnmarshalStrict(data, &want); err != nil {
			return pt, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		pt.alone = len(pt.twice) == 0 && saysMetadata(want)
		pt.apply = func(doc []byte) ([]byte, error) {
			out, err := jsonpatch.MergePatch(doc, data)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			return out, nil
		}
	case types.StrategicMergePatchType:
		if pt.twice, err = kjson.UnmarshalStrict(data, &pt.strategic); err != nil {
			return pt, apierrors.NewBadRequest(err.Error())
		}
		fields, err := strategicpatch.NewPatchMetaFromStruct(i.New())
		if err != nil || i.Custom != nil {
			return pt, unsupported(string(kind), string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType))
		}
		pt.alone = len(pt.twice) == 0 && saysMetadata(pt.strategic)
		pt.apply = func(doc []byte) ([]byte, error) {
			if err := comparing(data, doc); err != nil {
				return nil, err
			}
			out, err := strategicpatch.StrategicMergePatchUsingLookupPatchMeta(doc, data, fields)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			return out, nil
		}
	default:
		return pt, &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
			Message: "415: Unsupported Media Type", Details: &metav1.StatusDetails{}}}
	}
	return pt, nil
}

// restored is what upstream says of what came of a strategic patch that cannot be read.
func restored(i *api.Info, out []byte, err error) error {
	var m map[string]any
	if kjson.UnmarshalCaseSensitivePreserveInts(out, &m) != nil {
		return err
	}
	if better := runtime.DefaultUnstructuredConverter.FromUnstructured(m, i.New()); better != nil {
		return better
	}
	return err
}

// becomes is what is wrong with a custom resource's object that is to be of another kind or version.
func becomes(got, want schema.GroupVersionKind) (errs field.ErrorList) {
	if got.Kind != want.Kind {
		errs = append(errs, field.Invalid(field.NewPath("kind"), got.Kind, "must be "+want.Kind))
	}
	if got.GroupVersion() != want.GroupVersion() {
		errs = append(errs, field.Invalid(field.NewPath("apiVersion"), got.GroupVersion().String(), "must be "+want.GroupVersion().String()))
	}
	return errs
}
