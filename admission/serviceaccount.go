package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/lighter-k8s/lighter/client"
)

// tokenDir is where pods find their service account's token.
const tokenDir = "/var/run/secrets/kubernetes.io/serviceaccount"

// tokenLife is how long a pod's token is good, in seconds; the kubelet renews it in time.
const tokenLife = 3607

// ServiceAccount gives each pod an account and, unless it does not want it, a volume with that
// account's token, the cluster's authority and its namespace. refresh brings the view of accounts up to now.
// Source: Kubernetes documentation, Managing Service Accounts, ServiceAccount admission controller.
func ServiceAccount(accounts client.TypedView[*corev1.ServiceAccount], refresh func(context.Context) error) Plugin {
	return Plugin{Name: "ServiceAccount", Mutate: func(ctx context.Context, a *Attributes) error {
		if a.Resource() != "pods" || a.Operation != Create {
			return nil
		}
		pod := a.Object.(*corev1.Pod)
		refuse := func(format string, args ...any) error {
			return apierrors.NewForbidden(a.Info.GroupResource(), a.Name, fmt.Errorf(format, args...))
		}
		if pod.Annotations[corev1.MirrorPodAnnotationKey] != "" {
			if pod.Spec.ServiceAccountName != "" {
				return refuse("a mirror pod may not reference service accounts")
			}
			for _, v := range pod.Spec.Volumes {
				if v.Secret != nil || v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool { return s.ServiceAccountToken != nil }) {
					return refuse("a mirror pod may not reference secrets or service account tokens")
				}
			}
			return nil
		}
		if pod.Spec.ServiceAccountName == "" {
			pod.Spec.ServiceAccountName = "default"
		}
		pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
		account, ok := accounts.Get(a.Namespace, pod.Spec.ServiceAccountName)
		if !ok {
			if err := refresh(ctx); err != nil {
				return apierrors.NewInternalError(err)
			}
			if account, ok = accounts.Get(a.Namespace, pod.Spec.ServiceAccountName); !ok {
				return refuse("error looking up service account %s/%s: serviceaccount %q not found", a.Namespace, pod.Spec.ServiceAccountName, pod.Spec.ServiceAccountName)
			}
		}
		if wantsToken(account, pod) {
			mountToken(pod)
		}
		if len(pod.Spec.ImagePullSecrets) == 0 {
			pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
		}
		return nil
	}}
}

func wantsToken(account *corev1.ServiceAccount, pod *corev1.Pod) bool {
	switch {
	case pod.Spec.AutomountServiceAccountToken != nil:
		return *pod.Spec.AutomountServiceAccountToken
	case account.AutomountServiceAccountToken != nil:
		return *account.AutomountServiceAccountToken
	}
	return true
}

// mountToken adds the volume, and a mount of it to each container that has nothing there.
func mountToken(pod *corev1.Pod) {
	volume := ""
	mount := func(containers []corev1.Container) {
		for n := range containers {
			c := &containers[n]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == tokenDir }) {
				continue
			}
			if volume == "" {
				volume = "kube-api-access-" + rand.String(5)
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: tokenDir})
		}
	}
	mount(pod.Spec.InitContainers)
	mount(pod.Spec.Containers)
	if volume == "" {
		return
	}
	life, mode := int64(tokenLife), corev1.ProjectedVolumeSourceDefaultMode
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: &life, Path: corev1.ServiceAccountTokenKey}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"},
				Items: []corev1.KeyToPath{{Key: corev1.ServiceAccountRootCAKey, Path: corev1.ServiceAccountRootCAKey}}}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: corev1.ServiceAccountNamespaceKey,
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}}}}},
		},
	}}})
}
