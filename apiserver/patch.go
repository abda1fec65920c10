package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"

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
	apply, err := patching(i, kind, data)
	if err != nil {
		return err
	}
	invalid := func(err error) error {
		return apierrors.NewInvalid(i.GVK().GroupKind(), q.Name, field.ErrorList{field.Invalid(field.NewPath("patch"), string(data), err.Error())})
	}
	q.Patched = true
	return s.change(w, r, t, q, f, func(_ context.Context, old api.Object) (api.Object, error) {
		doc, err := api.EncodeJSON(i, old)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		out, err := apply(doc)
		if err != nil {
			return nil, err
		}
		if err := crowded(i, out); err != nil && crowded(i, doc) == nil {
			return nil, err // and not for what was there before
		}
		obj := i.New()
		strict, err := read(i, obj, out)
		if err != nil && kind != types.StrategicMergePatchType { // upstream shows what came of the patch, and no kind
			return nil, apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), string(out), err.Error())})
		}
		if err != nil {
			return nil, invalid(err)
		}
		if gvk := obj.GetObjectKind().GroupVersionKind(); gvk != i.GVK() {
			if i.Custom != nil { // Source: what Kubernetes 1.37 does
				return nil, apierrors.NewInvalid(gvk.GroupKind(), q.Name, becomes(gvk, i.GVK()))
			}
			return nil, wrongKind(i, gvk)
		}
		if len(strict) > 0 && level == metav1.FieldValidationStrict {
			return nil, invalid(runtime.NewStrictDecodingError(strict))
		}
		if err := report(i, strict, level, q.Warn); err != nil {
			return nil, err
		}
		// Without a resourceVersion of its own a patch goes onto whatever is there: it keeps the
		// one that it was applied to, and is applied again on a conflict.
		return obj, nil
	})
}

// patching gives what a patch does to an object of i in JSON.
func patching(i *api.Info, kind types.PatchType, data []byte) (apply func(doc []byte) ([]byte, error), err error) {
	if err := crowdedPatch(data); err != nil {
		return nil, err
	}
	switch kind {
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(data)
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		if len(p) > maxOperations {
			return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("The allowed maximum operations in a JSON patch is %d, got %d", maxOperations, len(p)))
		}
		return func(doc []byte) ([]byte, error) {
			if err := shifting(p, doc); err != nil {
				return nil, err
			}
			out, err := p.Apply(doc)
			if err != nil {
				return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
			}
			return out, nil
		}, nil
	case types.MergePatchType:
		var want map[string]any
		if err := json.Unmarshal(data, &want); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		return func(doc []byte) ([]byte, error) {
			out, err := jsonpatch.MergePatch(doc, data)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			return out, nil
		}, nil
	case types.StrategicMergePatchType:
		var want map[string]any
		if err := json.Unmarshal(data, &want); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		fields, err := strategicpatch.NewPatchMetaFromStruct(i.New())
		if err != nil || i.Custom != nil {
			return nil, unsupported(string(kind), string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType))
		}
		return func(doc []byte) ([]byte, error) {
			if err := comparing(data, doc); err != nil {
				return nil, err
			}
			out, err := strategicpatch.StrategicMergePatchUsingLookupPatchMeta(doc, data, fields)
			if err != nil {
				return nil, apierrors.NewBadRequest(err.Error())
			}
			return out, nil
		}, nil
	default:
		return nil, unsupported(string(kind), string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType))
	}
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
