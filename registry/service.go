package registry

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/google/uuid"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Services gives Services their addresses and node ports. Each address is an IPAddress object and all node
// ports are one RangeAllocation, written in the transaction that writes the Service: none is
// handed out twice and none is left behind.
type Services struct {
	registry         *Registry
	ranges           []netip.Prefix // service CIDRs, the primary family first
	firstPort, ports int
}

const portsKey = watch.Prefix + "ranges/servicenodeports"

// NewServices makes the allocator for the service CIDRs and the node ports from first, n of them.
func NewServices(r *Registry, ranges []netip.Prefix, first, n int) *Services {
	s := &Services{registry: r, ranges: ranges, firstPort: first, ports: n}
	r.Together("services/specs", s.together)
	return s
}

// Nth is the address at a place in the primary range: 1 is the API server's, 10 the DNS service's.
func (s *Services) Nth(n int) netip.Addr { return Nth(s.ranges[0], uint64(n)) }

// Nth is the address at a place in a range.
func Nth(p netip.Prefix, n uint64) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	low := b[len(b)-min(8, len(b)):]
	if len(low) == 4 {
		binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+uint32(n))
	} else {
		binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)+n)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// size is how many addresses of a range can be given out: not the first and, in IPv4, not the last.
func size(p netip.Prefix) uint64 {
	bits := min(p.Addr().BitLen()-p.Bits(), 32)
	n := uint64(1)<<bits - 1
	if p.Addr().Is4() && n > 1 {
		n--
	}
	return n
}

func (s *Services) together(ctx context.Context, _ Request, obj, old api.Object) ([]store.Op, error) {
	was, _ := old.(*corev1.Service)
	svc, _ := obj.(*corev1.Service)
	if svc != nil {
		if err := s.complete(svc, was); err != nil {
			return nil, err
		}
	}
	var ops []store.Op
	before, after := addresses(was), addresses(svc)
	info := s.registry.State.Info("ipaddresses")
	for _, ip := range before {
		if !slices.Contains(after, ip) {
			ops = append(ops, store.Op{Key: watch.Key(info, "", ip), Expect: store.Any})
		}
	}
	for _, ip := range after {
		if slices.Contains(before, ip) {
			continue
		}
		value, err := api.EncodeStored(info, s.address(ip, svc))
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		ops = append(ops, store.Op{Key: watch.Key(info, "", ip), Value: value})
	}
	more, err := s.nodePorts(ctx, svc, was)
	return append(ops, more...), err
}

// addresses are the cluster IPs that a Service holds.
func addresses(svc *corev1.Service) []string {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(svc.Spec.ClusterIPs), func(ip string) bool { return ip == "" || ip == corev1.ClusterIPNone })
}

func (s *Services) address(ip string, svc *corev1.Service) *networkingv1.IPAddress {
	family := "IPv4"
	if a, err := netip.ParseAddr(ip); err == nil && a.Is6() {
		family = "IPv6"
	}
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip, UID: types.UID(uuid.NewString()), Generation: 1, CreationTimestamp: metav1.NewTime(s.registry.Now().UTC()),
			Labels: map[string]string{networkingv1.LabelIPAddressFamily: family, networkingv1.LabelManagedBy: "ipallocator.k8s.io"}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}},
	}
}

