package resource

import (
	"fmt"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
)

// ResourceSlice publishes some of the devices that a driver has.
var ResourceSlice = api.Define(api.Resource[*resourcev1.ResourceSlice]{
	Group: group, Version: version, Plural: "resourceslices", Scope: api.Cluster,
	Default:  defaultSlice,
	Prepare:  dropOff,
	Validate: validateResourceSlice,
	Warnings: func(s, old *resourcev1.ResourceSlice) []string {
		if d := s.Spec.Driver; d != strings.ToLower(d) {
			return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", d)}
		}
		return nil
	},
	GenerationOf: func(s *resourcev1.ResourceSlice) any { return &s.Spec }, SentGeneration: true,
	Fields: map[string]func(*resourcev1.ResourceSlice) string{
		resourcev1.ResourceSliceSelectorNodeName: nodeOf,
		resourcev1.ResourceSliceSelectorDriver:   func(s *resourcev1.ResourceSlice) string { return s.Spec.Driver },
		resourcev1.ResourceSliceSelectorPoolName: func(s *resourcev1.ResourceSlice) string { return s.Spec.Pool.Name },
	},
	Columns: []api.Column[*resourcev1.ResourceSlice]{
		{Name: "Node", Help: resourcev1.ResourceSliceSpec{}.SwaggerDoc()["nodeName"], Show: func(s *resourcev1.ResourceSlice) any {
			if s.Spec.NodeName == nil {
				return "<unset>"
			}
			return *s.Spec.NodeName
		}},
		{Name: "Driver", Help: resourcev1.ResourceSliceSpec{}.SwaggerDoc()["driver"],
			Show: func(s *resourcev1.ResourceSlice) any { return s.Spec.Driver }},
		{Name: "Pool", Help: resourcev1.ResourcePool{}.SwaggerDoc()["name"],
			Show: func(s *resourcev1.ResourceSlice) any { return s.Spec.Pool.Name }},
	},
})

// dropOff drops what features that are off by default would use, unless it is there already: DRAPartitionableDevicesType,
// DRAOptionalNodeOperations and DRANodeAllocatableResources.
func dropOff(s, old *resourcev1.ResourceSlice) {
	mapped := func(d resourcev1.Device) bool { return d.NodeAllocatableResources != nil }
	if old == nil || old.Spec.PartitionTypeAttribute == nil {
		s.Spec.PartitionTypeAttribute = nil
	}
	if old == nil || old.Spec.SkipNodeOperations == nil {
		s.Spec.SkipNodeOperations = nil
	}
	if old == nil || !slices.ContainsFunc(old.Spec.Devices, mapped) {
		for n := range s.Spec.Devices {
			s.Spec.Devices[n].NodeAllocatableResources = nil
		}
	}
}

func nodeOf(s *resourcev1.ResourceSlice) string {
	if s.Spec.NodeName == nil {
		return ""
	}
	return *s.Spec.NodeName
}

// defaultSlice says since when devices are tainted.
func defaultSlice(s *resourcev1.ResourceSlice) {
	var now *metav1.Time
	for i := range s.Spec.Devices {
		for j := range s.Spec.Devices[i].Taints {
			t := &s.Spec.Devices[i].Taints[j]
			if t.TimeAdded != nil {
				continue
			}
			if now == nil {
				n := metav1.Now().Rfc3339Copy()
				now = &n
			}
			t.TimeAdded = now
		}
	}
}
