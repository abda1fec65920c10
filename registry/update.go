package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/admission"
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/certificates"
	"github.com/lighter-k8s/lighter/api/core"
	"github.com/lighter-k8s/lighter/api/equal"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Change makes the wanted object from the present one, which it must not write to. It is called
// again when somebody else wrote in between.
type Change func(ctx context.Context, old api.Object) (api.Object, error)

// Replace is the Change of a PUT.
func Replace(i *api.Info, obj api.Object) Change {
	return func(context.Context, api.Object) (api.Object, error) { return i.Copied(obj), nil }
}

// Addressed checks that what a PUT sends says that it is what the URL names, which is asked before anything is looked for.
func Addressed(req Request, obj api.Object) error {
	switch name := obj.GetName(); {
	case req.Info.Namespaced && obj.GetNamespace() != "" && obj.GetNamespace() != req.Namespace:
		return otherNamespace()
	case name == "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", req.Name))
	case name != req.Name:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, req.Name))
	}
	return nil
}

// What a PUT does differs by resource, by StoreKey: some are created by it when they are not there, and some must
// say which version they replace. Source: what Kubernetes 1.37 does.
var (
	createsOnUpdate = map[string]bool{"runtimeclasses": true, "leasecandidates": true, "services/endpoints": true, "events": true, "limitranges": true, "services/specs": true, "leases": true,
		"roles": true, "rolebindings": true, "clusterroles": true, "clusterrolebindings": true}
	needsVersion = map[string]bool{"poddisruptionbudgets": true, "validatingwebhookconfigurations": true, "mutatingwebhookconfigurations": true,
		"validatingadmissionpolicies": true, "validatingadmissionpolicybindings": true, "runtimeclasses": true, "volumeattachments": true,
		"csinodes": true, "csidrivers": true, "csistoragecapacities": true, "storageversions": true, "resourcepoolstatusrequests": true,
		"mutatingadmissionpolicies": true, "mutatingadmissionpolicybindings": true, "apiregistration.k8s.io/apiservices": true, "clustertrustbundles": true, "podcertificaterequests": true,
		"leases": true, "leasecandidates": true, "devicetaintrules": true, "storageversionmigrations": true, api.DefinitionsKey: true}
)

// CreatesOnUpdate tells whether a PUT of what is not there creates it.
func CreatesOnUpdate(i *api.Info) bool { return createsOnUpdate[i.StoreKey] }

// NeedsVersion tells whether a PUT must carry the resourceVersion that it replaces.
func NeedsVersion(i *api.Info) bool { return i.Custom != nil || needsVersion[i.StoreKey] }

// patchRetries is how often a change without a resourceVersion is tried against a newer state.
const patchRetries = 100

// Update changes an object ("" or its status subresource, or scale through Scale) and returns it as stored.
// An object whose resourceVersion is set and not the present one gets 409 and is left alone; one without is
// applied to whatever is there. Source: API conventions, Concurrency control.
func (r *Registry) Update(ctx context.Context, req Request, change Change) (api.Object, error) {
	for try := 0; ; try++ {
		item, old, err := r.current(ctx, req)
		if err != nil {
			return nil, err
		}
		obj, err := change(ctx, old)
		if err != nil {
			return nil, err
		}
		pinned := obj.GetResourceVersion() != "" && obj.GetResourceVersion() != "0"
		if pinned && obj.GetResourceVersion() != fmt.Sprint(item.Revision) {
			// Perhaps memory is behind another server's write: ask the store before refusing.
			if err := r.State.Now(ctx); err != nil {
				return nil, unavailable(err)
			}
			if newer := r.State.Get(req.Info.Stored, req.Namespace, req.Name); newer != nil && newer != item && try < patchRetries {
				continue
			}
			return nil, modified(req)
		}
		got, err := r.update(ctx, req, item, old, obj)
		var conflict *store.Conflict
		if !errors.As(err, &conflict) {
			return got, err
		}
		if try >= patchRetries {
			return nil, modified(req)
		}
		if err := r.State.Now(ctx); err != nil {
			return nil, unavailable(err)
		}
		// The next round sees the newer object; a pinned change is refused there.
	}
}