// complete fills in families and cluster IPs. An update that leaves them out keeps what is there.
func (s *Services) complete(svc, was *corev1.Service) error {
	spec := &svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		if was != nil && was.Spec.Type != corev1.ServiceTypeExternalName && spec.ClusterIP == was.Spec.ClusterIP {
			spec.ClusterIP, spec.ClusterIPs, spec.IPFamilies, spec.IPFamilyPolicy = "", nil, nil, nil
		}
		return nil
	}
	held := was != nil && was.Spec.Type != corev1.ServiceTypeExternalName
	if held {
		if spec.ClusterIP == "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIP, spec.ClusterIPs = was.Spec.ClusterIP, slices.Clone(was.Spec.ClusterIPs)
		}
		if spec.IPFamilyPolicy == nil {
			spec.IPFamilyPolicy = was.Spec.IPFamilyPolicy
		}
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = slices.Clone(was.Spec.IPFamilies)
		}
		if was.Spec.ClusterIP != "" && spec.ClusterIP != was.Spec.ClusterIP {
			return invalidService(svc, field.Invalid(field.NewPath("spec", "clusterIPs").Index(0), spec.ClusterIP, "may not change once set"))
		}
	}
	if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if spec.ClusterIP == "" && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	if err := s.families(svc); err != nil {
		return err
	}
	if spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	for n, family := range spec.IPFamilies {
		p, _ := s.rangeOf(family)
		if n < len(spec.ClusterIPs) {
			ip, err := netip.ParseAddr(spec.ClusterIPs[n])
			path := field.NewPath("spec", "clusterIPs").Index(n)
			if err != nil {
				return invalidService(svc, field.Invalid(path, spec.ClusterIPs[n], "must be a valid IP address"))
			}
			if held && n < len(was.Spec.ClusterIPs) && was.Spec.ClusterIPs[n] == spec.ClusterIPs[n] {
				continue
			}
			if !p.Contains(ip) {
				return invalidService(svc, field.Invalid(path, spec.ClusterIPs,
					fmt.Sprintf("failed to allocate IP %s: the provided IP (%s) is not in the valid range. The range of valid IPs is %s", ip, ip, p)))
			}
			if s.taken(ip) {
				return invalidService(svc, field.Invalid(path, spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: provided IP is already allocated", ip)))
			}
			continue
		}
		ip, err := s.free(p)
		if err != nil {
			return err
		}
		spec.ClusterIPs = append(spec.ClusterIPs, ip.String())
	}
	spec.ClusterIP = spec.ClusterIPs[0]
	return nil
}

// families settles spec.ipFamilies and spec.ipFamilyPolicy. Source: IPv4/IPv6 dual-stack.
func (s *Services) families(svc *corev1.Service) error {
	spec := &svc.Spec
	if spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		if len(spec.IPFamilies) == 2 || len(spec.ClusterIPs) == 2 {
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		spec.IPFamilyPolicy = &policy
	}
	for _, family := range spec.IPFamilies {
		if _, ok := s.rangeOf(family); !ok && spec.ClusterIP != corev1.ClusterIPNone {
			return invalidService(svc, field.Invalid(field.NewPath("spec", "ipFamilies").Index(0), family, "not configured on this cluster"))
		}
	}
	if len(spec.IPFamilies) == 0 {
		for _, ip := range spec.ClusterIPs {
			if a, err := netip.ParseAddr(ip); err == nil {
				spec.IPFamilies = append(spec.IPFamilies, familyOf(a))
			}
		}
		if len(spec.IPFamilies) == 0 {
			spec.IPFamilies = []corev1.IPFamily{familyOf(s.ranges[0].Addr())}
		}
	}
	if *spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack && len(spec.IPFamilies) == 1 && len(s.ranges) == 2 {
		for _, p := range s.ranges {
			if f := familyOf(p.Addr()); f != spec.IPFamilies[0] {
				spec.IPFamilies = append(spec.IPFamilies, f)
			}
		}
	}
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(s.ranges) < 2 && spec.ClusterIP != corev1.ClusterIPNone {
		return invalidService(svc, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), *spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services"))
	}
	return nil
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func (s *Services) rangeOf(f corev1.IPFamily) (netip.Prefix, bool) {
	for _, p := range s.ranges {
		if familyOf(p.Addr()) == f {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

func (s *Services) taken(ip netip.Addr) bool {
	return s.registry.State.Get(s.registry.State.Info("ipaddresses"), "", ip.String()) != nil
}

// free picks an unused address at random, out of the upper part of the range, so that
// the lower one stays for addresses that users choose. Source: Service ClusterIP allocation.
func (s *Services) free(p netip.Prefix) (netip.Addr, error) {
	all := size(p)
	reserved := chosen(all, 16, 256)
	for range 64 {
		if ip := Nth(p, 1+reserved+rand.Uint64N(all-reserved)); !s.taken(ip) {
			return ip, nil
		}
	}
	for n := uint64(0); n < all && n < 1<<20; n++ {
		if ip := Nth(p, 1+(n+reserved)%all); !s.taken(ip) {
			return ip, nil
		}
	}
	return netip.Addr{}, apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: range is full"))
}

func invalidService(svc *corev1.Service, e *field.Error) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), svc.Name, field.ErrorList{e})
}

// held are the node ports of a Service, each once: one number may serve several protocols.
func held(svc *corev1.Service) map[int32]bool {
	out := map[int32]bool{}
	if svc == nil {
		return out
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			out[p.NodePort] = true
		}
	}
	if svc.Spec.HealthCheckNodePort != 0 {
		out[svc.Spec.HealthCheckNodePort] = true
	}
	return out
}

// nodePorts settles node ports and gives the write that takes and returns them.
func (s *Services) nodePorts(ctx context.Context, svc, was *corev1.Service) ([]store.Op, error) {
	if svc != nil {
		keepPorts(svc, was)
	}
	before := held(was)
	if svc == nil && len(before) == 0 || svc != nil && !wantsPorts(svc) && len(before) == 0 {
		return nil, nil
	}
	entry, err := s.registry.Store.Get(ctx, portsKey, 0)
	if err != nil {
		return nil, unavailable(err)
	}
	ranges := &corev1.RangeAllocation{Range: fmt.Sprintf("%d-%d", s.firstPort, s.firstPort+s.ports-1)}
	if entry.Value != nil {
		raw, _, _, err := api.RawStored(entry.Value)
		if err == nil {
			err = ranges.Unmarshal(raw)
		}
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
	}
	bits := new(big.Int).SetBytes(ranges.Data)
	original := new(big.Int).Set(bits)
	for p := range before {
		bits.SetBit(bits, int(p)-s.firstPort, 0)
	}
	if svc != nil {
		if err := s.take(svc, before, bits); err != nil {
			return nil, err
		}
	}
	if bits.Cmp(original) == 0 {
		return nil, nil
	}
	ranges.Data = bits.Bytes()
	raw, err := ranges.Marshal()
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return []store.Op{{Key: portsKey, Value: api.Wrap("v1", "RangeAllocation", raw), Expect: entry.Revision}}, nil
}

func wantsPorts(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts || len(held(svc)) > 0
	}
	return false
}

