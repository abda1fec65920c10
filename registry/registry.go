// Package registry is the life of one object, without HTTP: create, read, update,
// patch, delete. What comes in is a Request and a decoded object, what goes out is the
// object as stored or an API Status error. It is called by the API server for
// every request and by client/direct for the parts in the process.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Request says what is being done to which object, and by whom.
type Request struct {
	Info        *api.Info
	Namespace   string
	Name        string
	Subresource string
	User        authenticationv1.UserInfo
	Manager     string // whom metadata.managedFields names for the write
	DryRun      bool
	Warn        func(text string)       // hands a warning to the client; may be nil
	Annotate    func(key, value string) // notes something for the audit trail; may be nil

	// FieldManager and FieldValidation are as the client said them, for those who are asked about the request.
	FieldManager, FieldValidation string

	// Sent gives the object of a PUT as the client sent it; nil: the request is none.
	Sent func() (api.Object, error)
	// Patched: the object is one that a patch was applied to, not one that a client sent.
	Patched bool

	system  bool // the write is the server's own doing: no manager gets its fields
	applied bool // the object has the managedFields that the write leaves
	several bool // the object is one of a collection, of which the request names none
}

// Creator answers the create of a virtual resource ("tokenreviews") or of a
// subresource ("pods/binding").
type Creator func(ctx context.Context, req Request, obj runtime.Object) (runtime.Object, error)

// Extra derives, for one resource, further writes that must happen together with
// the write of obj (old nil: a create; obj nil: a delete) and may complete obj, such as the addresses of a Service.
type Extra func(ctx context.Context, req Request, obj, old api.Object) ([]store.Op, error)

// Check is a rule of a resource that its record cannot hold, since it takes more than the object: whether an expression compiles. old is nil on create.
type Check func(obj, old api.Object) field.ErrorList

// Registry is the only writer of objects. Safe for concurrent use.
type Registry struct {
	Store     store.Store
	State     *watch.State
	Admission admission.Chain
	Log       *slog.Logger
	Now       func() time.Time

	creators map[string]Creator
	extras   map[string]Extra
	checks   map[string]Check
	versions map[string][]*api.Info // by StoreKey
}

// New makes a registry of the given resources; Handle and Together complete it before its first request.
func New(s store.Store, st *watch.State, log *slog.Logger, now func() time.Time, infos []*api.Info) *Registry {
	r := &Registry{Store: s, State: st, Log: log, Now: now, creators: map[string]Creator{}, extras: map[string]Extra{}, checks: map[string]Check{}, versions: map[string][]*api.Info{}}
	for _, i := range infos {
		r.versions[i.StoreKey] = append(r.versions[i.StoreKey], i)
	}
	r.Handle("pods/binding", r.bind)
	r.Handle("bindings", r.bind)
	r.Handle("pods/eviction", r.evict)
	return r
}

// Handle sets who answers creates of a virtual resource or subresource.
func (r *Registry) Handle(resource string, c Creator) { r.creators[resource] = c }

// Together sets what else is written with a resource's objects; resource is its StoreKey.
func (r *Registry) Together(resource string, e Extra) { r.extras[resource] = e }

// Also adds a check to a resource's validation; resource is its StoreKey.
func (r *Registry) Also(resource string, c Check) { r.checks[resource] = c }

// Connect asks admission whether somebody may connect to what the request names; with says how, such as a PodExecOptions.
func (r *Registry) Connect(ctx context.Context, req Request, with runtime.Object) error {
	a := req.attributes(admission.Connect, nil, nil)
	a.Connection = with
	if err := r.Admission.Mutate(ctx, a); err != nil {
		return err
	}
	return r.Admission.Validate(ctx, a)
}

// attributes are what admission is asked about.
func (q Request) attributes(op admission.Operation, obj, old api.Object) *admission.Attributes {
	return &admission.Attributes{Operation: op, Info: q.Info, Namespace: q.Namespace, Name: q.Name, Subresource: q.Subresource, Object: obj, Old: old,
		User: q.User, DryRun: q.DryRun, Warn: q.warn, FieldManager: q.FieldManager, FieldValidation: q.FieldValidation, OfCollection: q.several, System: q.system, Annotate: q.Annotate}
}

