package proxy

import (
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The bit of the packet mark that asks for masquerading; the same as kube-proxy's, so that tools know it.
const masqueradeBit = 0x4000

// Registers. The 16 small registers hold: an address key and what follows it from 0, a client from 8.
const (
	reg0      = unix.NFT_REG32_00
	regClient = unix.NFT_REG32_00 + 8
)

// frame writes what every table has: the sets, and the chains that the kernel's hooks call.
//
//	prerouting, output  -> services: new connections find their service's chain; those for an address of this
//	                    node that no service has go on to local: a pod's host port first, then node ports
//	postrouting         masquerades what was marked, and what reaches itself through a service
//	input, forward, output at filter: refuses what no endpoint serves
func (w *writer) frame(c Config) {
	for _, fam := range []string{"4", "6"} {
		for _, kind := range []string{"services", "hostaddrs", "hostports", "nodeports", "refused", "refusedports", "hairpin"} {
			w.set(namedSet(w.table, kind+fam), nil)
		}
		w.set(namedSet(w.table, "pods"+fam), intervals(c.PodCIDRs, fam == "6"))
		w.set(namedSet(w.table, "nodes"+fam), intervals(c.NodePortAddresses, fam == "6"))
		w.set(namedSet(w.table, "own"+fam), intervals(single(c.LocalAddresses), fam == "6"))
		w.set(namedSet(w.table, "clusters"+fam), intervals(c.ServiceCIDRs, fam == "6"))
	}
	services := w.conn.AddChain(&nftables.Chain{Name: "services", Table: w.table})
	refused := w.conn.AddChain(&nftables.Chain{Name: "refused", Table: w.table})
	refuse := w.conn.AddChain(&nftables.Chain{Name: "refuse", Table: w.table})
	hook := func(name string, t nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
		return w.conn.AddChain(&nftables.Chain{Name: name, Table: w.table, Type: t, Hooknum: hook, Priority: &priority})
	}
	prerouting := hook("nat-prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, -100)
	output := hook("nat-output", nftables.ChainTypeNAT, nftables.ChainHookOutput, -100)
	postrouting := hook("nat-postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, 100)
	in := hook("filter-input", nftables.ChainTypeFilter, nftables.ChainHookInput, -10)
	forward := hook("filter-forward", nftables.ChainTypeFilter, nftables.ChainHookForward, -10)
	out := hook("filter-output", nftables.ChainTypeFilter, nftables.ChainHookOutput, -10)

	toRefuse := &expr.Verdict{Kind: expr.VerdictGoto, Chain: refuse.Name}
	jump := func(to *nftables.Chain) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: to.Name} }
	w.rule(prerouting, jump(services))
	w.rule(output, jump(services))
	// A local TCP client would miss the ICMP error: it comes while connect still holds the socket.
	w.rule(refuse, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	w.rule(refuse, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
	// A packet that conntrack cannot place would leave untranslated, and reset the connection it is from.
	w.rule(forward, append(inState(expr.CtStateBitINVALID), &expr.Verdict{Kind: expr.VerdictDrop})...)
	for _, chain := range []*nftables.Chain{in, forward, out} {
		w.rule(chain, append(inState(expr.CtStateBitNEW), jump(refused))...)
	}
	w.rule(postrouting, slices.Concat(marked(), unmark(), masquerade())...)

	for _, six := range []bool{false, true} {
		f := family(six)
		only := onlyFamily(six)
		w.rule(services, slices.Concat(only, destination(six, reg0), protocolPort(reg0+words(six)),
			[]expr.Any{&expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: "services" + f}})...)
		find := func(c *nftables.Chain, set string, when ...expr.Any) { // go on to the chain that the set says
			w.rule(c, append(when, &expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: set + f})...)
		}
		node := append(onlyFamily(six), &expr.Fib{Register: reg0, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: number(unix.RTN_LOCAL)})
		node = append(node, destination(six, reg0)...)
		local := w.conn.AddChain(&nftables.Chain{Name: "local" + f, Table: w.table})
		w.rule(services, slices.Concat(node, loopback(six, expr.CmpOpNeq), []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: local.Name}})...)
		// What the node serves itself, such as DNS, is no pod's to take.
		others := append(destination(six, reg0), &expr.Lookup{SourceRegister: reg0, SetName: "own" + f, Invert: true})
		find(local, "hostaddrs", slices.Concat(others, destination(six, reg0), protocolPort(reg0+words(six)))...)
		find(local, "hostports", slices.Concat(others, protocolPort(reg0))...)
		if len(c.NodePortAddresses) > 0 {
			chosen := &expr.Lookup{SourceRegister: reg0, SetName: "nodes" + f}
			node = append(node, chosen)
			find(local, "nodeports", slices.Concat(destination(six, reg0), []expr.Any{chosen}, protocolPort(reg0))...)
		} else {
			find(local, "nodeports", protocolPort(reg0)...)
		}
		node = slices.Concat(node, loopback(six, expr.CmpOpNeq), protocolPort(reg0))
		// A host port on a loopback address is for the node's own processes alone, so it is looked for in output
		// only; from a loopback address there is no way back (see hostPorts).
		find(output, "hostaddrs", slices.Concat(only, destination(six, reg0), loopback(six, expr.CmpOpEq),
			source(six, reg0), loopback(six, expr.CmpOpNeq), destination(six, reg0), protocolPort(reg0+words(six)))...)
		w.rule(refused, slices.Concat(only, destination(six, reg0), protocolPort(reg0+words(six)),
			[]expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: "refused" + f}, toRefuse})...)
		w.rule(refused, append(slices.Clone(node), &expr.Lookup{SourceRegister: reg0, SetName: "refusedports" + f}, toRefuse)...)
		// What no service claims among the cluster addresses goes nowhere, but for those served here.
		w.rule(refused, slices.Concat(only, destination(six, reg0), []expr.Any{
			&expr.Lookup{SourceRegister: reg0, SetName: "clusters" + f},
			&expr.Fib{Register: reg0, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: number(unix.RTN_LOCAL)}, toRefuse})...)
		w.rule(postrouting, slices.Concat(only, []expr.Any{
			&expr.Ct{Key: expr.CtKeySTATUS, Register: reg0},
			&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: number(0x20), Xor: number(0)}, // IPS_DST_NAT
			isNonZero()}, source(six, reg0), destination(six, reg0+words(six)), []expr.Any{
			&expr.Lookup{SourceRegister: reg0, SetName: "hairpin" + f}}, masquerade())...)
	}
}