// update writes obj in old's place; a *store.Conflict says that old is no longer there.
func (r *Registry) update(ctx context.Context, req Request, item *watch.Item, old, obj api.Object) (api.Object, error) {
	i := req.Info
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() {
		if req.Patched {
			return nil, invalid(i, req.Name, field.ErrorList{field.Invalid(field.NewPath("metadata", "uid"), uid, validation.FieldImmutableErrorMsg)})
		}
		key := watch.Key(i.Stored, req.Namespace, req.Name)
		if req.DryRun {
			key = strings.TrimPrefix(key, strings.TrimSuffix(watch.Prefix, "/"))
		}
		return nil, apierrors.NewConflict(i.GroupResource(), req.Name,
			fmt.Errorf("StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: %v, UID in object meta: %v", key, uid, old.GetUID()))
	}
	if obj.GetName() != req.Name && obj.GetName() != "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), req.Name))
	}
	if i.Namespaced && obj.GetNamespace() != req.Namespace && obj.GetNamespace() != "" {
		return nil, otherNamespace()
	}
	gone := validation.ValidateImmutableField(obj.GetDeletionTimestamp(), old.GetDeletionTimestamp(), field.NewPath("metadata", "deletionTimestamp"))
	if obj.GetDeletionTimestamp() == nil || req.Subresource == "status" && i.StatusAlone && i.Group != "apiregistration.k8s.io" {
		gone = nil // left out, or not looked at (but of an APIService, as upstream): kept
	}
	obj = r.carry(req, obj, old)
	i.Default(obj)
	r.manage(req, old, obj)
	a := req.attributes(admission.Update, obj, old)
	if req.Subresource == "scale" { // which admission sees as what the client sent
		a.As, a.Object, a.Old = ScaleInfo, ScaleOf(i, obj), ScaleOf(i, old)
	}
	if req.Sent != nil && (req.Subresource == "" || req.Subresource == "scale") {
		a.AsSent = func() error {
			sent, err := req.Sent()
			if err == nil {
				asSent(i, a.Object, sent)
			}
			return err
		}
	}
	if err := r.Admission.Mutate(ctx, a); err != nil {
		return nil, err
	}
	if scale, ok := a.Object.(*autoscalingv1.Scale); ok && a.As == ScaleInfo {
		i.SetScale(obj, scale.Spec.Replicas)
		if a.Shown {
			a.Object = ScaleOf(i, obj)
		}
	} else if a.Altered || a.Shown { // by somebody who may not change more than the request may
		owners := api.Owners(obj)
		obj = r.carry(req, obj, old)
		api.SetOwners(obj, owners)
		a.Object = obj
	}
	var errs field.ErrorList
	switch req.Subresource {
	case "status":
		errs = i.ValidateStatus(obj, old)
	case "approval":
		errs = certificates.ValidateApproval(obj.(*certificatesv1.CertificateSigningRequest), old.(*certificatesv1.CertificateSigningRequest))
	case "finalize":
		errs = core.ValidateFinalizers(obj.(*corev1.Namespace).Spec.Finalizers)
	case "binding": // narrower than an update, and checked where it comes in
	default:
		if i.SentGeneration {
			r.generation(i, obj, old)
		}
		if req.Subresource == "" {
			i.Prepare(obj, old)
		}
		if !i.SentGeneration {
			r.generation(i, obj, old)
		}
		errs = i.ValidateUpdate(req.Subresource, obj, old)
		if check := r.checks[i.StoreKey]; check != nil {
			errs = joined(errs, check(i.AsStored(obj), i.AsStored(old)))
		}
	}
	errs = append(validation.ValidateObjectMetaAccessorUpdate(api.Doubtful(obj), old, field.NewPath("metadata")), errs...)
	errs = append(append(gone, newFinalizers(i, obj, old)...), errs...)
	if len(errs) > 0 {
		return nil, invalid(i, req.Name, errs)
	}
	if err := r.Admission.Validate(ctx, a); err != nil {
		return nil, err
	}
	req.warnings(obj, old)
	return r.replace(ctx, req, item, old, obj)
}

// asSent puts what the client sent into an object where it has what stays as it was.
func asSent(i *api.Info, obj, sent api.Object) {
	obj.SetUID(sent.GetUID())
	obj.SetResourceVersion(sent.GetResourceVersion())
	obj.SetCreationTimestamp(sent.GetCreationTimestamp())
	obj.SetDeletionTimestamp(sent.GetDeletionTimestamp())
	obj.SetDeletionGracePeriodSeconds(sent.GetDeletionGracePeriodSeconds())
	obj.SetGeneration(sent.GetGeneration())
	obj.SetSelfLink(sent.GetSelfLink())
	obj.SetGenerateName(sent.GetGenerateName())
	switch obj := obj.(type) {
	case *autoscalingv1.Scale:
		obj.Status = sent.(*autoscalingv1.Scale).Status
	default:
		if i.CopyStatus != nil {
			i.CopyStatus(obj, sent.DeepCopyObject().(api.Object))
		}
	}
}

