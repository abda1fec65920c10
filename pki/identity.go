package pki

import (
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
)

// Users of the cluster's own parts: common names of their certificates.
const (
	AdminUser         = "kubernetes-admin"
	SchedulerUser     = "system:kube-scheduler"
	ControllersUser   = "system:kube-controller-manager"
	ProxyUser         = "system:kube-proxy"
	KubeletClientUser = "kube-apiserver-kubelet-client" // the API server, when it calls a kubelet

	FrontProxyUser = "front-proxy-client" // the API server, when it passes a request on as somebody

	MastersGroup = "system:masters"
	NodesGroup   = "system:nodes"
	NodePrefix   = "system:node:" // and the node's name
)

// Client is the Spec of a client certificate for a user and its groups.
func Client(user string, groups ...string) Spec {
	return Spec{CommonName: user, Organizations: groups, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

// Admin is the Spec of the cluster administrator's certificate, which no rule can refuse anything.
func Admin() Spec { return Client(AdminUser, MastersGroup) }

// APIServerToKubelet is the Spec of the API server's client certificate for kubelets.
func APIServerToKubelet() Spec { return Client(KubeletClientUser, MastersGroup) }

// FrontProxy is the Spec of the API server's client certificate for other API servers.
func FrontProxy() Spec { return Client(FrontProxyUser) }

// Kubelet is the Spec of a node's client certificate.
func Kubelet(node string) Spec { return Client(NodePrefix+node, NodesGroup) }

// KubeletServing is the Spec of what a node's kubelet shows to those who call it.
func KubeletServing(node string, names []string, ips []net.IP) Spec {
	return Spec{CommonName: NodePrefix + node, Organizations: []string{NodesGroup},
		DNSNames: names, IPs: ips, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

// APIServer is the Spec of what the API server shows to clients. extra are further names and
// addresses: the first service address, those of the node, the host's name, the user's own.
func APIServer(extra ...string) Spec {
	s := Spec{CommonName: "kube-apiserver", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
		IPs:      []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}}
	for _, name := range extra {
		if ip := net.ParseIP(name); ip != nil {
			if !slices.ContainsFunc(s.IPs, ip.Equal) {
				s.IPs = append(s.IPs, ip)
			}
		} else if name != "" && !slices.Contains(s.DNSNames, name) {
			s.DNSNames = append(s.DNSNames, name)
		}
	}
	return s
}

// Serving is the API server's certificate for these further names; see APIServer. The one on
// disk is kept while it is this authority's, has all the names and is not due.
func (p *PKI) Serving(extra ...string) (*Rotating, error) {
	return p.Rotated("apiserver", APIServer(extra...))
}

// Stored is a pair kept as name.crt and name.key: what is there if it still serves the Spec
// and is not due, else (or when fresh is asked for) a new one.
func (p *PKI) Stored(name string, spec Spec, fresh bool) (*Pair, error) {
	cert, key := filepath.Join(p.Dir, name+".crt"), filepath.Join(p.Dir, name+".key")
	if !fresh {
		if pair, err := LoadPair(cert, key); err == nil && p.CA.serves(pair, spec) {
			return pair, nil
		}
	}
	pair, err := p.CA.Issue(spec)
	if err != nil {
		return nil, err
	}
	return pair, pair.Save(cert, key)
}

// ToKubelets is the API server's client certificate for kubelets, ToServers that for other API servers.
func (p *PKI) ToKubelets() (*Rotating, error) {
	return p.Rotated("apiserver-kubelet-client", APIServerToKubelet())
}

func (p *PKI) ToServers() (*Rotating, error) {
	return (&PKI{Dir: p.Dir, CA: p.Proxy}).Rotated(FrontProxyUser, FrontProxy())
}

// Node is where the certificates of a node lie that this authority signs by itself.
func (p *PKI) Node(dir string) (*PKI, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create certificate directory: %w", err)
	}
	return &PKI{Dir: dir, CA: p.CA}, nil
}

// RotatedAdmin is the administrator's certificate, renewed while it is in use.
func (p *PKI) RotatedAdmin() (*Rotating, error) { return p.Rotated("admin", Admin()) }

// Admin is the administrator's kubeconfig for a server, kept as <dir>/admin.crt and admin.key.
func (p *PKI) Admin(server string) (Kubeconfig, error) {
	pair, err := p.Stored("admin", Admin(), false)
	if err != nil {
		return Kubeconfig{}, err
	}
	key, err := pair.KeyPEM()
	if err != nil {
		return Kubeconfig{}, err
	}
	return Kubeconfig{Name: "lighter", Server: server, CA: p.CA.PEM(), Cert: pair.CertPEM(), Key: key}, nil
}
