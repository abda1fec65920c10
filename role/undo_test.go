package role_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/role"
)

func (s *server) undo(u role.Undo) (out string, err error) {
	err = role.AskToUndo(s.t.Context(), s.config.DataDir, u, func(line string) { out += line + "\n" })
	return out, err
}

// One object, and a whole namespace, as they were: from the history of the running store and from a backup.
func TestUndo(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, nil)
	ctx, apps, core := t.Context(), s.typed.AppsV1(), s.typed.CoreV1()
	labels := map[string]string{"app": "web"}
	web := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: labels}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:v1"}}}}}}
	made, err := apps.Deployments("default").Create(ctx, web, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	svc, err := core.Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	controller := true
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned", OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: made.UID, Controller: &controller}}}}
	for _, m := range []*corev1.ConfigMap{owned, {ObjectMeta: metav1.ObjectMeta{Name: "free"}, Data: map[string]string{"a": "1"}}} {
		if _, err := core.ConfigMaps("default").Create(ctx, m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.put("secret", canary)
	file := filepath.Join(t.TempDir(), "a.backup")
	save(t, s.config, file, "")
	good := fmt.Sprint(s.version())

	// Something goes wrong.
	made.Spec.Template.Spec.Containers[0].Image = "web:broken"
	if _, err := apps.Deployments("default").Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.put("secret", "overwritten")
	for _, name := range []string{"owned", "free"} {
		if err := core.ConfigMaps("default").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := core.Services("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Its address is another's now.
	if _, err := core.Services("default").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "thief"}, Spec: corev1.ServiceSpec{ClusterIP: svc.Spec.ClusterIP, Ports: []corev1.ServicePort{{Port: 80}}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	image := func() string {
		d, err := apps.Deployments("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if d.UID != made.UID {
			t.Errorf("UID %s became %s", made.UID, d.UID)
		}
		return d.Spec.Template.Spec.Containers[0].Image
	}
	out, err := s.undo(role.Undo{Object: "deploy/web", Namespace: "default", At: good, DryRun: true})
	if err != nil || !strings.Contains(out, "-       - image: web:broken") || !strings.Contains(out, "+       - image: web:v1") || image() != "web:broken" {
		t.Errorf("dry run: %v, %s\n%s", err, image(), out)
	}
	out, err = s.undo(role.Undo{Object: "deployment.apps/web", At: good})
	if err != nil || image() != "web:v1" {
		t.Errorf("deployment: %s%v, %s", out, err, image())
	}
	if out, err = s.undo(role.Undo{Object: "deployment/web", At: good}); err != nil || !strings.Contains(out, "unchanged") {
		t.Errorf("again: %s%v", out, err)
	}
	if out, err = s.undo(role.Undo{Object: "secret/secret", At: good, DryRun: true}); err != nil || strings.Contains(out, canary) || !strings.Contains(out, "would be updated") {
		t.Errorf("the difference of a Secret: %s%v", out, err)
	}
	out, err = s.undo(role.Undo{Namespace: "default", From: file})
	if err != nil {
		t.Errorf("namespace: %s%v", out, err)
	}
	if m, err := core.ConfigMaps("default").Get(ctx, "free", metav1.GetOptions{}); err != nil || m.Data["a"] != "1" {
		t.Errorf("free: %v", err)
	}
	if _, err := core.ConfigMaps("default").Get(ctx, "owned", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("owned: %v", err)
	}
	if again, err := core.Services("default").Get(ctx, "web", metav1.GetOptions{}); err != nil || again.Spec.ClusterIP == svc.Spec.ClusterIP {
		t.Errorf("service: %v", err)
	}
	s.has("from the backup", map[string]string{"secret": canary})
	if out, err = s.undo(role.Undo{Object: "configmap/owned", From: file}); err != nil || !strings.Contains(out, "created") {
		t.Errorf("one that is owned, by its name: %s%v", out, err)
	}
	for _, tt := range []struct {
		u    role.Undo
		want string
	}{
		{role.Undo{Object: "nonsense/web", At: good}, "no such kind"},
		{role.Undo{Object: "web", At: good}, "kind/name"},
		{role.Undo{Object: "deployment/other", At: good}, "nothing of that"},
		{role.Undo{Object: "deployment/web", At: "100h"}, "lighter backup list"},
		{role.Undo{Object: "deployment/web", At: "yesterday"}, "how long ago"},
		{role.Undo{Object: "deployment/web"}, "--at"},
		{role.Undo{Object: "deployment/web", From: filepath.Join(dir, "none")}, "no such file"},
	} {
		if out, err := s.undo(tt.u); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %s%v, want %q", tt.u, out, err, tt.want)
		}
	}
}
