package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lighter-k8s/lighter/controller/pods"
)

// envIndex is the variable by which containers learn their completion index.
const envIndex = "JOB_COMPLETION_INDEX"

// newPod makes a pod of the Job; index is -1 unless the Job is Indexed.
func newPod(job *batchv1.Job, index int) *corev1.Pod {
	p := pods.New(&job.Spec.Template, job, kind)
	if !slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) {
		p.Finalizers = append(p.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if index < 0 {
		return p
	}
	text := strconv.Itoa(index)
	p.GenerateName = fmt.Sprintf("%s-%s-", job.Name, text)
	p.Spec.Hostname = job.Name + "-" + text
	p.Annotations = with(p.Annotations, batchv1.JobCompletionIndexAnnotation, text)
	p.Labels = with(p.Labels, batchv1.JobCompletionIndexAnnotation, text)
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if !slices.ContainsFunc(list[i].Env, func(e corev1.EnvVar) bool { return e.Name == envIndex }) {
				list[i].Env = append(list[i].Env, corev1.EnvVar{Name: envIndex, ValueFrom: &corev1.EnvVarSource{
					FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation)}}})
			}
		}
	}
	return p
}

func with(m map[string]string, key, value string) map[string]string {
	m = maps.Clone(m)
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}
