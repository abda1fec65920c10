package api_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func TestPlainly(t *testing.T) {
	half := intstr.FromString("50%")
	for name, tt := range map[string]struct {
		value any
		want  string
	}{
		"a structure": {appsv1.DeploymentStrategy{Type: "X", RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &half}},
			`{"Type":"X","RollingUpdate":{"MaxUnavailable":null,"MaxSurge":"50%"}}`},
		"a pointer, to nothing inside": {&appsv1.DeploymentStrategy{Type: "X"}, `{"Type":"X","RollingUpdate":null}`},
		"a list with metadata": {[]corev1.ConfigMap{{TypeMeta: metav1.TypeMeta{Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{"a": ""}}}},
			`[{"name":"n","labels":{"a":""},"Immutable":null,"Data":null,"BinaryData":null}]`},
		"bytes":                        {corev1.ConfigMap{BinaryData: map[string][]byte{"a": {1}}}, `{"Immutable":null,"Data":null,"BinaryData":{"a":"AQ=="}}`},
		"what is not of k8s.io/api":    {metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, `{"matchLabels":{"a":"b"}}`},
		"a word":                       {corev1.TaintEffectNoSchedule, `"NoSchedule"`},
		"a number":                     {7, `7`},
		"nothing":                      {nil, `null`},
		"a pointer to nothing at all":  {(*corev1.Pod)(nil), `null`},
		"a list of nothing of the API": {[]string{"a"}, `["a"]`},
	} {
		t.Run(name, func(t *testing.T) {
			errs := api.Plainly(field.ErrorList{field.Invalid(field.NewPath("f"), tt.value, "no")})
			if got, want := errs[0].Error(), "f: Invalid value: "+tt.want+": no"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