// Creator gives who answers creates of a subresource or virtual resource, behind admission, or nil.
func (r *Registry) Creator(resource, subresource string) Creator {
	if subresource != "" {
		resource += "/" + subresource
	}
	answer := r.creators[resource]
	if answer == nil {
		return nil
	}
	return func(ctx context.Context, req Request, obj runtime.Object) (runtime.Object, error) {
		o, _ := obj.(api.Object)
		virtual := req.Subresource == ""
		if virtual {
			if err := identify(&req, o); err != nil {
				return nil, err
			}
			o.SetUID("")
			o.SetCreationTimestamp(metav1.Time{})
			o.SetDeletionTimestamp(nil)
			o.SetDeletionGracePeriodSeconds(nil)
			o.SetSelfLink("")
			r.manage(req, nil, o)
		}
		a := req.attributes(admission.Create, o, nil)
		if !virtual {
			a.As = req.Info.Taking(req.Subresource)
		}
		if err := r.Admission.Mutate(ctx, a); err != nil {
			return nil, err
		}
		if virtual { // a review's errors say its group, and neither kind nor name: so upstream does
			if errs := req.Info.Validate(o, nil); len(errs) > 0 {
				return nil, newInvalid(schema.GroupKind{Group: req.Info.Group}, "", api.Plainly(errs))
			}
		}
		if err := r.Admission.Validate(ctx, a); err != nil {
			return nil, err
		}
		return answer(ctx, req, obj)
	}
}

// Create stores a new object and returns it as stored. Its lines are the write path, in order.
func (r *Registry) Create(ctx context.Context, req Request, obj api.Object) (api.Object, error) {
	if err := identify(&req, obj); err != nil {
		return nil, err
	}
	generate := obj.GetName() == "" && obj.GetGenerateName() != ""
	for try := 1; ; try++ {
		attempt := obj
		if generate {
			attempt = obj.DeepCopyObject().(api.Object)
		}
		got, generated, err := r.create(ctx, req, attempt)
		switch {
		case attempt.GetGenerateName() == "" || !apierrors.IsAlreadyExists(err):
			return got, err
		case !generated || try == 8: // what somebody named is the same the next time
			return nil, apierrors.NewGenerateNameConflict(req.Info.GroupResource(), attempt.GetName(), 1)
		}
	}
}

// create makes one attempt; generated: at a name that was made up for it.
func (r *Registry) create(ctx context.Context, req Request, obj api.Object) (_ api.Object, generated bool, _ error) {
	i := req.Info
	if i.Namespaced { // said before anything else; the write makes sure of it
		if _, err := r.namespace(ctx, req, obj); err != nil {
			return nil, false, err
		}
	}
	i.Default(obj) // fill in what the user left out
	r.manage(req, nil, obj)
	a := req.attributes(admission.Create, obj, nil)
	a.Name, a.Subresource = obj.GetName(), ""
	if err := r.Admission.Mutate(ctx, a); err != nil {
		return nil, false, err
	}
	if a.Altered && i.Namespaced && obj.GetNamespace() != req.Namespace {
		return nil, false, otherNamespace()
	}
	if obj.GetName() == "" && obj.GetGenerateName() != "" { // Source: AdmissionRequest.name: who mutates sees none
		generated = true
		obj.SetName(generateName(obj.GetGenerateName()))
		if _, ok := obj.(*corev1.Namespace); ok {
			i.Default(obj) // its name is one of its labels
		}
	}
	if req.Name == "" { // it has its name from here, or from who mutates
		req.Name = obj.GetName()
		a.Name = req.Name
	}
	asked := obj.GetGeneration()
	r.stamp(req, obj)   // uid, creationTimestamp, generation
	i.Prepare(obj, nil) // drop what a user may not set, such as status
	if csr, ok := obj.(*certificatesv1.CertificateSigningRequest); ok {
		signedBy(csr, req)
	}
	errs := validation.ValidateObjectMetaAccessor(api.DoubtfulNew(obj), i.Namespaced, nameRule(i), field.NewPath("metadata"))
	errs = append(errs, finalizers(i, obj)...)
	if i.GenerationOf == nil || i.LateGeneration {
		errs = append(errs, validation.ValidateNonnegativeField(asked, field.NewPath("metadata", "generation"))...)
	}
	errs = append(errs, i.Validate(obj, nil)...)
	if check := r.checks[i.StoreKey]; check != nil {
		errs = joined(errs, check(i.AsStored(obj), nil))
	}
	if len(errs) > 0 {
		return nil, false, invalid(i, obj.GetName(), errs)
	}
	if err := r.Admission.Validate(ctx, a); err != nil {
		return nil, false, err
	}
	req.warnings(obj, nil)
	got, err := r.save(ctx, req, obj) // or not, on a dry run
	return got, generated, err
}