func (w *writer) rule(c *nftables.Chain, e ...expr.Any) {
	w.conn.AddRule(&nftables.Rule{Table: w.table, Chain: c, Exprs: e})
}

// serviceRule writes one step; a balance becomes up to four kernel rules.
func (w *writer) serviceRule(c *nftables.Chain, r step, six bool) {
	var when []expr.Any
	switch r.From {
	case fromPods, fromOutside:
		when = append(source(six, reg0), &expr.Lookup{SourceRegister: reg0, SetName: "pods" + family(six), Invert: r.From == fromOutside})
	case fromHost:
		when = []expr.Any{&expr.Fib{Register: reg0, FlagSADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: number(unix.RTN_LOCAL)}}
	case fromPrefix:
		size := len(r.Prefix.Addr().AsSlice())
		mask := make([]byte, size)
		for i := range r.Prefix.Bits() {
			mask[i/8] |= 1 << (7 - i%8)
		}
		when = append(source(six, reg0),
			&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: r.Prefix.Addr().AsSlice()})
	}
	if r.Mark {
		when = append(when, mark()...)
	}
	switch {
	case r.Goto != "":
		w.rule(c, append(when, &expr.Verdict{Kind: expr.VerdictGoto, Chain: r.Goto})...)
	case r.Drop:
		w.rule(c, append(when, &expr.Verdict{Kind: expr.VerdictDrop})...)
	case r.Balance != nil:
		w.balance(c, *r.Balance, six)
	default:
		w.rule(c, when...)
	}
}

// balance sends to a remembered endpoint that is still wanted, else to a random one, which it remembers.
// The rule after them does without memory: a full set must not refuse anybody.
func (w *writer) balance(c *nftables.Chain, b balance, six bool) {
	pick := w.pick(b.To, six)
	if b.Affinity != "" {
		endpoints := make([]nftables.SetElement, len(b.To))
		for i, to := range b.To {
			endpoints[i] = nftables.SetElement{Key: endpointBytes(to)}
		}
		known := &nftables.Set{Table: w.table, Anonymous: true, Constant: true, Concatenation: true,
			KeyType: nftables.MustConcatSetType(addrType(six), nftables.TypeInetService)}
		w.set(known, endpoints)
		remember := &expr.Dynset{SrcRegKey: regClient, SrcRegData: reg0, SetName: b.Affinity, Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: b.Timeout}
		forget := &expr.Dynset{SrcRegKey: regClient, SrcRegData: reg0, SetName: b.Affinity, Operation: 2} // NFT_DYNSET_OP_DELETE
		w.rule(c, slices.Concat(source(six, regClient), []expr.Any{
			&expr.Lookup{SourceRegister: regClient, DestRegister: reg0, IsDestRegSet: true, SetName: b.Affinity},
			&expr.Lookup{SourceRegister: reg0, SetName: known.Name, SetID: known.ID}, remember, dnat(six)})...)
		w.rule(c, slices.Concat(source(six, regClient), pick, []expr.Any{forget, remember, dnat(six)})...)
		pick = w.pick(b.To, six) // an anonymous map belongs to one rule
	}
	w.rule(c, append(pick, dnat(six))...)
	if len(b.To) > 1 {
		// A packet that is in this chain at the very moment a transaction replaces it finds the map of the old
		// rules already empty. It must not pass untranslated.
		w.rule(c, append(w.pick(b.To[:1], six), dnat(six))...)
	}
}

// pick loads the address and port of a random endpoint.
func (w *writer) pick(to []netip.AddrPort, six bool) []expr.Any {
	if len(to) == 1 {
		return []expr.Any{&expr.Immediate{Register: reg0, Data: to[0].Addr().AsSlice()},
			&expr.Immediate{Register: reg0 + words(six), Data: pad16(to[0].Port())}}
	}
	elements := make([]nftables.SetElement, len(to))
	for i, a := range to {
		elements[i] = nftables.SetElement{Key: number(uint32(i)), Val: endpointBytes(a)}
	}
	m := &nftables.Set{Table: w.table, Anonymous: true, Constant: true, IsMap: true, KeyType: nftables.TypeInteger,
		DataType: nftables.MustConcatSetType(addrType(six), nftables.TypeInetService)}
	w.set(m, elements)
	return []expr.Any{&expr.Numgen{Register: reg0, Modulus: uint32(len(to)), Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: reg0, DestRegister: reg0, IsDestRegSet: true, SetName: m.Name, SetID: m.ID}}
}
