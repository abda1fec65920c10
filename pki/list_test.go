package pki

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestList: what is listed is what was made, by name, with its kind and when it is renewed; damage is said and ends the life.
func TestList(t *testing.T) {
	p := open(t)
	if _, err := p.Serving("box", "192.0.2.7"); err != nil {
		t.Fatal(err)
	}
	k, err := p.Admin("https://127.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(p.Dir, "my.kubeconfig")
	if err := k.Write(path); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(p.Dir, "odd.crt"), []byte("odd"), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := List(p.Dir, "x/", LeafLife)
	if err != nil {
		t.Fatal(err)
	}
	more, err := ListKubeconfig(path, "lighter")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range append(all, more...) {
		line := e.Name + ": " + e.Kind + " " + e.Subject
		if e.Ended(time.Now()) {
			line += " ended"
		}
		if e.Renewed != nil {
			line += " renewed in " + time.Until(*e.Renewed).Round(24*time.Hour).String()
		}
		got = append(got, line)
	}
	want := []string{
		"x/admin: client CN=kubernetes-admin,O=system:masters renewed in 5832h0m0s",
		"x/apiserver: server CN=kube-apiserver renewed in 5832h0m0s",
		"x/ca: authority CN=kubernetes renewed in 58392h0m0s",
		"x/front-proxy-ca: authority CN=front-proxy-ca renewed in 58392h0m0s",
		"x/odd:   ended",
		"x/service-account: token key  renewed in 5832h0m0s",
		"my.kubeconfig: client CN=kubernetes-admin,O=system:masters renewed in 5832h0m0s",
	}
	if a, b := strings.Join(got, "\n"), strings.Join(want, "\n"); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	if !strings.Contains(strings.Join(all[1].Names, " "), "box") || !strings.Contains(strings.Join(all[1].Names, " "), "192.0.2.7") {
		t.Errorf("names %q", all[1].Names)
	}
}

// TestReissue: a new certificate is for what the old one was for, from the same authority.
func TestReissue(t *testing.T) {
	p := open(t)
	before, err := p.Stored("apiserver", APIServer("box", "192.0.2.7"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := Reissue(p.Dir, "apiserver", p.Proxy, p.CA); err != nil {
		t.Fatal(err)
	}
	after, err := p.Stored("apiserver", APIServer("box", "192.0.2.7"), false)
	if err != nil || after.Cert.Equal(before.Cert) || after.Key.Equal(before.Key) {
		t.Errorf("same=%v %v", after.Cert.Equal(before.Cert), err)
	}
	if now, err := LoadPair(filepath.Join(p.Dir, "apiserver.crt"), filepath.Join(p.Dir, "apiserver.key")); err != nil || !now.Cert.Equal(after.Cert) {
		t.Errorf("what is on disk does not serve what is needed: %v", err)
	}
	if err := Reissue(p.Dir, "ca", p.CA); err == nil {
		t.Error("an authority was replaced")
	}
	if err := Reissue(p.Dir, "apiserver", p.Proxy); err == nil {
		t.Error("another authority signed")
	}
}

// TestTokenKeys: the keys of before stay, the one that signs stands first, whenever the process ended.
func TestTokenKeys(t *testing.T) {
	p := open(t)
	first := p.TokenSigner()
	for range 2 {
		key, _, err := p.NewTokens()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.UseTokens(key, func(TokenKey) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(p.Dir, Lives{})
	if err != nil {
		t.Fatal(err)
	}
	keys := again.TokenKeys()
	if len(keys) != 3 || !keys[0].Public.Equal(&again.TokenSigner().PublicKey) || !keys[2].Public.Equal(&first.PublicKey) || keys[2].Retired.IsZero() || !keys[0].Retired.IsZero() {
		t.Errorf("keys %+v", keys)
	}
	// The end came after sa.pub and before sa.key.
	key, err := keyPEM(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(p.Dir, "sa.key"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if again, err = Open(p.Dir, Lives{}); err != nil || len(again.TokenKeys()) != 3 || !again.TokenKeys()[0].Public.Equal(&first.PublicKey) {
		t.Errorf("keys %+v, %v", again.TokenKeys(), err)
	}
	// A key that is no longer needed goes.
	next, _, err := again.NewTokens()
	if err != nil {
		t.Fatal(err)
	}
	if err := again.UseTokens(next, func(TokenKey) bool { return false }); err != nil || len(again.TokenKeys()) != 2 {
		t.Errorf("keys %+v, %v", again.TokenKeys(), err)
	}
}

// TestRenewKubeconfig: the user's certificate is the new one, all else is as it was.
func TestRenewKubeconfig(t *testing.T) {
	p, path := open(t), filepath.Join(t.TempDir(), "config")
	old, err := p.Admin("https://127.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	if err := MergeKubeconfig(path, old); err != nil {
		t.Fatal(err)
	}
	other := Kubeconfig{Name: "other", Server: "https://192.0.2.1:6443", CA: []byte("x"), Token: "t"}
	if err := MergeKubeconfig(path, other); err != nil {
		t.Fatal(err)
	}
	if err := Reissue(p.Dir, "admin", p.CA); err != nil {
		t.Fatal(err)
	}
	k, err := p.Admin("https://127.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	if err := RenewKubeconfig(path, k); err != nil {
		t.Fatal(err)
	}
	holds := func(cert []byte) bool {
		data, err := os.ReadFile(path)
		return err == nil && bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(cert)))
	}
	if !holds(k.Cert) || holds(old.Cert) {
		t.Error("the new certificate is not in the place of the old one")
	}
	if servers, err := KubeconfigServers(path); err != nil || servers[0].Context != "other" {
		t.Errorf("the current context is another's no more: %v, %v", servers, err)
	}
	another := open(t)
	foreign, err := another.Admin("https://127.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	if err := RenewKubeconfig(path, foreign); err != nil {
		t.Fatal(err)
	}
	if !holds(k.Cert) || holds(foreign.Cert) {
		t.Error("another cluster's certificate is there")
	}
}
