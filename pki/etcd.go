package pki

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// Etcd opens what the members of the cluster's own etcd and their clients prove themselves with: an authority of its
// own, so that no certificate of a user, a node or a part opens the store. In <dir>/etcd:
//
//	ca.crt ca.key            the authority, the same on all servers
//	member.crt member.key    what this server's member shows to clients and to the other members
//	client.crt client.key    what this server shows to any member
func (p *PKI) Etcd() (*PKI, error) {
	dir := filepath.Join(p.Dir, "etcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create certificate directory: %w", err)
	}
	ca, err := OpenAuthority(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"), "etcd-ca", p.CA.Lives)
	if err != nil {
		return nil, err
	}
	return &PKI{Dir: dir, CA: ca}, nil
}

// Rotated is Stored, renewed while it is in use: whoever reads the files for each connection, as etcd does, never sees an old one.
func (p *PKI) Rotated(name string, spec Spec) (*Rotating, error) {
	first := true
	return NewRotating(context.Background(), func(context.Context) (*Pair, error) {
		pair, err := p.Stored(name, spec, !first)
		first = false
		return pair, err
	})
}

// EtcdMember is the Spec of a member's certificate: it serves, and it calls the other members.
func EtcdMember(addresses ...net.IP) Spec {
	s := APIServer()
	s.CommonName, s.DNSNames = "etcd-member", []string{"localhost"}
	s.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, ip := range addresses {
		if !ip.IsLoopback() {
			s.IPs = append(s.IPs, ip)
		}
	}
	return s
}

// EtcdClient is the Spec of a client's certificate for the members.
func EtcdClient() Spec { return Client("lighter-server") }