func wantsHealthPort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// keepPorts keeps the node ports that an update leaves out, and drops those that its type no longer has.
func keepPorts(svc, was *corev1.Service) {
	if !wantsHealthPort(svc) {
		svc.Spec.HealthCheckNodePort = 0
	} else if was != nil && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = was.Spec.HealthCheckNodePort
	}
	if was == nil {
		return
	}
	if svc.Spec.Type == corev1.ServiceTypeClusterIP || svc.Spec.Type == corev1.ServiceTypeExternalName {
		for n := range svc.Spec.Ports {
			if held(was)[svc.Spec.Ports[n].NodePort] {
				svc.Spec.Ports[n].NodePort = 0
			}
		}
		return
	}
	used := held(svc)
	for n := range svc.Spec.Ports {
		p := &svc.Spec.Ports[n]
		for _, o := range was.Spec.Ports {
			if p.NodePort == 0 && o.NodePort != 0 && o.Port == p.Port && o.Protocol == p.Protocol && !used[o.NodePort] {
				p.NodePort = o.NodePort
			}
		}
	}
}

// take sets the bit of each node port that the Service has or gets.
func (s *Services) take(svc *corev1.Service, before map[int32]bool, bits *big.Int) error {
	mine := map[int32]bool{}
	claim := func(path *field.Path, port *int32) error {
		at := int(*port) - s.firstPort
		switch {
		case *port == 0:
			n, err := s.freePort(bits)
			if err != nil {
				return err
			}
			at, *port = n, int32(s.firstPort+n)
		case mine[*port]: // the same number for another protocol
		case at < 0 || at >= s.ports:
			return invalidService(svc, field.Invalid(path, *port, fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", s.firstPort, s.firstPort+s.ports-1)))
		case bits.Bit(at) == 1:
			return invalidService(svc, field.Invalid(path, *port, "provided port is already allocated"))
		}
		mine[*port] = true
		bits.SetBit(bits, at, 1)
		return nil
	}
	if wantsPorts(svc) {
		byPort := map[int32]int32{}
		for n := range svc.Spec.Ports {
			p := &svc.Spec.Ports[n]
			if p.NodePort == 0 && byPort[p.Port] != 0 {
				p.NodePort = byPort[p.Port] // one port, several protocols: one node port
			}
			if p.NodePort == 0 && svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.AllocateLoadBalancerNodePorts != nil && !*svc.Spec.AllocateLoadBalancerNodePorts {
				continue
			}
			if err := claim(field.NewPath("spec", "ports").Index(n).Child("nodePort"), &p.NodePort); err != nil {
				return err
			}
			byPort[p.Port] = p.NodePort
		}
	}
	if wantsHealthPort(svc) {
		return claim(field.NewPath("spec", "healthCheckNodePort"), &svc.Spec.HealthCheckNodePort)
	}
	return nil
}

// freePort picks an unused port at random, out of the upper part of the range as long as there is one, so that
// the lower one stays for ports that users choose. Source: Service type NodePort, "Choosing your own port".
func (s *Services) freePort(bits *big.Int) (int, error) {
	reserved := chosen(s.ports, 32, 128)
	for _, part := range [2][2]int{{reserved, s.ports - reserved}, {0, reserved}} {
		if part[1] == 0 {
			continue
		}
		start := rand.IntN(part[1])
		for n := range part[1] {
			if at := part[0] + (start+n)%part[1]; bits.Bit(at) == 0 {
				return at, nil
			}
		}
	}
	return 0, apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: range is full"))
}

// chosen is how many of a range's first addresses or ports are left to users: one part of it, from 16 to most, and none of at most 16.
func chosen[N int | uint64](all, part, most N) N {
	if all <= 16 {
		return 0
	}
	return min(max(16, all/part), most)
}