// newFinalizers checks the finalizers of an object that got others.
func newFinalizers(i *api.Info, obj, old api.Object) field.ErrorList {
	if slices.Equal(obj.GetFinalizers(), old.GetFinalizers()) || api.GoodFinalizers(obj.GetFinalizers()) {
		return nil
	}
	return append(validation.ValidateFinalizers(obj.GetFinalizers(), field.NewPath("metadata", "finalizers")), finalizers(i, obj)...)
}

// carry keeps in obj what an update cannot change.
func (r *Registry) carry(req Request, obj, old api.Object) api.Object {
	if part := parts[req.Subresource]; part != nil {
		next := req.Info.Copied(old)
		part(next, obj)
		if req.Subresource != "ephemeralcontainers" { // which changes nothing else
			attach(req, next, obj)
		} else if req.applied {
			api.SetOwners(next, api.Owners(obj))
		}
		return next
	}
	if req.Subresource == "status" {
		next := req.Info.Copied(old)
		req.Info.CopyStatus(next, obj)
		if req.Info.Custom == nil && !req.Info.StatusAlone {
			attach(req, next, obj)
		} else if req.applied {
			api.SetOwners(next, api.Owners(obj))
		}
		return next
	}
	if req.Info.CopyStatus != nil && req.Subresource != "binding" { // which says in the status that it happened
		req.Info.CopyStatus(obj, old) // and shares it: nobody writes to what is below a status (TestCarry)
	}
	obj.SetName(old.GetName())
	obj.SetNamespace(old.GetNamespace())
	obj.SetUID(old.GetUID())
	obj.SetResourceVersion(old.GetResourceVersion())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetDeletionTimestamp(old.GetDeletionTimestamp())
	obj.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	obj.SetGeneration(old.GetGeneration())
	obj.SetSelfLink("")
	if obj.GetGenerateName() == "" {
		obj.SetGenerateName(old.GetGenerateName())
	}
	return obj
}

// attach takes over what a write of a part may change of the metadata: agents keep labels,
// annotations, finalizers and owners through status. The labels of a Deployment are its users', the owners of a Pod no kubelet's.
// Source: what Kubernetes 1.37 does.
func attach(req Request, dst, src api.Object) {
	if _, ok := src.(*appsv1.Deployment); !ok {
		dst.SetLabels(src.GetLabels())
	}
	if _, ok := src.(*corev1.Pod); !ok {
		dst.SetOwnerReferences(src.GetOwnerReferences())
	}
	dst.SetAnnotations(src.GetAnnotations())
	dst.SetFinalizers(src.GetFinalizers())
	if req.applied {
		api.SetOwners(dst, api.Owners(src))
	}
}

// parts are the subresources through which only one part of an object is written.
var parts = map[string]func(dst, src api.Object){
	"finalize": func(dst, src api.Object) {
		dst.(*corev1.Namespace).Spec.Finalizers = src.(*corev1.Namespace).Spec.Finalizers
	},
	"approval": func(dst, src api.Object) {
		approved := src.(*certificatesv1.CertificateSigningRequest).DeepCopy()
		approved.Status.Certificate = dst.(*certificatesv1.CertificateSigningRequest).Status.Certificate // the signer's alone
		certificates.CopyStatus(dst.(*certificatesv1.CertificateSigningRequest), approved)
	},
	"ephemeralcontainers": func(dst, src api.Object) {
		dst.(*corev1.Pod).Spec.EphemeralContainers = src.(*corev1.Pod).Spec.EphemeralContainers
	},
	"resize": func(dst, src api.Object) {
		to, from := &dst.(*corev1.Pod).Spec, &src.(*corev1.Pod).Spec
		for n := range to.Containers {
			if n < len(from.Containers) && to.Containers[n].Name == from.Containers[n].Name {
				to.Containers[n].Resources, to.Containers[n].ResizePolicy = from.Containers[n].Resources, from.Containers[n].ResizePolicy
			}
		}
	},
}

