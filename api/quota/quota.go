// Package quota says what an object uses of a namespace's resource quotas: by which names, how much, and which quotas count it.
// The registry charges quotas with it in the transaction that writes the object; controller/resourcequota
// adds up what is there. Source: Kubernetes documentation, Resource Quotas.
package quota

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
)

// Usage is what obj uses, by the names that quotas have for it. Objects that are over use no more than their place
// in the store.
func Usage(gr schema.GroupResource, obj api.Object, now time.Time) corev1.ResourceList {
	use := corev1.ResourceList{Count(gr): one()}
	switch o := obj.(type) {
	case *corev1.Pod:
		podUsage(use, o, now)
	case *corev1.Service:
		serviceUsage(use, o)
	case *corev1.PersistentVolumeClaim:
		claimUsage(use, o)
	case *resourcev1.ResourceClaim:
		deviceUsage(use, o)
	case *corev1.ReplicationController, *corev1.Secret, *corev1.ConfigMap, *corev1.ResourceQuota:
		use[corev1.ResourceName(gr.Resource)] = one()
	}
	return use
}

// Count is the name under which objects of a resource are counted: "count/pods", "count/deployments.apps".
func Count(gr schema.GroupResource) corev1.ResourceName {
	return corev1.ResourceName("count/" + gr.String())
}

// Of names the resources whose objects the name counts; "": pods, for all that containers use.
func Of(name corev1.ResourceName) schema.GroupResource {
	s := string(name)
	switch {
	case strings.HasPrefix(s, "count/"):
		return schema.ParseGroupResource(s[len("count/"):])
	case s == "services" || strings.HasPrefix(s, "services."):
		return schema.GroupResource{Resource: "services"}
	case s == "persistentvolumeclaims", s == "requests.storage", strings.Contains(s, ".storageclass.storage.k8s.io/"):
		return schema.GroupResource{Resource: "persistentvolumeclaims"}
	case strings.HasSuffix(s, ".deviceclass.resource.k8s.io/devices"):
		return schema.GroupResource{Group: "resource.k8s.io", Resource: "resourceclaims"}
	case s == "replicationcontrollers", s == "secrets", s == "configmaps", s == "resourcequotas":
		return schema.GroupResource{Resource: s}
	}
	return schema.GroupResource{Resource: "pods"}
}

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

func number(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

func serviceUsage(use corev1.ResourceList, s *corev1.Service) {
	use["services"], use["services.nodeports"], use["services.loadbalancers"] = one(), number(0), number(0)
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		use["services.nodeports"] = number(len(s.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		use["services.loadbalancers"] = one()
		ports := len(s.Spec.Ports)
		if a := s.Spec.AllocateLoadBalancerNodePorts; a != nil && !*a {
			ports = 0
			for _, p := range s.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
		use["services.nodeports"] = number(ports)
	}
}

func claimUsage(use corev1.ResourceList, c *corev1.PersistentVolumeClaim) {
	use["persistentvolumeclaims"] = one()
	size := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if given := c.Status.AllocatedResources[corev1.ResourceStorage]; given.Cmp(size) > 0 {
		size = given // it shrank, and the volume has not
	}
	use["requests.storage"] = size
	class := c.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	if class != "" {
		use[corev1.ResourceName(class+".storageclass.storage.k8s.io/persistentvolumeclaims")] = one()
		use[corev1.ResourceName(class+".storageclass.storage.k8s.io/requests.storage")] = size
	}
}

// deviceUsage counts the devices of each class that a claim may take.
func deviceUsage(use corev1.ResourceList, c *resourcev1.ResourceClaim) {
	add := func(class string, n int64) {
		name := corev1.ResourceName(class + ".deviceclass.resource.k8s.io/devices")
		q := use[name]
		q.Add(*resource.NewQuantity(n, resource.DecimalSI))
		use[name] = q
	}
	devices := func(mode resourcev1.DeviceAllocationMode, count int64) int64 {
		if mode == resourcev1.DeviceAllocationModeAll {
			return resourcev1.AllocationResultsMaxSize
		}
		return count
	}
	for _, r := range c.Spec.Devices.Requests {
		if r.Exactly != nil {
			add(r.Exactly.DeviceClassName, devices(r.Exactly.AllocationMode, r.Exactly.Count))
			continue
		}
		most := map[string]int64{} // one of the alternatives is taken: the worst of each class counts
		for _, s := range r.FirstAvailable {
			most[s.DeviceClassName] = max(most[s.DeviceClassName], devices(s.AllocationMode, s.Count))
		}
		for _, class := range slices.Sorted(maps.Keys(most)) {
			add(class, most[class])
		}
	}
}

// Sum adds b to a, in place, and returns it.
func Sum(a, b corev1.ResourceList) corev1.ResourceList {
	for name, q := range b {
		total := a[name]
		total.Add(q)
		a[name] = total
	}
	return a
}

// Masked is the part of list whose names are in hard.
func Masked(list, hard corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range list {
		if _, ok := hard[name]; ok {
			out[name] = q
		}
	}
	return out
}