// joined puts what is wrong with expressions behind all else, but that of a match condition before what is wrong with its name.
// Source: what Kubernetes 1.37 does.
func joined(errs, more field.ErrorList) field.ErrorList {
	if len(more) == 0 {
		return errs
	}
	before := map[string]field.ErrorList{} // by the field that they stand before
	var behind field.ErrorList
	names := map[string]bool{}
	for _, e := range errs {
		names[e.Field] = true
	}
	for _, e := range more {
		of, ok := strings.CutSuffix(e.Field, ".expression")
		if name := of + ".name"; ok && strings.Contains(of, "matchConditions[") && names[name] {
			before[name] = append(before[name], e)
		} else {
			behind = append(behind, e)
		}
	}
	out := make(field.ErrorList, 0, len(errs)+len(more))
	for _, e := range errs {
		out = append(append(out, before[e.Field]...), e)
		delete(before, e.Field)
	}
	return append(out, behind...)
}

// finalizers complains of those that say nothing of who handles them.
func finalizers(info *api.Info, obj api.Object) (errs field.ErrorList) {
	if !info.OwnedFinalizers {
		return nil
	}
	for i, f := range obj.GetFinalizers() {
		if !strings.Contains(f, "/") && f != string(corev1.FinalizerKubernetes) && f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "finalizers").Index(i), f, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// identify checks that the object is the one that the request names.
func identify(req *Request, obj api.Object) error {
	if req.Info.Namespaced {
		switch obj.GetNamespace() {
		case "":
			obj.SetNamespace(req.Namespace)
		case req.Namespace:
		default:
			return otherNamespace()
		}
		if req.Namespace == "" {
			return apierrors.NewBadRequest("an empty namespace may not be set during creation")
		}
	} else if obj.GetNamespace() != "" {
		obj.SetNamespace("")
	}
	if req.Name != "" {
		switch obj.GetName() {
		case "":
			obj.SetName(req.Name)
		case req.Name:
		default:
			return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), req.Name))
		}
	}
	if obj.GetName() != "" {
		req.Name = obj.GetName()
	}
	return nil
}

// stamp sets what the system alone sets on a new object.
func (r *Registry) stamp(req Request, obj api.Object) {
	obj.SetUID(types.UID(uuid.NewString()))
	obj.SetCreationTimestamp(metav1.NewTime(r.Now().UTC().Truncate(time.Second)))
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	obj.SetGeneration(0)
	if req.Info.GenerationOf != nil && !req.Info.LateGeneration {
		obj.SetGeneration(1)
	}
}

func nameRule(i *api.Info) validation.ValidateNameFunc {
	if i.ValidateName != nil {
		return i.ValidateName
	}
	return func(name string, prefix bool) []string {
		if prefix {
			return validation.NameIsDNSSubdomain(name, prefix)
		}
		return api.DNSSubdomain(name)
	}
}

// signedBy notes in a signing request who makes it: the signer judges by that.
func signedBy(csr *certificatesv1.CertificateSigningRequest, req Request) {
	csr.Spec.Username, csr.Spec.UID, csr.Spec.Groups, csr.Spec.Extra = req.User.Username, req.User.UID, slices.Clone(req.User.Groups), nil
	for k, v := range req.User.Extra {
		if csr.Spec.Extra == nil {
			csr.Spec.Extra = map[string]certificatesv1.ExtraValue{}
		}
		csr.Spec.Extra[k] = certificatesv1.ExtraValue(v)
	}
}