// generation rises exactly when what the record calls the spec changes.
func (r *Registry) generation(i *api.Info, obj, old api.Object) {
	obj.SetGeneration(old.GetGeneration())
	same := equal.Semantic
	if i.NilChanges {
		same = reflect.DeepEqual
	}
	if i.GenerationOf != nil && !same(i.GenerationOf(obj), i.GenerationOf(old)) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// replace commits obj in item's place, or its removal when obj was only waiting for its last finalizer.
func (r *Registry) replace(ctx context.Context, req Request, item *watch.Item, old, obj api.Object) (api.Object, error) {
	i := req.Info
	if finished(i, obj) {
		if req.DryRun {
			return obj, nil
		}
		if _, err := r.remove(ctx, req, item, obj); err != nil {
			return nil, err
		}
		return obj, nil
	}
	key := watch.Key(i, req.Namespace, req.Name)
	t := store.Txn{Class: class(i)}
	if extra := r.extras[i.StoreKey]; extra != nil && req.Subresource == "" {
		ops, err := extra(ctx, req, obj, old)
		if err != nil {
			return nil, err
		}
		t.Ops = ops
	}
	if req.Subresource == "" || req.Subresource == "resize" {
		ops, err := r.charge(req, obj, old)
		if err != nil {
			return nil, err
		}
		t.Ops = append(t.Ops, ops...)
	}
	if req.DryRun && i.Custom == nil && !sameOwners(api.Owners(obj), api.Owners(old)) { // it changed: that needs no encoding to be seen
		return tried(i, obj)
	}
	stored, value, err := encode(i, obj)
	if err != nil {
		return nil, err
	}
	if len(t.Ops) == 0 && (same(item, value) || sameButTimes(i, item, old, obj, value)) {
		return obj, nil // nothing changed: no write, no event
	}
	if req.DryRun {
		return tried(i, obj)
	}
	t.Ops = append(t.Ops, store.Op{Key: key, Value: value, Expect: store.Revision(item.Revision), Life: req.Info.Stored.Life})
	revision, err := r.commit(ctx, i, key, stored, t)
	if err != nil {
		var conflict *store.Conflict
		if errors.As(err, &conflict) {
			return nil, conflict
		}
		return nil, unavailable(err)
	}
	return finish(i, obj, stored, revision), nil
}

// same tells whether a value to be stored is what item was made of. Metadata, where the version is, comes first in all but strange messages.
func same(item *watch.Item, value []byte) bool {
	raw, _, _, err := api.RawStored(value)
	if err != nil {
		return false
	}
	if !item.IsJSON() {
		from, to := api.MetaField(raw)
		shown, end := api.MetaField(item.Raw())
		if to > 0 && from == 0 && shown == 0 {
			return bytes.Equal(raw[to:], item.Raw()[end:]) && bytes.Equal(api.WithVersion(raw[:to], item.Revision), item.Raw()[:end])
		}
	}
	return bytes.Equal(api.WithVersion(raw, item.Revision), item.Raw())
}

// sameButTimes tells whether nothing but the times of managedFields differs, and gives obj those that are stored: somebody
// wrote what was not kept, such as a status through the main resource.
func sameButTimes(i *api.Info, item *watch.Item, old, obj api.Object, value []byte) bool {
	raw, _, _, err := api.RawStored(value)
	if err != nil || item.IsJSON() {
		return false
	}
	from, to := api.MetaField(raw)
	if shown, end := api.MetaField(item.Raw()); from != 0 || shown != 0 || !bytes.Equal(raw[to:], item.Raw()[end:]) {
		return false // mostly: the rest is cheaper to compare than metadata
	}
	entries := api.Owners(obj)
	if len(entries) == 0 || !sameOwners(entries, api.Owners(old)) {
		return false
	}
	api.SetOwners(obj, api.Owners(old))
	_, value, err = encode(i, obj)
	if err == nil && same(item, value) {
		return true
	}
	api.SetOwners(obj, entries)
	return false
}

// sameOwners tells whether managedFields differ in nothing but their times.
func sameOwners(p, q []metav1.ManagedFieldsEntry) bool {
	return slices.EqualFunc(p, q, func(a, b metav1.ManagedFieldsEntry) bool {
		return a.Manager == b.Manager && a.Operation == b.Operation && a.Subresource == b.Subresource && a.APIVersion == b.APIVersion &&
			a.FieldsV1 != nil && b.FieldsV1 != nil && bytes.Equal(a.FieldsV1.GetRawBytes(), b.FieldsV1.GetRawBytes())
	})
}

// finished: the object was deleted and nothing holds it any more.
func finished(i *api.Info, obj api.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := obj.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return false
	}
	grace := obj.GetDeletionGracePeriodSeconds()
	return i.Grace == nil || grace == nil || *grace == 0
}
