package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/yamljson"
	"github.com/lighter-k8s/lighter/registry"
)

// body reads the whole body, up to maxBody, into b where that is large enough.
func body(r *http.Request, b []byte) ([]byte, error) {
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	if n := int(max(512, r.ContentLength+1)); cap(b) < n {
		b = make([]byte, 0, n)
	}
	b = b[:0]
	limited := io.LimitReader(r.Body, maxBody+1)
	for {
		n, err := limited.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if len(b) > maxBody {
			return nil, tooLarge()
		}
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("read body: %v", err))
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
	}
}

// validationLevel is what becomes of unknown and duplicate fields.
type validationLevel string

func fieldValidation(t *route) (validationLevel, error) {
	if v := t.query.Get("fieldValidation"); v != "" {
		return validationLevel(v), nil
	}
	return metav1.FieldValidationWarn, nil
}

// writeOptions checks the query of a create, update or patch, and tells whether nothing is to be written.
func writeOptions(r *http.Request, t *route) (dry bool, err error) {
	asked := t.query["dryRun"]
	manager, level := t.query.Get("fieldManager"), t.query.Get("fieldValidation")
	var kind string
	var errs field.ErrorList
	switch t.verb {
	case "create":
		kind, errs = "CreateOptions", validation.ValidateCreateOptions(&metav1.CreateOptions{DryRun: asked, FieldManager: manager, FieldValidation: level})
	case "update":
		kind, errs = "UpdateOptions", validation.ValidateUpdateOptions(&metav1.UpdateOptions{DryRun: asked, FieldManager: manager, FieldValidation: level})
	case "patch":
		o := &metav1.PatchOptions{DryRun: asked, FieldManager: manager, FieldValidation: level, Force: force(t)}
		kind, errs = "PatchOptions", validation.ValidatePatchOptions(o, patchType(r))
	}
	if len(errs) > 0 {
		return false, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: kind}, "", errs)
	}
	return len(asked) > 0, nil // deletions have options of their own
}

// force is whether an apply wins its conflicts; nil: not said.
func force(t *route) *bool {
	values, ok := t.query["force"]
	if !ok {
		return nil
	}
	var out *bool
	_ = runtime.Convert_Slice_string_To_Pointer_bool(&values, &out, nil) // never fails: what is not false is true
	return out
}

// header finds out what a body in JSON says it is; what does not say is taken for the wanted kind. shown is the body as it came, err why
// it could not be made JSON.
func header(i *api.Info, shown, data []byte, err error) (schema.GroupVersionKind, error) {
	var gvk *schema.GroupVersionKind
	if err == nil {
		gvk, err = kjson.DefaultMetaFactory.Interpret(data)
	}
	if err != nil {
		summary := "<empty>"
		if i.Custom != nil || bytes.HasPrefix(shown, []byte("{")) {
			return i.GVK(), apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", i.Kind, err, beginning(shown)))
		}
		if len(shown) > 30 {
			summary = fmt.Sprintf("%x ...", shown[:30])
		} else if len(shown) > 0 {
			summary = fmt.Sprintf("%x", shown)
		}
		return i.GVK(), apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): %v (%s)", i.Kind, err, summary))
	}
	got := *gvk
	if got.Kind == "" && i.Custom != nil { // which have no type of their own that says it
		return got, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s): Object 'Kind' is missing in '%s' (%s)", i.Kind, data, beginning(shown)))
	}
	if got.Kind == "" {
		got.Kind = i.Kind
	}
	if got.Version == "" {
		got.Group, got.Version = i.Group, i.Version
	}
	return got, nil
}

// beginning is how errors about custom resources show a body: as text where it is an object.
func beginning(data []byte) string {
	verb, more := "%x", ""
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		verb = "%s"
	}
	switch {
	case len(data) == 0:
		return "<empty>"
	case len(data) > 30:
		data, more = data[:30], " ..."
	}
	return fmt.Sprintf(verb, data) + more
}

