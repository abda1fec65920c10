package registry

import (
	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/managed"
)

// manage notes in obj's managedFields who writes it; old is nil on a create. It comes after defaulting and before
// admission, whose changes are nobody's. Source: Kubernetes documentation, Server-Side Apply, Field management.
func (r *Registry) manage(req Request, old, obj api.Object) {
	if req.applied {
		return
	}
	if req.system {
		obj.SetManagedFields(nil)
		if old != nil {
			api.SetOwners(obj, api.Owners(old))
		}
		return
	}
	managed.Update(req.Info, old, obj, managed.Write{Manager: req.Manager, Subresource: req.Subresource, Now: r.Now(), Versions: r.versionsOf(req.Info)})
}

// versionsOf are all that are served of a resource.
func (r *Registry) versionsOf(i *api.Info) []*api.Info {
	if i.Custom != nil {
		return i.Custom.Versions
	}
	return r.versions[i.StoreKey]
}
