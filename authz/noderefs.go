package authz

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// anyPod reports whether one of a node's pods in a namespace is such. A mirror pod is not asked: the node made it itself,
// and could name in it whatever it wants to read.
func (n *Node) anyPod(node, namespace string, such func(*corev1.Pod) bool) bool {
	for _, pod := range n.views.Pods.By("node", node) {
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; !mirror && pod.Namespace == namespace && such(pod) {
			return true
		}
	}
	return false
}

// usesVolume reports whether a claim of one of the node's pods holds the volume.
func (n *Node) usesVolume(node, name string) bool {
	pv, ok := n.views.PersistentVolumes.Get("", name)
	if !ok || pv.Spec.ClaimRef == nil {
		return false
	}
	claim := pv.Spec.ClaimRef
	return n.anyPod(node, claim.Namespace, func(p *corev1.Pod) bool { return usesClaim(p, claim.Name) })
}

// usesSecret reports whether one of the node's pods refers to the secret, itself or by a volume it has claimed.
func (n *Node) usesSecret(node, namespace, name string) bool {
	if n.anyPod(node, namespace, func(p *corev1.Pod) bool { return usesSecret(p, name) }) {
		return true
	}
	for _, pod := range n.views.Pods.By("node", node) {
		if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
			continue
		}
		for _, claim := range claims(pod) {
			pvc, ok := n.views.PersistentVolumeClaims.Get(pod.Namespace, claim)
			if !ok || pvc.Spec.VolumeName == "" {
				continue
			}
			pv, ok := n.views.PersistentVolumes.Get("", pvc.Spec.VolumeName)
			if !ok || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.Namespace != pod.Namespace || pv.Spec.ClaimRef.Name != claim {
				continue
			}
			if slices.Contains(volumeSecrets(pv), corev1.SecretReference{Namespace: namespace, Name: name}) {
				return true
			}
		}
	}
	return false
}

// environment shows all of a pod's containers' environment until f says stop, which it reports.
func environment(p *corev1.Pod, f func(*corev1.EnvFromSource, *corev1.EnvVarSource) bool) bool {
	one := func(c *corev1.EphemeralContainerCommon) bool {
		for i := range c.EnvFrom {
			if f(&c.EnvFrom[i], nil) {
				return true
			}
		}
		for i := range c.Env {
			if from := c.Env[i].ValueFrom; from != nil && f(nil, from) {
				return true
			}
		}
		return false
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if one(&corev1.EphemeralContainerCommon{Env: list[i].Env, EnvFrom: list[i].EnvFrom}) {
				return true
			}
		}
	}
	return slices.ContainsFunc(p.Spec.EphemeralContainers, func(c corev1.EphemeralContainer) bool { return one(&c.EphemeralContainerCommon) })
}

func usesConfigMap(p *corev1.Pod, name string) bool {
	return environment(p, func(all *corev1.EnvFromSource, one *corev1.EnvVarSource) bool {
		return all != nil && all.ConfigMapRef != nil && all.ConfigMapRef.Name == name ||
			one != nil && one.ConfigMapKeyRef != nil && one.ConfigMapKeyRef.Name == name
	}) || slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
		return v.ConfigMap != nil && v.ConfigMap.Name == name || v.Projected != nil &&
			slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ConfigMap != nil && s.ConfigMap.Name == name })
	})
}

func usesSecret(p *corev1.Pod, name string) bool {
	is := func(r *corev1.LocalObjectReference) bool { return r != nil && r.Name == name }
	return slices.ContainsFunc(p.Spec.ImagePullSecrets, func(r corev1.LocalObjectReference) bool { return is(&r) }) ||
		environment(p, func(all *corev1.EnvFromSource, one *corev1.EnvVarSource) bool {
			return all != nil && all.SecretRef != nil && is(&all.SecretRef.LocalObjectReference) ||
				one != nil && one.SecretKeyRef != nil && is(&one.SecretKeyRef.LocalObjectReference)
		}) ||
		slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool {
			switch {
			case v.Secret != nil:
				return v.Secret.SecretName == name
			case v.Projected != nil:
				return slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.Secret != nil && s.Secret.Name == name })
			case v.CSI != nil:
				return is(v.CSI.NodePublishSecretRef)
			case v.ISCSI != nil:
				return is(v.ISCSI.SecretRef)
			case v.FlexVolume != nil:
				return is(v.FlexVolume.SecretRef)
			case v.AzureFile != nil:
				return v.AzureFile.SecretName == name
			case v.CephFS != nil:
				return is(v.CephFS.SecretRef)
			case v.Cinder != nil:
				return is(v.Cinder.SecretRef)
			case v.RBD != nil:
				return is(v.RBD.SecretRef)
			case v.ScaleIO != nil:
				return is(v.ScaleIO.SecretRef)
			case v.StorageOS != nil:
				return is(v.StorageOS.SecretRef)
			}
			return false
		})
}

// volumeSecrets are the secrets that a kubelet needs to mount the volume.
func volumeSecrets(pv *corev1.PersistentVolume) (out []corev1.SecretReference) {
	add := func(refs ...*corev1.SecretReference) {
		for _, r := range refs {
			if r != nil {
				ref := *r
				if ref.Namespace == "" {
					ref.Namespace = pv.Spec.ClaimRef.Namespace
				}
				out = append(out, ref)
			}
		}
	}
	switch s := &pv.Spec.PersistentVolumeSource; {
	case s.CSI != nil:
		add(s.CSI.NodePublishSecretRef, s.CSI.NodeStageSecretRef, s.CSI.NodeExpandSecretRef)
	case s.ISCSI != nil:
		add(s.ISCSI.SecretRef)
	case s.FlexVolume != nil:
		add(s.FlexVolume.SecretRef)
	case s.AzureFile != nil:
		ref := corev1.SecretReference{Name: s.AzureFile.SecretName}
		if s.AzureFile.SecretNamespace != nil {
			ref.Namespace = *s.AzureFile.SecretNamespace
		}
		add(&ref)
	case s.CephFS != nil:
		add(s.CephFS.SecretRef)
	case s.Cinder != nil:
		add(s.Cinder.SecretRef)
	case s.RBD != nil:
		add(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		add(s.ScaleIO.SecretRef)
	}
	return out
}

// claims are the names of a pod's claims, those made for it among them.
func claims(p *corev1.Pod) (names []string) {
	for i := range p.Spec.Volumes {
		switch v := &p.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			names = append(names, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			names = append(names, p.Name+"-"+v.Name)
		}
	}
	return names
}

func usesClaim(p *corev1.Pod, name string) bool { return slices.Contains(claims(p), name) }

func usesResourceClaim(p *corev1.Pod, name string) bool {
	return slices.ContainsFunc(p.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool {
		return c.ResourceClaimName != nil && *c.ResourceClaimName == name
	}) || slices.ContainsFunc(p.Status.ResourceClaimStatuses, func(c corev1.PodResourceClaimStatus) bool {
		return c.ResourceClaimName != nil && *c.ResourceClaimName == name
	})
}
