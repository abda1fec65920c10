package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

const theirs = `apiVersion: v1
kind: Config
preferences: {colors: true}
extensions: [{name: keep, extension: {a: 1}}]
current-context: prod
clusters:
- {name: prod, cluster: {server: "https://prod:6443", insecure-skip-tls-verify: true}}
users:
- name: prod
  user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks], interactiveMode: Never}}
contexts:
- {name: prod, context: {cluster: prod, user: prod, namespace: web}}
- {name: staging, context: {cluster: prod, user: prod}}
`

func read(t *testing.T, path string) (out map[string]any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMergeAndRemoveKeepTheRest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	before := read(t, path)
	k := Kubeconfig{Name: "lighter", Server: "https://127.0.0.1:6443", CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key")}
	more := k
	more.Others = []string{"https://192.0.2.7:6443", "https://[fd00::7]:6443"}
	if err := MergeKubeconfig(path, more); err != nil {
		t.Fatal(err)
	}
	if got, err := clientcmd.LoadFromFile(path); err != nil || len(got.Contexts) != 5 || got.CurrentContext != "lighter" ||
		got.Clusters["lighter-192.0.2.7"].Server != more.Others[0] || string(got.Clusters["lighter-fd00::7"].CertificateAuthorityData) != "ca" {
		t.Errorf("further servers: %v %v", got, err)
	}
	for range 2 { // a second merge replaces, and adds nothing: those servers are gone
		if err := MergeKubeconfig(path, k); err != nil {
			t.Fatal(err)
		}
	}
	got, err := clientcmd.LoadFromFile(path) // as kubectl reads it
	if err != nil {
		t.Fatal(err)
	}
	if got.CurrentContext != "lighter" || len(got.Clusters) != 2 || len(got.AuthInfos) != 2 || len(got.Contexts) != 3 {
		t.Errorf("merged: %v", got)
	}
	c, u := got.Clusters["lighter"], got.AuthInfos["lighter"]
	if c.Server != k.Server || string(c.CertificateAuthorityData) != "ca" || string(u.ClientCertificateData) != "cert" || string(u.ClientKeyData) != "key" {
		t.Errorf("ours: %v %v", c, u)
	}
	if got.AuthInfos["prod"].Exec == nil || got.Contexts["prod"].Namespace != "web" {
		t.Error("theirs was changed")
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if err := RemoveKubeconfig(path, "lighter"); err != nil {
		t.Fatal(err)
	}
	before["current-context"] = ""
	if after := read(t, path); !reflect.DeepEqual(before, after) {
		t.Errorf("before %v\nafter  %v", before, after)
	}
}

func TestMergeCreates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", ".kube", "config")
	if err := RemoveKubeconfig(path, "lighter"); err != nil {
		t.Error(err)
	}
	if err := MergeKubeconfig(path, Kubeconfig{Name: "lighter", Server: "https://h", Token: "t"}); err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.LoadFromFile(path)
	if err != nil || got.AuthInfos["lighter"].Token != "t" {
		t.Errorf("%v %v", got, err)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left over: %v", left)
	}
}

func TestMergeFollowsLinksAndRefusesWhatItCannotRead(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "real"), filepath.Join(dir, "config")
	os.WriteFile(target, []byte(theirs), 0o600)
	os.Symlink(target, link)
	if err := MergeKubeconfig(link, Kubeconfig{Name: "lighter", Server: "https://h"}); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	for _, bad := range []string{"clusters: {a: b}", "- a list", "\t:"} {
		os.WriteFile(target, []byte(bad), 0o600)
		err := MergeKubeconfig(link, Kubeconfig{Name: "lighter"})
		if now, _ := os.ReadFile(target); err == nil || !bytes.Equal(now, []byte(bad)) {
			t.Errorf("%q: %v, now %q", bad, err, now)
		}
	}
}
