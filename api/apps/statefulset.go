package apps

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/core"
)

// StatefulSet runs pods that keep their names and volumes.
var StatefulSet = api.Define(api.Resource[*appsv1.StatefulSet]{
	Group: group, Version: version, Plural: "statefulsets", Short: []string{"sts"}, Categories: all, Scope: api.Namespaced,
	Default: defaultStatefulSet, Decoded: nameClaims,
	Prepare: func(s, old *appsv1.StatefulSet) {
		core.DropDisabled(&s.Spec.Template.Spec)
		s.Status = appsv1.StatefulSetStatus{}
		if old != nil {
			s.Status = old.Status
		}
	},
	Validate:     validateStatefulSet,
	ValidateName: apivalidation.NameIsDNSLabel, // it is part of its pods' host names
	Warnings: func(s, old *appsv1.StatefulSet) []string {
		list := warnings(s, old, &s.Spec.Template.Spec)
		if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
			list = append(list, "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended")
		}
		return list
	},
	GenerationOf: func(s *appsv1.StatefulSet) any { return &s.Spec },
	Status: &api.Status[*appsv1.StatefulSet]{
		Copy: func(dst, src *appsv1.StatefulSet) { dst.Status = src.Status }, Validate: validateStatefulSetStatus},
	Scale: &api.Scale[*appsv1.StatefulSet]{
		Get: func(s *appsv1.StatefulSet) api.ScaleView {
			return api.ScaleView{Spec: count(s.Spec.Replicas), Status: s.Status.Replicas, Selector: core.SelectorString(s.Spec.Selector)}
		},
		Set: func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
	},
	Columns: append([]api.Column[*appsv1.StatefulSet]{
		{Name: "Ready", Help: "Number of the pod with ready state", Show: func(s *appsv1.StatefulSet) any {
			return ratio(s.Status.ReadyReplicas, count(s.Spec.Replicas))
		}},
	}, core.TemplateColumns(func(s *appsv1.StatefulSet) *corev1.PodSpec { return &s.Spec.Template.Spec }, nil, "")...),
})

