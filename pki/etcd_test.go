package pki

import (
	"crypto/x509"
	"net"
	"testing"
)

// TestEtcdTrustsItsOwnAuthority: no certificate of the cluster opens the store, and none of the store's opens the cluster.
func TestEtcdTrustsItsOwnAuthority(t *testing.T) {
	p := open(t)
	store, err := p.Etcd()
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Etcd()
	if err != nil || !again.CA.Cert().Equal(store.CA.Cert()) {
		t.Errorf("opened again it is another authority: %v", err)
	}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	tests := map[string]struct {
		by      *Authority
		spec    Spec
		cluster bool
		store   bool
	}{
		"administrator": {p.CA, Admin(), true, false},
		"kubelet":       {p.CA, Kubelet("n"), true, false},
		"store client":  {store.CA, EtcdClient(), false, true},
		"store member":  {store.CA, EtcdMember(net.IPv4(192, 0, 2, 1)), false, true},
	}
	for name, tt := range tests {
		pair, err := tt.by.Issue(tt.spec)
		if err != nil {
			t.Fatal(err)
		}
		_, opensCluster := pair.Cert.Verify(x509.VerifyOptions{Roots: p.CA.Pool(), KeyUsages: client})
		_, opensStore := pair.Cert.Verify(x509.VerifyOptions{Roots: store.CA.Pool(), KeyUsages: client})
		if (opensCluster == nil) != tt.cluster || (opensStore == nil) != tt.store {
			t.Errorf("%s: opens the cluster: %v, the store: %v", name, opensCluster, opensStore)
		}
	}
	member, err := store.CA.Issue(EtcdMember(net.IPv4(192, 0, 2, 1)))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"127.0.0.1", "localhost", "192.0.2.1"} {
		if err := member.Cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
}