// decode reads a body, of which the object keeps nothing, into a new object of info's kind.
func decode(i *api.Info, media string, data []byte, level validationLevel, warn func(string)) (api.Object, error) {
	var obj api.Object
	if media == typeProtobuf && i.Custom != nil {
		return nil, unsupported(media, typeJSON, typeYAML)
	}
	if media == typeProtobuf {
		got, gvk, err := api.DecodeProtobuf(i, data)
		if errors.Is(err, api.ErrHeavy) {
			return nil, apierrors.NewRequestEntityTooLargeError(err.Error())
		}
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if gvk != nil && !gvk.Empty() && *gvk != i.GVK() {
			return nil, wrongKind(i, *gvk)
		}
		obj = got
	} else {
		doc, twice, err := data, error(nil), error(nil)
		if media == typeYAML {
			doc, twice, err = yamljson.Convert(data)
		}
		if errors.Is(err, yamljson.ErrTooMany) {
			return nil, apierrors.NewRequestEntityTooLargeError(err.Error())
		}
		if err := crowded(i, doc); err != nil {
			return nil, err
		}
		gvk, err := header(i, data, doc, err)
		if err != nil {
			return nil, err
		}
		if gvk != i.GVK() && (i.Custom == nil || gvk.Kind == i.Kind) {
			return nil, wrongKind(i, gvk)
		}
		obj = i.New()
		strict, err := read(i, obj, doc)
		if media == typeYAML && twice == nil && (err != nil || len(strict) > 0) { // said in the order in which others say it
			if sorted, _, broken := yamljson.Library(data); broken == nil {
				obj = i.New()
				strict, err = read(i, obj, sorted)
			}
		}
		if twice != nil {
			strict = append([]error{twice}, strict...)
		}
		if err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", i.Kind, i.Version, i.Kind, err))
		}
		if gvk != i.GVK() {
			return nil, apierrors.NewInvalid(gvk.GroupKind(), obj.GetName(), becomes(gvk, i.GVK()))
		}
		if err := report(i, strict, level, warn); err != nil {
			return nil, err
		}
	}
	obj.GetObjectKind().SetGroupVersionKind(i.GVK())
	return obj, nil
}

// read decodes JSON into a new object.
func read(i *api.Info, obj api.Object, data []byte) (strict []error, err error) {
	strict, err = api.DecodeJSON(obj, data)
	if err == nil && i.Custom != nil {
		var more []error
		more, err = i.Custom.Receive(obj)
		strict = append(strict, more...)
	}
	return strict, err
}

// report is what Strict refuses, Warn says and Ignore hides.
func report(i *api.Info, strict []error, level validationLevel, warn func(string)) error {
	if len(strict) == 0 || level == metav1.FieldValidationIgnore {
		return nil
	}
	if level == metav1.FieldValidationStrict {
		return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", i.Kind, i.Version, i.Kind, runtime.NewStrictDecodingError(strict)))
	}
	for _, e := range strict {
		warn(e.Error())
	}
	return nil
}

func wrongKind(i *api.Info, got schema.GroupVersionKind) error {
	want := i.GVK()
	if got.Kind == want.Kind && (i.Custom != nil || api.Scheme().Recognizes(got)) {
		return apierrors.NewBadRequest(fmt.Sprintf("the API version in the data (%s) does not match the expected API version (%s)", got.GroupVersion(), want.GroupVersion()))
	}
	why := fmt.Sprintf("no kind %q is registered for version %q", got.Kind, got.GroupVersion())
	if api.Scheme().Recognizes(got) {
		group, _, _ := strings.Cut(want.Group, ".")
		if group == "" {
			group = "core"
		}
		why = fmt.Sprintf("converting (%s.%s) to (%s.%s): unknown conversion", got.Version, got.Kind, group, want.Kind)
	}
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %s", got.Kind, got.Version, want.Kind, why))
}

// input is the object that a create or update sends, as it came.
type input struct {
	info  *api.Info
	media string
	level validationLevel
	data  *[]byte // pooled
}

var inputs = sync.Pool{New: func() any { return new([]byte) }}

// receive reads what a create or update sends; done must be called on it.
func receive(r *http.Request, t *route, i *api.Info) (in input, err error) {
	in = input{info: i, data: inputs.Get().(*[]byte)}
	if in.media, err = contentType(r); err != nil {
		return in, err
	}
	if in.level, err = fieldValidation(t); err != nil {
		return in, err
	}
	data, err := body(r, *in.data)
	if err == nil {
		*in.data = data
	}
	return in, err
}

// object decodes it, each time into a new object.
func (in input) object(warn func(string)) (api.Object, error) {
	return decode(in.info, in.media, *in.data, in.level, warn)
}

func (in input) done() {
	if cap(*in.data) <= bodyChunk {
		inputs.Put(in.data)
	}
}