func defaultStatefulSet(set *appsv1.StatefulSet) {
	s := &set.Spec
	core.DefaultPodTemplate(&s.Template)
	core.OrSet(&s.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	if s.UpdateStrategy.Type == "" {
		s.UpdateStrategy.Type = appsv1.RollingUpdateStatefulSetStrategyType
		core.OrNew(&s.UpdateStrategy.RollingUpdate, appsv1.RollingUpdateStatefulSetStrategy{})
	}
	if r := s.UpdateStrategy.RollingUpdate; r != nil && s.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		core.OrNew(&r.Partition, 0)
		core.OrNew(&r.MaxUnavailable, intstr.FromInt32(1))
	}
	p := core.OrNew(&s.PersistentVolumeClaimRetentionPolicy, appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{})
	core.OrSet(&p.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	core.OrSet(&p.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	core.OrNew(&s.Replicas, 1)
	core.OrNew(&s.RevisionHistoryLimit, 10)
	for i := range s.VolumeClaimTemplates {
		core.DefaultClaim(&s.VolumeClaimTemplates[i])
	}
	nameClaims(set)
}

// nameClaims says what the claim templates are, which their protobuf form does not.
func nameClaims(set *appsv1.StatefulSet) {
	for i := range set.Spec.VolumeClaimTemplates {
		c := &set.Spec.VolumeClaimTemplates[i]
		c.APIVersion, c.Kind = "v1", "PersistentVolumeClaim"
	}
}

func validateStatefulSet(set, old *appsv1.StatefulSet) (errs field.ErrorList) {
	s, spec := &set.Spec, field.NewPath("spec")
	switch s.PodManagementPolicy {
	case "":
		errs = append(errs, field.Required(spec.Child("podManagementPolicy"), ""))
	case appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement:
	default:
		errs = append(errs, field.Invalid(spec.Child("podManagementPolicy"), s.PodManagementPolicy, fmt.Sprintf("must be '%s' or '%s'", appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)))
	}
	errs = append(errs, validateSetStrategy(&s.UpdateStrategy, spec.Child("updateStrategy"))...)
	if p := s.PersistentVolumeClaimRetentionPolicy; p != nil {
		path := spec.Child("persistentVolumeClaimRetentionPolicy")
		both := []appsv1.PersistentVolumeClaimRetentionPolicyType{appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
		errs = append(errs, core.OneOf(p.WhenDeleted, path.Child("whenDeleted"), both...)...)
		errs = append(errs, core.OneOf(p.WhenScaled, path.Child("whenScaled"), both...)...)
	}
	errs = append(errs, core.NonNegative(*s.Replicas, spec.Child("replicas"))...)
	errs = append(errs, core.NonNegative(s.MinReadySeconds, spec.Child("minReadySeconds"))...)
	if s.Ordinals != nil {
		errs = append(errs, core.NonNegative(s.Ordinals.Start, spec.Child("ordinals", "start"))...)
	}
	if old == nil { // neither may change
		for i := range s.VolumeClaimTemplates {
			errs = append(errs, core.ValidateClaimSpec(&s.VolumeClaimTemplates[i].Spec, spec.Child("volumeClaimTemplates").Index(i).Child("spec"))...)
		}
		if s.ServiceName != "" {
			for _, msg := range api.DNSLabel(s.ServiceName) {
				errs = append(errs, field.Invalid(spec.Child("serviceName"), s.ServiceName, msg))
			}
		}
	}
	selector, bad := core.ValidateSelector(s.Selector, spec.Child("selector"), "statefulset")
	for _, e := range bad {
		if e.Detail == "invalid label selector" {
			e.Detail = "" // upstream's silence
		}
	}
	errs = append(errs, bad...)
	// A claim template is a volume to the pod's mounts: it stands in for a volume of its name.
	template := s.Template.DeepCopy()
	for _, c := range s.VolumeClaimTemplates {
		v := corev1.Volume{Name: c.Name, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}}}
		if i := volumeIndex(template.Spec.Volumes, c.Name); i >= 0 {
			template.Spec.Volumes[i] = v
		} else {
			template.Spec.Volumes = append([]corev1.Volume{v}, template.Spec.Volumes...)
		}
	}
	errs = append(errs, core.ValidateReplicaTemplate(template, selector, spec.Child("template"), "StatefulSet")...)
	if old != nil {
		errs = append(errs, validateSetUpdate(s, &old.Spec, spec)...)
	}
	return errs
}

func volumeIndex(list []corev1.Volume, name string) int {
	for i := range list {
		if list[i].Name == name {
			return i
		}
	}
	return -1
}

func validateSetUpdate(s, old *appsv1.StatefulSetSpec, spec *field.Path) (errs field.ErrorList) {
	errs = append(errs, core.Immutable(s.Selector, old.Selector, spec.Child("selector"))...)
	errs = append(errs, core.Immutable(s.VolumeClaimTemplates, old.VolumeClaimTemplates, spec.Child("volumeClaimTemplates"))...)
	errs = append(errs, core.Immutable(s.ServiceName, old.ServiceName, spec.Child("serviceName"))...)
	errs = append(errs, core.Immutable(s.PodManagementPolicy, old.PodManagementPolicy, spec.Child("podManagementPolicy"))...)
	if len(errs) > 0 {
		return errs
	}
	now := s.DeepCopy()
	now.Replicas, now.Ordinals, now.Template, now.UpdateStrategy = old.Replicas, old.Ordinals, old.Template, old.UpdateStrategy
	now.RevisionHistoryLimit, now.MinReadySeconds = old.RevisionHistoryLimit, old.MinReadySeconds
	now.PersistentVolumeClaimRetentionPolicy = old.PersistentVolumeClaimRetentionPolicy
	if same(now, old) {
		return nil
	}
	return field.ErrorList{field.Forbidden(spec, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")}
}

func validateSetStrategy(u *appsv1.StatefulSetUpdateStrategy, path *field.Path) (errs field.ErrorList) {
	rolling := path.Child("rollingUpdate")
	switch u.Type {
	case "":
		errs = append(errs, field.Required(path, ""))
	case appsv1.OnDeleteStatefulSetStrategyType:
		if u.RollingUpdate != nil {
			errs = append(errs, field.Invalid(rolling, u.RollingUpdate, fmt.Sprintf("only allowed for updateStrategy '%s'", appsv1.RollingUpdateStatefulSetStrategyType)))
		}
	case appsv1.RollingUpdateStatefulSetStrategyType:
		if r := u.RollingUpdate; r != nil {
			if r.Partition != nil {
				errs = append(errs, core.NonNegative(*r.Partition, rolling.Child("partition"))...)
			}
			if m := r.MaxUnavailable; m != nil {
				at := rolling.Child("maxUnavailable")
				errs = append(errs, core.ValidateIntOrPercent(*m, at)...)
				if isZero(m) {
					errs = append(errs, field.Invalid(at, *m, "cannot be 0"))
				}
				errs = append(errs, core.ValidateAtMost100Percent(*m, at)...)
			}
		}
	default:
		errs = append(errs, field.Invalid(path, *u, fmt.Sprintf("must be '%s' or '%s'", appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType)))
	}
	return errs
}

func validateStatefulSetStatus(set, _ *appsv1.StatefulSet) (errs field.ErrorList) {
	s, path := set.Status, field.NewPath("status")
	errs = counts(path, named{"replicas", int64(s.Replicas)}, named{"readyReplicas", int64(s.ReadyReplicas)}, named{"currentReplicas", int64(s.CurrentReplicas)},
		named{"updatedReplicas", int64(s.UpdatedReplicas)}, named{"availableReplicas", int64(s.AvailableReplicas)}, named{"observedGeneration", s.ObservedGeneration})
	errs = append(errs, collisions(s.CollisionCount)...)
	errs = append(errs, atMost(path.Child("readyReplicas"), s.ReadyReplicas, s.Replicas, "status.replicas")...)
	errs = append(errs, atMost(path.Child("currentReplicas"), s.CurrentReplicas, s.Replicas, "status.replicas")...)
	errs = append(errs, atMost(path.Child("updatedReplicas"), s.UpdatedReplicas, s.Replicas, "status.replicas")...)
	errs = append(errs, atMost(path.Child("availableReplicas"), s.AvailableReplicas, s.Replicas, "status.replicas")...)
	return append(errs, atMost(path.Child("availableReplicas"), s.AvailableReplicas, s.ReadyReplicas, "status.readyReplicas")...)
}
