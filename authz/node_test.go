package authz

import (
	"fmt"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client/clienttest"
)

func local(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }

// nodePod is a pod bound to a node that refers to everything a pod can, each named <what>-<node>.
func nodePod(node string) *corev1.Pod {
	env := func(what string) []corev1.EnvVar {
		return []corev1.EnvVar{
			{Name: "A", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local(what + "-key-" + node)}}},
			{Name: "B", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local(what + "-key-" + node)}}},
			{Name: "C", Value: "x"},
		}
	}
	from := func(what string) []corev1.EnvFromSource {
		return []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local(what + "-all-" + node)}},
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local(what + "-all-" + node)}}}
	}
	volume := func(name string, s corev1.VolumeSource) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: s}
	}
	publish := local("csi-" + node)
	claim := "rc-" + node
	return &corev1.Pod{
		ObjectMeta: v1.ObjectMeta{Namespace: "web", Name: "p-" + node},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: "sa-" + node, ImagePullSecrets: []corev1.LocalObjectReference{local("pull-" + node)},
			InitContainers:      []corev1.Container{{Env: env("init"), EnvFrom: from("init")}},
			Containers:          []corev1.Container{{Env: env("main"), EnvFrom: from("main")}},
			EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Env: env("eph"), EnvFrom: from("eph")}}},
			ResourceClaims:      []corev1.PodResourceClaim{{Name: "c", ResourceClaimName: &claim}},
			Volumes: []corev1.Volume{
				volume("s", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "vol-" + node}}),
				volume("c", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("vol-" + node)}}),
				volume("p", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
					{Secret: &corev1.SecretProjection{LocalObjectReference: local("proj-" + node)}},
					{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("proj-" + node)}}}}}),
				volume("csi", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", NodePublishSecretRef: &publish}}),
				volume("data", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "pvc-" + node}}),
				volume("eph", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}),
			},
		},
	}
}