// generateName appends five random characters, shortening what is too long for them.
func generateName(base string) string {
	const longest = 63 - 5
	if len(base) > longest {
		base = base[:longest]
	}
	return base + rand.String(5)
}

// save writes a new object, together with what belongs to it, into a namespace that exists.
func (r *Registry) save(ctx context.Context, req Request, wanted api.Object) (api.Object, error) {
	key := watch.Key(req.Info, wanted.GetNamespace(), wanted.GetName())
	for {
		obj := wanted
		if r.extras[req.Info.StoreKey] != nil { // which completes it, differently at each try
			obj = wanted.DeepCopyObject().(api.Object)
		}
		if obj.GetResourceVersion() != "" && !req.DryRun {
			return nil, plain(errors.New("resourceVersion should not be set on objects to be created"))
		}
		t := store.Txn{Class: class(req.Info)}
		if req.Info.Namespaced {
			op, err := r.namespace(ctx, req, obj)
			if err != nil {
				return nil, err
			}
			t.Ops = append(t.Ops, op)
		}
		if extra := r.extras[req.Info.StoreKey]; extra != nil {
			ops, err := extra(ctx, req, obj, nil)
			if err != nil {
				return nil, err
			}
			t.Ops = append(t.Ops, ops...)
		}
		if req.Info.Custom != nil {
			op, err := r.defined(ctx, req)
			if err != nil {
				return nil, err
			}
			t.Ops = append(t.Ops, op)
		}
		quotas, err := r.charge(req, obj, nil)
		if err != nil {
			return nil, err
		}
		t.Ops = append(t.Ops, quotas...)
		if req.DryRun {
			if item := r.State.Get(req.Info.Stored, obj.GetNamespace(), obj.GetName()); item != nil {
				return nil, apierrors.NewAlreadyExists(req.Info.GroupResource(), obj.GetName())
			}
			return tried(req.Info, obj)
		}
		stored, value, err := encode(req.Info, obj)
		if err != nil {
			return nil, err
		}
		t.Ops = append(t.Ops, store.Op{Key: key, Value: value, Life: req.Info.Stored.Life})
		revision, err := r.commit(ctx, req.Info, key, stored, t)
		var conflict *store.Conflict
		switch {
		case err == nil:
			return finish(req.Info, obj, stored, revision), nil
		case !errors.As(err, &conflict):
			return nil, unavailable(err)
		case conflict.Key == key:
			return nil, apierrors.NewAlreadyExists(req.Info.GroupResource(), obj.GetName())
		}
		// The namespace or an allocation moved on: look again.
		if err := r.State.Now(ctx); err != nil {
			return nil, unavailable(err)
		}
	}
}

// namespace is the condition that the object's namespace is there when the object is written.
func (r *Registry) namespace(ctx context.Context, req Request, obj api.Object) (store.Op, error) {
	info := r.State.Info("namespaces")
	for try := 0; ; try++ {
		item := r.State.Get(info, "", obj.GetNamespace())
		if item != nil {
			o, err := item.Object()
			if err != nil {
				return store.Op{}, apierrors.NewInternalError(err)
			}
			if ns := o.(*corev1.Namespace); ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
				err := apierrors.NewForbidden(req.Info.GroupResource(), obj.GetName(),
					fmt.Errorf("unable to create new content in namespace %s because it is being terminated", obj.GetNamespace()))
				err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
					Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", obj.GetNamespace()), Field: "metadata.namespace"})
				return store.Op{}, err
			}
			return store.Op{Key: watch.Key(info, "", obj.GetNamespace()), Expect: store.Revision(item.Revision), Check: true}, nil
		}
		if try > 0 {
			return store.Op{}, apierrors.NewNotFound(corev1.Resource("namespaces"), obj.GetNamespace())
		}
		if err := r.State.Now(ctx); err != nil {
			return store.Op{}, unavailable(err)
		}
	}
}

