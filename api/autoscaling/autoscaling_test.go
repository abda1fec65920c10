package autoscaling

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/apitest"
)

const plain = "metadata: {name: h}\nspec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}\n  maxReplicas: 5\n"

func TestDefaults(t *testing.T) {
	for name, tt := range map[string]struct {
		of       *api.Info
		in, want string
	}{
		"as little as can be": {HorizontalPodAutoscaler, plain, `
spec.metrics[0].resource.name=cpu
spec.metrics[0].resource.target.averageUtilization=80
spec.metrics[0].resource.target.type=Utilization
spec.metrics[0].type=Resource
spec.minReplicas=1`},
		"behavior": {HorizontalPodAutoscaler, plain + "  minReplicas: 2\n  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 5}}}]\n  behavior: {scaleDown: {stabilizationWindowSeconds: 3}}", `
spec.behavior.scaleDown.policies[0].periodSeconds=15
spec.behavior.scaleDown.policies[0].type=Percent
spec.behavior.scaleDown.policies[0].value=100
spec.behavior.scaleDown.selectPolicy=Max
spec.behavior.scaleUp.policies[0].periodSeconds=15
spec.behavior.scaleUp.policies[0].type=Pods
spec.behavior.scaleUp.policies[0].value=4
spec.behavior.scaleUp.policies[1].periodSeconds=15
spec.behavior.scaleUp.policies[1].type=Percent
spec.behavior.scaleUp.policies[1].value=100
spec.behavior.scaleUp.selectPolicy=Max
spec.behavior.scaleUp.stabilizationWindowSeconds=0`},
		"v1": {HorizontalPodAutoscalerV1, plain, `spec.minReplicas=1`},
	} {
		if got := apitest.Added(t, tt.of, tt.in); got != strings.TrimSpace(tt.want) {
			t.Errorf("%s: defaulting adds\n%s\nwant%s", name, got, tt.want)
		}
	}
}

func TestValidation(t *testing.T) {
	for name, tt := range map[string]struct {
		of       *api.Info
		in, want string
	}{
		"v2": {HorizontalPodAutoscaler, plain, ``},
		"v1": {HorizontalPodAutoscalerV1, plain, ``},
		"no bound": {HorizontalPodAutoscaler, "spec: {minReplicas: -1, maxReplicas: 0, scaleTargetRef: {kind: a/b}}", `
spec.minReplicas: Invalid value: -1: must be greater than or equal to 0
spec.scaleTargetRef.kind: Invalid value: "a/b": may not contain '/'
spec.scaleTargetRef.name: Required value
spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group
spec.maxReplicas: Required value`},
		"v1, least above most": {HorizontalPodAutoscalerV1, plain + "  minReplicas: 6", "spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"},
		"to nothing":           {HorizontalPodAutoscaler, plain + "  minReplicas: 0", "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas"},
		"to nothing and back":  {HorizontalPodAutoscaler, plain + "  minReplicas: 0\n  metrics: [{type: External, external: {metric: {name: m}, target: {type: Value, value: 1}}}]", ""},
		"metrics": {HorizontalPodAutoscaler, plain + "  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization}}}, {type: Pods}, {type: X}]", `
spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization
spec.metrics[1].pods: Required value: must populate information for the given metric source
spec.metrics[2].type: Unsupported value: "X": supported values: "ContainerResource", "External", "Object", "Pods", "Resource"`},
	} {
		if got := apitest.Check(t, tt.of, tt.in, ""); got != strings.TrimSpace(tt.want) {
			t.Errorf("%s: complaints\n%s\nwant%s", name, got, tt.want)
		}
	}
}

const rich = plain + `  minReplicas: 2
  behavior: {scaleDown: {selectPolicy: Disabled, policies: [{type: Pods, value: 1, periodSeconds: 9}]}, scaleUp: {stabilizationWindowSeconds: 1, selectPolicy: Max, policies: [{type: Pods, value: 1, periodSeconds: 9}]}}
  metrics:
  - {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}
  - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 1Gi}}}
  - {type: Pods, pods: {metric: {name: m}, target: {type: AverageValue, averageValue: "10"}}}
  - {type: Object, object: {describedObject: {kind: Service, name: s}, metric: {name: m}, target: {type: Value, value: 2k}}}
  - {type: External, external: {metric: {name: e, selector: {matchLabels: {a: b}}}, target: {type: AverageValue, averageValue: "3"}}}
  - {type: ContainerResource, containerResource: {name: cpu, container: c, target: {type: Utilization, averageUtilization: 50}}}
status:
  currentReplicas: 3
  desiredReplicas: 4
  conditions: [{type: AbleToScale, status: "True", lastTransitionTime: "2026-01-01T00:00:00Z", reason: r}]
  currentMetrics:
  - {type: Resource, resource: {name: cpu, current: {averageUtilization: 10, averageValue: 100m}}}
  - {type: Resource, resource: {name: memory, current: {averageValue: 2Gi}}}
`

func TestV1LosesNothing(t *testing.T) {
	v2 := apitest.Defaulted(t, HorizontalPodAutoscaler, rich)
	v1, err := HorizontalPodAutoscalerV1.Load(v2)
	if err != nil {
		t.Fatal(err)
	}
	back, err := HorizontalPodAutoscalerV1.ToStored(v1)
	if err != nil {
		t.Fatal(err)
	}
	back.GetObjectKind().SetGroupVersionKind(v2.GetObjectKind().GroupVersionKind())
	if !equality.Semantic.DeepEqual(v2, back) {
		was, _ := yaml.Marshal(v2)
		is, _ := yaml.Marshal(back)
		t.Errorf("v2 was\n%s\nand is\n%s", was, is)
	}
}

func TestTable(t *testing.T) {
	if got, want := apitest.Header(HorizontalPodAutoscaler), "Name | Reference | Targets | MinPods | MaxPods | Replicas | Age"; got != want {
		t.Error(got)
	}
	v2 := apitest.Defaulted(t, HorizontalPodAutoscaler, rich)
	want := "h | Deployment/d | cpu: 10%/70%, memory: 2Gi/1Gi + 4 more... | 2 | 5 | 3 | <unknown>"
	if got := apitest.Row(HorizontalPodAutoscaler, v2); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	v1, err := HorizontalPodAutoscalerV1.Load(v2)
	if err != nil {
		t.Fatal(err)
	}
	if got := apitest.Row(HorizontalPodAutoscalerV1, v1); got != want {
		t.Errorf("v1: %s, want %s", got, want)
	}
	least := apitest.Defaulted(t, HorizontalPodAutoscaler, plain)
	if got, want := apitest.Row(HorizontalPodAutoscaler, least), "h | Deployment/d | cpu: <unknown>/80% | 1 | 5 | 0 | <unknown>"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
