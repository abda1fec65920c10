package registry

import (
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/managed"
)

// manage notes in obj's managedFields who writes it; old is nil on a create. It comes after defaulting and before
// admission, whose changes are nobody's. Source: Kubernetes documentation, Server-Side Apply, Field management.
func (r *Registry) manage(req Request, old, obj api.Object) {
	if req.system {
		obj.SetManagedFields(nil)
		if old != nil {
			obj.SetManagedFields(old.GetManagedFields())
		}
		return
	}
	managed.Update(req.Info, old, obj, managed.Write{Manager: req.Manager, Subresource: req.Subresource, Now: r.Now(),
		Convert: func(apiVersion string) (o, n api.Object, ok bool) { return r.inVersion(req.Info, apiVersion, old, obj) }})
}

// versionsOf are all that are served of a resource.
func (r *Registry) versionsOf(i *api.Info) []*api.Info {
	if i.Custom != nil {
		return i.Custom.Versions
	}
	return r.versions[i.StoreKey]
}

// inVersion gives the objects of i in another version of the resource; false: there is none such.
func (r *Registry) inVersion(i *api.Info, apiVersion string, old, obj api.Object) (o, n api.Object, ok bool) {
	for _, other := range r.versionsOf(i) {
		if other.GroupVersion().String() != apiVersion {
			continue
		}
		n, ok = convert(i, other, obj)
		if old != nil && ok {
			o, ok = convert(i, other, old)
		}
		return o, n, ok
	}
	return nil, nil, false
}

func convert(from, to *api.Info, obj api.Object) (api.Object, bool) {
	obj = obj.DeepCopyObject().(api.Object)
	var err error
	if from.ToStored != nil {
		if obj, err = from.ToStored(obj); err != nil {
			return nil, false
		}
	}
	if to.Load != nil {
		if obj, err = to.Load(obj); err != nil {
			return nil, false
		}
	}
	return obj, true
}
