package role_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/backup/backuptest"
	"github.com/lighter-k8s/lighter/config"
	"github.com/lighter-k8s/lighter/role"
	"github.com/lighter-k8s/lighter/store/storetest"
)

// Servers that share a store rotate its key together: none writes with one that another cannot read, and whoever is behind is named.
func TestRotationOfSeveralServers(t *testing.T) {
	endpoint := storetest.Etcd(t)
	shared := func(c *config.Config) {
		c.Server.Store, c.Server.Etcd.Endpoints = "etcd", []string{endpoint}
		c.Server.Encrypt.Resources = []string{"secrets"}
	}
	one, two := t.TempDir(), t.TempDir()
	a := serve(t, one, shared)
	a.put("s", canary)
	want := map[string]string{"s": canary}
	if _, err := tryServe(t, two, shared); err == nil || !strings.Contains(err.Error(), "put the file back") {
		t.Fatalf("a server without the keys: %v", err)
	}
	give := func() {
		t.Helper()
		data, err := os.ReadFile(role.EncryptionFile(one))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(role.EncryptionFile(two), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	give()
	b := serve(t, two, shared)
	b.has("the second server", want)
	look := func() {
		t.Helper()
		if err := role.AskTo(t.Context(), two, "/encryption/rotate?rewrite=1", func(string) {}); err != nil {
			t.Error(err)
		}
	}
	for _, behind := range []string{"cannot read with", "does not write with"} {
		out, err := a.rotate("&byhand=1")
		if err == nil || !strings.Contains(err.Error(), behind) {
			t.Fatalf("%s: %s%v", behind, out, err)
		}
		a.put("s", canary+behind)
		want["s"] = canary + behind
		a.has(behind, want)
		b.has(behind, want)
		b.put("s", canary)
		want["s"] = canary
		a.has(behind, want)
		give()
		look()
	}
	if out, err := a.rotate("&byhand=1"); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	b.has("rotated", want)
	give()
	look()
	b.has("rotated there too", want)

	// By itself, begun at either server: the others get the key through the store.
	for _, s := range []*server{a, b, a} {
		if out, err := s.rotate(""); err != nil {
			t.Fatalf("by itself: %s%v", out, err)
		}
		a.has("by itself", want)
		b.has("by itself", want)
	}
	if data, err := os.ReadFile(filepath.Join(two, "server", "encryption-retired.yaml")); err != nil || !strings.Contains(string(data), "name: key-") {
		t.Errorf("the second server does not keep old keys for backups: %v", err)
	}
	b.end()
	if out, err := a.rotate("add"); err != nil { // while the other is away
		t.Errorf("%s%v", out, err)
	}
	b = serve(t, two, shared)
	b.has("back", want)
	if out, err := b.rotate(""); err != nil {
		t.Errorf("gone on with at the other server: %s%v", out, err)
	}
	a.has("at the end", want)
	b.end()
	out, err := a.rotate("&byhand=1")
	if err == nil || !strings.Contains(err.Error(), "--forget ") {
		t.Fatalf("the second server is gone: %s%v", out, err)
	}
	_, name, _ := strings.Cut(err.Error(), "--forget ")
	if err := role.AskTo(t.Context(), one, "/encryption/rotate?forget="+name, func(string) {}); err != nil {
		t.Error(err)
	}
	a.has("at the end", want)
}

// A backup goes to S3 and comes back from there, the whole and one object.
func TestBackupInS3(t *testing.T) {
	endpoint := backuptest.StartS3(t, "backups")
	dir := t.TempDir()
	inS3 := func(c *config.Config) {
		c.Server.Backup.To, c.Server.Backup.S3.Endpoint = "s3://backups/shop", endpoint
	}
	s := serve(t, dir, inS3)
	s.put("a", canary)
	where, info, err := role.SaveBackup(t.Context(), s.config, quiet, "", nil)
	if err != nil || !strings.HasPrefix(where, "s3://backups/shop/saved-") || info.Entries == 0 {
		t.Fatalf("%s, %+v, %v", where, info, err)
	}
	save(t, s.config, "s3://backups/named.backup", "")
	s.put("a", "changed")
	path, done, err := role.LocalBackup(t.Context(), s.config, where)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := s.undo(role.Undo{Object: "secret/a", From: path}); err != nil {
		t.Errorf("%s%v", out, err)
	}
	done()
	s.has("brought back", map[string]string{"a": canary})
	s.put("a", "changed")
	s.end()
	all, err := role.ListBackups(t.Context(), conf(t, dir, inS3), "")
	if err != nil || len(all) != 1 || all[0].Where != where {
		t.Errorf("%+v, %v", all, err)
	}
	if said, err := restore(conf(t, dir, inS3), "s3://backups/named.backup", ""); err != nil {
		t.Fatalf("%s%v", said, err)
	}
	s = serve(t, dir, inS3)
	s.has("restored", map[string]string{"a": canary})
}

// A namespace that was deleted comes back with what users made in it; controllers make the rest.
func TestUndoOfANamespace(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, func(c *config.Config) { c.Server.Disable = []string{"scheduler", "cloud-controllers"} })
	ctx, core := t.Context(), s.typed.CoreV1()
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"team": "a"}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.ConfigMaps("shop").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m"}, Data: map[string]string{"a": "1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := core.Secrets("shop").Create(ctx, secretOf("s", canary), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.backup")
	save(t, s.config, file, "")
	if err := core.Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w, err := core.Namespaces().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=shop"})
	if err != nil {
		t.Fatal(err)
	}
	for e := range w.ResultChan() {
		if e.Type == "DELETED" {
			break
		}
	}
	w.Stop()
	if _, err := core.ConfigMaps("shop").Get(ctx, "m", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("it is still there: %v", err)
	}
	if out, err := s.undo(role.Undo{Namespace: "shop", From: file}); err != nil {
		t.Fatalf("%s%v", out, err)
	}
	if n, err := core.Namespaces().Get(ctx, "shop", metav1.GetOptions{}); err != nil || n.Labels["team"] != "a" {
		t.Errorf("namespace: %v", err)
	}
	if m, err := core.ConfigMaps("shop").Get(ctx, "m", metav1.GetOptions{}); err != nil || m.Data["a"] != "1" {
		t.Errorf("ConfigMap: %v", err)
	}
	if got, err := core.Secrets("shop").Get(ctx, "s", metav1.GetOptions{}); err != nil || string(got.Data["v"]) != canary {
		t.Errorf("Secret: %v", err)
	}
}