// create stores a new object, or hands what is sent to whoever answers that subresource.
func (s *Server) create(w http.ResponseWriter, r *http.Request, t *route, q registry.Request) error {
	f, err := accept(r, s.Registry.Creator(creatorName(t), t.subresource) == nil)
	if err != nil {
		return err
	}
	if c := s.Registry.Creator(creatorName(t), t.subresource); c != nil {
		return s.createThrough(w, r, t, q, f, c)
	}
	if t.subresource != "" {
		return methodNotAllowed()
	}
	in, err := receive(r, t, t.info)
	defer in.done()
	if err != nil {
		return err
	}
	obj, err := in.object(q.Warn)
	if err != nil {
		return err
	}
	auditSent(w, in, obj)
	q.Name = "" // the object names itself
	got, err := s.Registry.Create(r.Context(), q, obj)
	if err != nil {
		return err
	}
	return s.answerWritten(w, r, http.StatusCreated, f, t.info, q, got)
}

func creatorName(t *route) string { return t.info.Resource }

// createThrough serves subresources such as pods/binding and virtual resources such as tokenreviews.
func (s *Server) createThrough(w http.ResponseWriter, r *http.Request, t *route, q registry.Request, f form, c registry.Creator) error {
	i := t.info
	if t.subresource != "" {
		i = t.info.Taking(t.subresource)
	}
	in, err := receive(r, t, i)
	defer in.done()
	if err != nil {
		return err
	}
	obj, err := in.object(q.Warn)
	if err != nil {
		return err
	}
	auditSent(w, in, obj)
	if obj.GetNamespace() == "" && t.info.Namespaced {
		obj.SetNamespace(q.Namespace)
	}
	got, err := c(r.Context(), q, obj)
	if err != nil {
		return err
	}
	if status, ok := got.(*metav1.Status); ok {
		status.Kind, status.APIVersion = "Status", "v1"
		auditStatus(w, status)
		data, err := encodeMeta(f, "v1", "Status", status)
		if err != nil {
			return err
		}
		send(w, r, http.StatusCreated, f.media, data)
		return nil
	}
	return s.answer(w, r, http.StatusCreated, f, i, got.(api.Object))
}

// update replaces an object, its status, scale or another part of it.
func (s *Server) update(w http.ResponseWriter, r *http.Request, t *route, q registry.Request) error {
	f, err := accept(r, true)
	if err != nil {
		return err
	}
	i := t.info
	if t.subresource == "scale" {
		i = registry.ScaleInfo
	}
	in, err := receive(r, t, i)
	defer in.done()
	if err != nil {
		return err
	}
	obj, err := in.object(q.Warn)
	if err != nil {
		return err
	}
	auditSent(w, in, obj)
	next := obj
	fresh := func() (o api.Object, err error) { // what was handed out is written to
		if o, next = next, nil; o == nil {
			return in.object(func(string) {})
		}
		return o, nil
	}
	replace := func(context.Context, api.Object) (api.Object, error) { return fresh() }
	if err := registry.Addressed(q, obj); err != nil {
		return err
	}
	q.Sent = func() (api.Object, error) { return in.object(func(string) {}) }
	if t.subresource != "" && (t.info.Custom == nil || t.subresource != "status") || obj.GetResourceVersion() != "" {
		return s.change(w, r, t, q, f, replace)
	}
	if registry.NeedsVersion(t.info) {
		replace = func(context.Context, api.Object) (api.Object, error) { // it is there: a new one needs no version
			return nil, apierrors.NewInvalid(schema.GroupKind{Group: i.Group, Kind: i.Resource}, obj.GetName(), field.ErrorList{
				field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
		}
	}
	if err := s.change(w, r, t, q, f, replace); !registry.CreatesOnUpdate(t.info) || !apierrors.IsNotFound(err) {
		return err
	}
	a := t.attributes()
	a.User, a.Verb = q.User, "create"
	if err := s.allow(r.Context(), a); err != nil {
		return err
	}
	if obj, err = fresh(); err != nil {
		return err
	}
	got, err := s.Registry.Create(r.Context(), q, obj)
	if err != nil {
		return err
	}
	return s.answerWritten(w, r, http.StatusCreated, f, t.info, q, got)
}

// change runs a change through the registry and answers with what became of the object.
func (s *Server) change(w http.ResponseWriter, r *http.Request, t *route, q registry.Request, f form, c registry.Change) error {
	run, i := s.Registry.Update, t.info
	if t.subresource == "scale" {
		run, i = s.Registry.Scale, registry.ScaleInfo
	}
	got, err := run(r.Context(), q, c)
	if err != nil {
		return err
	}
	return s.answerWritten(w, r, http.StatusOK, f, i, q, got)
}

// delete begins an object's deletion; the answer is a Status when it is gone, else the object.
func (s *Server) delete(w http.ResponseWriter, r *http.Request, t *route, q registry.Request) error {
	f, err := accept(r, true)
	if err != nil {
		return err
	}
	o, err := deleteOptions(r, t)
	if err != nil {
		return err
	}
	auditOptions(w, r, o)
	q.DryRun = q.DryRun || len(o.DryRun) > 0
	if registry.Unsafe(o) { // Source: KEP-3926: it takes a right of its own
		a := t.attributes()
		a.User, a.Verb = q.User, "unsafe-delete-ignore-read-errors"
		if err := s.allow(r.Context(), a); err != nil {
			return err
		}
	}
	obj, gone, err := s.Registry.Delete(r.Context(), q, o)
	if err != nil {
		return err
	}
	if !gone || obj != nil && returned[t.info.StoreKey] {
		return s.answer(w, r, http.StatusOK, f, t.info, obj)
	}
	status := &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: q.Name, Group: t.info.Group, Kind: t.info.Resource}}
	if obj != nil { // nil: it could not be read
		status.Details.UID = obj.GetUID()
	}
	auditStatus(w, status)
	data, err := encodeMeta(form{media: f.media, pretty: f.pretty}, "v1", "Status", status)
	if err != nil {
		return err
	}
	send(w, r, http.StatusOK, f.media, data)
	return nil
}