// twoNodes is a cluster where n1 and n2 run a pod each, with a bound volume and its attachment. n1 also made a
// mirror pod that names the secrets of n2, and a pod of nobody's names everything there is.
func twoNodes() *Node {
	var v NodeViews
	mirror, pending := nodePod("n2"), nodePod("n3")
	mirror.Name, mirror.Spec.NodeName, mirror.Annotations = "mirror-n1", "n1", map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	pending.Spec.NodeName = ""
	v.Pods, _ = clienttest.Typed(nodePod("n1"), nodePod("n2"), mirror, pending)
	claims, cv := clienttest.Typed[*corev1.PersistentVolumeClaim]()
	volumes, vv := clienttest.Typed[*corev1.PersistentVolume]()
	attachments, av := clienttest.Typed[*storagev1.VolumeAttachment]()
	for _, n := range []string{"n1", "n2", "n3"} {
		cv.Set(&corev1.PersistentVolumeClaim{ObjectMeta: v1.ObjectMeta{Namespace: "web", Name: "pvc-" + n}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + n}})
		csi := &corev1.CSIPersistentVolumeSource{NodeStageSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "stage-" + n},
			ControllerPublishSecretRef: &corev1.SecretReference{Namespace: "storage", Name: "controller-" + n}}
		vv.Set(&corev1.PersistentVolume{ObjectMeta: v1.ObjectMeta{Name: "pv-" + n}, Spec: corev1.PersistentVolumeSpec{
			ClaimRef:               &corev1.ObjectReference{Namespace: "web", Name: "pvc-" + n},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: csi}}})
		av.Set(&storagev1.VolumeAttachment{ObjectMeta: v1.ObjectMeta{Name: "va-" + n}, Spec: storagev1.VolumeAttachmentSpec{NodeName: n}})
	}
	// A claim may name any volume; what counts is whom the volume names.
	cv.Set(&corev1.PersistentVolumeClaim{ObjectMeta: v1.ObjectMeta{Namespace: "web", Name: "p-n1-eph"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-n3"}})
	v.PersistentVolumeClaims, v.PersistentVolumes, v.VolumeAttachments = claims, volumes, attachments
	return NewNode(v)
}

// What a node may do; @ stands for its name. Every verb that is not named is refused, on this resource as on all others.
var nodeMatrix = map[string]string{
	"nodes @":                                                   "get list watch create update patch",
	"nodes -":                                                   "create",
	"nodes - where metadata.name=@":                             "list watch get create update patch",
	"nodes/status @":                                            "update patch",
	"pods web/p-@":                                              "get list watch create delete",
	"pods -":                                                    "create delete",
	"pods web/-":                                                "create delete",
	"pods - where spec.nodeName=@":                              "list watch create delete",
	"pods web/- where spec.nodeName=@":                          "list watch create delete",
	"pods/status web/p-@":                                       "update patch",
	"pods/eviction web/p-@":                                     "create",
	"persistentvolumeclaims web/pvc-@":                          "get",
	"persistentvolumeclaims web/p-@-eph":                        "get",
	"persistentvolumeclaims/status web/pvc-@":                   "get update patch",
	"persistentvolumes pv-@":                                    "get",
	"serviceaccounts web/sa-@":                                  "get",
	"serviceaccounts/token web/sa-@":                            "create",
	"volumeattachments va-@ in storage.k8s.io":                  "get",
	"csinodes @ in storage.k8s.io":                              "create get update patch delete",
	"csinodes - in storage.k8s.io":                              "create",
	"leases kube-node-lease/@ in coordination.k8s.io":           "create get update patch delete",
	"leases kube-node-lease/- in coordination.k8s.io":           "create",
	"resourceclaims web/rc-@ in resource.k8s.io":                "get",
	"resourceslices - in resource.k8s.io":                       "create",
	"resourceslices - in resource.k8s.io where spec.nodeName=@": "create list watch deletecollection",
}

// What every node may do.
var everyNode = map[string]string{
	"services web/s": "get list watch", "services -": "get list watch",
	"endpoints web/e": "get",
	"events web/-":    "create patch update", "events web/- in events.k8s.io": "create patch update",
	"tokenreviews - in authentication.k8s.io":                 "create",
	"subjectaccessreviews - in authorization.k8s.io":          "create",
	"localsubjectaccessreviews web/- in authorization.k8s.io": "create",
	"certificatesigningrequests - in certificates.k8s.io":     "create get list watch",
	"clustertrustbundles - in certificates.k8s.io":            "get list watch",
	"podcertificaterequests web/- in certificates.k8s.io":     "create get list watch",
	"csidrivers - in storage.k8s.io":                          "get list watch",
	"runtimeclasses - in node.k8s.io":                         "get list watch",
}

// What no node may do anything with.
var noNode = []string{
	"nodes/proxy n1", "nodes/proxy n2", "pods/exec web/p-n1", "pods/log web/p-n1", "pods/binding web/p-n1", "pods/ephemeralcontainers web/p-n1",
	"secrets -", "secrets web/-", "secrets web/other", "secrets other/vol-n1", "secrets/status web/vol-n1", "configmaps kube-system/x", "configmaps -",
	"secrets - where metadata.name=vol-n1", "secrets storage/controller-n1", "secrets web/stage-n1", "secrets storage/stage-n3", "secrets web/vol-n3", "persistentvolumes -", "persistentvolumes pv-n3", "persistentvolumes pv-x",
	"persistentvolumeclaims web/-", "persistentvolumeclaims other/pvc-n1", "serviceaccounts web/-", "serviceaccounts/token web/-", "serviceaccounts/token other/sa-n1",
	"leases kube-system/n1 in coordination.k8s.io", "leases kube-system/- in coordination.k8s.io", "volumeattachments - in storage.k8s.io", "csinodes/status n1 in storage.k8s.io",
	"namespaces -", "namespaces web", "services/status web/s", "services/proxy web/s", "deployments web/- in apps", "clusterroles - in rbac.authorization.k8s.io", "roles web/- in rbac.authorization.k8s.io",
	"certificatesigningrequests/approval n1 in certificates.k8s.io", "certificatesigningrequests/nodeclient - in certificates.k8s.io", "signers - in certificates.k8s.io",
	"customresourcedefinitions - in apiextensions.k8s.io", "mutatingwebhookconfigurations - in admissionregistration.k8s.io", "users alice", "groups system:masters",
	"pods web/p-n1 in other.group", "secrets web/vol-n1 in other.group", "*  -", "nodes n1 in other.group",
}

func TestNodeMatrix(t *testing.T) {
	n := twoNodes()
	for _, what := range []string{"vol", "proj", "pull", "csi", "init-key", "init-all", "main-key", "main-all", "eph-key", "eph-all"} {
		nodeMatrix["secrets web/"+what+"-@"] = "get list watch"
		if what != "pull" && what != "csi" {
			nodeMatrix["configmaps web/"+what+"-@"] = "get list watch"
		}
	}
	nodeMatrix["secrets storage/stage-@"] = "get list watch"
	nodeMatrix["secrets web/- where metadata.name=vol-@"] = "get list watch"
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy", "impersonate", "bind", "escalate", "approve", "*"}
	checked := 0
	check := func(node, words, allowed string) {
		u := authenticationv1.UserInfo{Username: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"}}
		for _, verb := range verbs {
			checked++
			d, reason, err := n.Authorize(t.Context(), ask(u, verb+" "+words))
			want := NoOpinion
			for v := range strings.FieldsSeq(allowed) {
				if v == verb {
					want = Allow
				}
			}
			if d != want || err != nil || (reason == "") != (want == Allow) {
				t.Errorf("%s %s %s: got %v %q, want %v", node, verb, words, d, reason, want)
			}
		}
	}
	for words, allowed := range nodeMatrix {
		for _, node := range []string{"n1", "n2"} {
			other := map[string]string{"n1": "n2", "n2": "n1"}[node]
			check(node, strings.ReplaceAll(words, "@", node), allowed)
			if strings.Contains(words, "@") {
				// Of the other's things nothing, but for what admission must decide: it sees the object.
				left := ""
				switch {
				case strings.HasPrefix(words, "pods/"):
					left = allowed
				case strings.HasPrefix(words, "pods "):
					left = "create delete"
				case strings.HasPrefix(words, "nodes @"), strings.HasPrefix(words, "nodes -"), strings.HasPrefix(words, "resourceslices"):
					left = "create"
				}
				check(node, strings.ReplaceAll(words, "@", other), left)
			}
		}
	}
	for words, allowed := range everyNode {
		check("n1", words, allowed)
	}
	for _, words := range noNode {
		left := ""
		switch {
		case strings.HasPrefix(words, "nodes n") && !strings.Contains(words, "group"):
			left = "create"
		}
		check("n1", words, left)
	}
	if checked < 1000 {
		t.Errorf("only %d requests checked", checked)
	}
}

func TestOnlyNodes(t *testing.T) {
	n := twoNodes()
	tests := map[string]struct {
		user, groups, words string
		want                string
	}{
		"a node":                       {"system:node:n1", "system:nodes", "get nodes n1", `allow ""`},
		"a node's name, not its group": {"system:node:n1", "system:authenticated", "get nodes n1", `no opinion ""`},
		"the group, not the name":      {"ann", "system:nodes", "get nodes n1", `no opinion "unknown node for user \"ann\""`},
		"the group, an empty name":     {"system:node:", "system:nodes", "get nodes n1", `no opinion "unknown node for user \"system:node:\""`},
		"a path":                       {"system:node:n1", "system:nodes", "get /metrics", `no opinion ""`},
		"another's secret":             {"system:node:n1", "system:nodes", "get secrets web/vol-n2", `no opinion "no relationship found between node 'n1' and this object"`},
		"another's node":               {"system:node:n1", "system:nodes", "get nodes n2", `no opinion "node 'n1' cannot read 'n2', only its own Node object"`},
		"all nodes":                    {"system:node:n1", "system:nodes", "list nodes", `no opinion "node 'n1' cannot read '', only its own Node object"`},
		"all pods":                     {"system:node:n1", "system:nodes", "list pods", `no opinion "can only list/watch pods with spec.nodeName field selector matching node 'n1'"`},
		"pods not of its node":         {"system:node:n1", "system:nodes", "list pods - where spec.nodeName!=n1", `no opinion "can only list/watch pods with spec.nodeName field selector matching node 'n1'"`},
		"a secret written":             {"system:node:n1", "system:nodes", "update secrets web/vol-n1", `no opinion "can only read resources of this type"`},
		"the super group says nothing": {"root", "system:masters", "get nodes n1", `no opinion ""`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := authenticationv1.UserInfo{Username: tt.user, Groups: []string{tt.groups}}
			d, reason, err := n.Authorize(t.Context(), ask(u, tt.words))
			if got := fmt.Sprintf("%v %q", d, reason); got != tt.want || err != nil {
				t.Errorf("got %s %v", got, err)
			}
		})
	}
}

func TestSecretsGoWithThePod(t *testing.T) {
	pods, view := clienttest.Typed(nodePod("n1"))
	volumes, _ := clienttest.Typed[*corev1.PersistentVolume]()
	claims, _ := clienttest.Typed[*corev1.PersistentVolumeClaim]()
	n := NewNode(NodeViews{Pods: pods, PersistentVolumes: volumes, PersistentVolumeClaims: claims})
	u := authenticationv1.UserInfo{Username: "system:node:n1", Groups: []string{"system:nodes"}}
	may := func() bool {
		d, _, _ := n.Authorize(t.Context(), ask(u, "get secrets web/vol-n1"))
		return d == Allow
	}
	if !may() {
		t.Error("refused while the pod is there")
	}
	view.Delete("web", "p-n1")
	if may() {
		t.Error("allowed after the pod has gone")
	}
}

func BenchmarkNode(b *testing.B) {
	var v NodeViews
	pods, view := clienttest.Typed[*corev1.Pod]()
	for i := range 110 {
		p := nodePod("n1")
		p.Name = fmt.Sprint("p", i)
		view.Set(p)
	}
	v.Pods = pods
	v.PersistentVolumeClaims, _ = clienttest.Typed[*corev1.PersistentVolumeClaim]()
	v.PersistentVolumes, _ = clienttest.Typed[*corev1.PersistentVolume]()
	n := NewNode(v)
	u := authenticationv1.UserInfo{Username: "system:node:n1", Groups: []string{"system:nodes"}}
	for name, a := range map[string]Attributes{"status": ask(u, "patch pods/status web/p1"), "lease": ask(u, "update leases kube-node-lease/n1 in coordination.k8s.io"), "secret": ask(u, "get secrets web/vol-n1"), "no secret": ask(u, "get secrets web/none")} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n.Authorize(b.Context(), a)
			}
		})
	}
}