// defined is the condition that a custom resource's definition is there, and stays, when an object of it is written.
func (r *Registry) defined(ctx context.Context, req Request) (store.Op, error) {
	info := r.State.Info(api.DefinitionsKey)
	item := r.State.Get(info, "", req.Info.Custom.Definition)
	if item == nil {
		return store.Op{}, apierrors.NewNotFound(req.Info.GroupResource(), req.Name)
	}
	if api.Deleting(item.Raw()) {
		return store.Op{}, Terminating(req.Info, "create")
	}
	return store.Op{Key: watch.Key(info, "", item.Name), Expect: store.Revision(item.Revision), Check: true}, nil
}

// Terminating is the 405 of a custom resource whose definition is being deleted.
func Terminating(i *api.Info, verb string) error {
	err := apierrors.NewMethodNotSupported(i.GroupResource(), verb)
	err.ErrStatus.Message = verb + " not allowed while custom resource definition is terminating"
	return err
}

// mostWritten bounds what one transaction writes, in every engine. Source: etcd, --max-request-bytes; upstream stores no larger object.
const mostWritten = 1536 << 10

// commit writes a transaction and waits until the state shows it, so that whoever is answered
// reads his own write. stored becomes the state's typed object under key.
func (r *Registry) commit(ctx context.Context, i *api.Info, key string, stored api.Object, t store.Txn) (uint64, error) {
	size := 0
	for _, op := range t.Ops {
		size += len(op.Key) + len(op.Value)
	}
	if size > mostWritten {
		return 0, plain(errors.New("etcdserver: request is too large")) // in the words of Kubernetes 1.37
	}
	revision, err := r.Store.Commit(ctx, t)
	if err != nil {
		return 0, err
	}
	if stored != nil {
		stored.SetResourceVersion(fmt.Sprint(uint64(revision)))
		r.State.Offer(key, uint64(revision), stored)
	}
	return uint64(revision), r.State.Wait(ctx, uint64(revision))
}

// encode gives the object as it is stored: its stored version, typed and as bytes.
func encode(i *api.Info, obj api.Object) (stored api.Object, value []byte, err error) {
	stored = obj
	if i.ToStored != nil {
		if stored, err = i.ToStored(obj); err != nil {
			return nil, nil, apierrors.NewInternalError(err)
		}
	}
	version := stored.GetResourceVersion()
	stored.SetResourceVersion("")
	value, err = api.EncodeStored(i.Stored, stored)
	stored.SetResourceVersion(version)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	return stored, value, nil
}

// finish gives the object the revision it was written at, and shows it as it is read: with the defaults of a status that was left out.
func finish(i *api.Info, obj, stored api.Object, revision uint64) api.Object {
	if i.Custom != nil && i.HasStatus && obj != stored {
		i.Default(obj)
	}
	if obj != stored {
		obj.SetResourceVersion(fmt.Sprint(revision))
	}
	return obj
}

// tried is what a dry run leaves: the object as it would be read, if it were stored in another version. One in its own is read as it is, but for
// an empty list, say, which is none then: whoever shows it sees to that.
func tried(i *api.Info, obj api.Object) (api.Object, error) {
	if i.Custom != nil || i.Stored == i {
		return obj, nil
	}
	_, value, err := encode(i, obj)
	if err != nil {
		return nil, err
	}
	out, err := api.DecodeStored(i, value)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out.SetResourceVersion(obj.GetResourceVersion())
	return out, nil
}

func class(i *api.Info) store.Class {
	if i.Stored.Relaxed {
		return store.Relaxed
	}
	return store.Durable
}

// otherNamespace is what a client is told whose object names another namespace than its request.
func otherNamespace() error {
	return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
}

// unavailable is what a client is told when the store did not answer.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("request did not complete within the allowed duration", 0)
	case errors.Is(err, store.ErrReadOnly):
		return apierrors.NewServiceUnavailable(err.Error())
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return apierrors.NewInternalError(err)
}

func (q Request) warn(text string) {
	if q.Warn != nil {
		q.Warn(text)
	}
}

func (q Request) warnings(obj, old api.Object) {
	if q.Info.Warnings != nil && q.Warn != nil {
		for _, text := range q.Info.Warnings(obj, old) {
			q.Warn(text)
		}
	}
}