// returned are the resources whose last state is the answer to their deletion, by StoreKey.
var returned = map[string]bool{"pods": true, "podtemplates": true, "persistentvolumes": true, "persistentvolumeclaims": true,
	"resourcequotas": true, "serviceaccounts": true, "services/specs": true,
	"deviceclasses": true, "resourceclaims": true, "resourceclaimtemplates": true, "resourceslices": true, "resourcepoolstatusrequests": true}

// deleteOptions come in the body or, without one, in the query.
func deleteOptions(r *http.Request, t *route) (o metav1.DeleteOptions, err error) {
	data, err := body(r, nil)
	if err != nil {
		return o, err
	}
	if len(data) > 0 {
		media, err := contentType(r)
		if err != nil {
			return o, err
		}
		switch media {
		case typeProtobuf:
			raw, _, _, err := api.RawStored(data)
			if err == nil {
				err = o.Unmarshal(raw)
			}
			if err != nil {
				return o, apierrors.NewBadRequest(err.Error())
			}
		default:
			read := api.DecodeJSON
			if media == typeYAML {
				read = yamljson.Decode
			} else if _, err := kjson.DefaultMetaFactory.Interpret(data); err != nil {
				return o, apierrors.NewBadRequest(err.Error())
			}
			if _, err := read(&o, data); err != nil {
				return o, apierrors.NewBadRequest(err.Error())
			}
			if o.Kind != "" && o.Kind != "DeleteOptions" {
				return o, apierrors.NewBadRequest(fmt.Sprintf("no kind %q is registered for version %q", o.Kind, o.APIVersion))
			}
		}
		return o, nil
	}
	if err := metav1.Convert_url_Values_To_v1_DeleteOptions(&t.query, &o, nil); err != nil {
		return o, apierrors.NewBadRequest(err.Error())
	}
	return o, nil
}

// deleteCollection deletes what the selectors take and answers with the list of it.
func (s *Server) deleteCollection(w http.ResponseWriter, r *http.Request, t *route, q registry.Request) error {
	f, err := accept(r, true)
	if err != nil {
		return err
	}
	o, err := deleteOptions(r, t)
	if err != nil {
		return err
	}
	auditOptions(w, r, o)
	lo, filter, err := listOptions(t)
	if err != nil {
		return err
	}
	if _, err := parseVersion(lo.ResourceVersion); err != nil {
		return err
	}
	if lo.Continue != "" {
		if _, err := parseContinue(lo.Continue); err != nil {
			return err
		}
	}
	q.DryRun = q.DryRun || len(o.DryRun) > 0
	q.Name = ""
	objs, err := s.Registry.DeleteCollection(r.Context(), q, filter, o)
	if err != nil {
		return err
	}
	return s.answerList(w, r, f, t.info, source{objects: objs, revision: s.Registry.State.Revision(), remaining: -1})
}
