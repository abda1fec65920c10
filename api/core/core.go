// Package core holds the records of the core group (apiVersion "v1"), one file per
// resource, and what other groups share: the pod template's defaults and checks
// (podspec.go, validate*.go) and the columns that workloads print (workload.go).
package core

import "github.com/lighter-k8s/lighter/api"

// All lists the resources of the group.
var All = []*api.Info{
	Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node,
	PersistentVolumeClaim, PersistentVolume, Pod, PodTemplate, ReplicationController,
	ResourceQuota, Secret, ServiceAccount, Service,
}

var (
	create  = []string{"create"}
	connect = []string{"create", "get"}
	change  = []string{"get", "patch", "update"}
	proxy   = []string{"create", "delete", "get", "patch", "update"}
)

// OrNew gives *p, having made it v where it was nil.
func OrNew[T any](p **T, v T) *T {
	if *p == nil {
		*p = &v
	}
	return *p
}

// OrSet sets *p to v where it has no value.
func OrSet[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
