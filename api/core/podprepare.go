package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// spellLabelKeys writes out matchLabelKeys and mismatchLabelKeys of a new pod: each key
// that the pod has a label for becomes part of the term's selector, so that schedulers
// read the selector alone. Source: KEP-3633 and KEP-3243.
func spellLabelKeys(p *corev1.Pod) {
	term := func(t *corev1.PodAffinityTerm) {
		add(&t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels)
		add(&t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, p.Labels)
	}
	terms := func(must []corev1.PodAffinityTerm, may []corev1.WeightedPodAffinityTerm) {
		for i := range must {
			term(&must[i])
		}
		for i := range may {
			term(&may[i].PodAffinityTerm)
		}
	}
	if a := p.Spec.Affinity; a != nil {
		if r := a.PodAffinity; r != nil {
			terms(r.RequiredDuringSchedulingIgnoredDuringExecution, r.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if r := a.PodAntiAffinity; r != nil {
			terms(r.RequiredDuringSchedulingIgnoredDuringExecution, r.PreferredDuringSchedulingIgnoredDuringExecution)
		}
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		add(&c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels)
	}
}

// add leaves a term without a selector alone: it selects nothing, with more words as well.
func add(s **metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator, labels map[string]string) {
	if *s == nil {
		return
	}
	for _, key := range keys {
		if value, ok := labels[key]; ok {
			(*s).MatchExpressions = append((*s).MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
		}
	}
}

// DropDisabled clears the fields of features that are off in 1.37 unless switched on
// (alpha, or beta and off): what a user writes there is ignored. Source: the comments
// of k8s.io/api and the list of feature gates.
func DropDisabled(s *corev1.PodSpec) {
	s.SchedulingGroup, s.EvictionResponders = nil, nil
	items := func(list []corev1.KeyToPath) {
		for i := range list {
			list[i].User = nil
		}
	}
	files := func(list []corev1.DownwardAPIVolumeFile) {
		for i := range list {
			list[i].User = nil
		}
	}
	for i := range s.Volumes {
		v := &s.Volumes[i].VolumeSource
		switch {
		case v.EmptyDir != nil:
			v.EmptyDir.Mode = nil
		case v.Secret != nil:
			v.Secret.DefaultUser = nil
			items(v.Secret.Items)
		case v.ConfigMap != nil:
			v.ConfigMap.DefaultUser = nil
			items(v.ConfigMap.Items)
		case v.DownwardAPI != nil:
			v.DownwardAPI.DefaultUser = nil
			files(v.DownwardAPI.Items)
		case v.Projected != nil:
			v.Projected.DefaultUser = nil
			for _, s := range v.Projected.Sources {
				switch {
				case s.Secret != nil:
					items(s.Secret.Items)
				case s.ConfigMap != nil:
					items(s.ConfigMap.Items)
				case s.DownwardAPI != nil:
					files(s.DownwardAPI.Items)
				case s.ServiceAccountToken != nil:
					s.ServiceAccountToken.User = nil
				case s.ClusterTrustBundle != nil:
					s.ClusterTrustBundle.User = nil
				case s.PodCertificate != nil:
					s.PodCertificate.User = nil
				}
			}
		}
	}
	for c := range containers(s) {
		if l := c.Lifecycle; l != nil && l.StopSignal != nil {
			if l.StopSignal = nil; l.PostStart == nil && l.PreStop == nil {
				c.Lifecycle = nil
			}
		}
		for i := range c.VolumeMounts {
			c.VolumeMounts[i].BindMountOptions = nil
		}
		if l := c.Lifecycle; l != nil {
			for _, h := range []*corev1.LifecycleHandler{l.PostStart, l.PreStop} {
				if h != nil && h.HTTPGet != nil {
					h.HTTPGet.Protocol = nil
				}
			}
		}
		for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
			if p != nil && p.HTTPGet != nil {
				p.HTTPGet.Protocol = nil
			}
			if p != nil && p.GRPC != nil {
				p.GRPC.Mode = nil
			}
		}
	}
}
