package proxy

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func addrType(six bool) nftables.SetDatatype {
	if six {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

// namedSet describes the sets that every table has, by name without and with family:
//
//	services4      address . protocol . port -> chain     nodeports4    protocol . port -> chain
//	hostaddrs4     address . protocol . port -> chain     hostports4    protocol . port -> chain
//	refused4       address . protocol . port              refusedports4 protocol . port
//	hairpin4       source . destination                   pods4, nodes4, clusters4, own4  prefixes
func namedSet(t *nftables.Table, name string) *nftables.Set {
	kind, six := name[:len(name)-1], name[len(name)-1] == '6'
	s := &nftables.Set{Table: t, Name: name, Concatenation: true}
	switch kind {
	case "services", "hostaddrs", "refused":
		s.KeyType = nftables.MustConcatSetType(addrType(six), nftables.TypeInetProto, nftables.TypeInetService)
	case "nodeports", "hostports", "refusedports":
		s.KeyType = nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
	case "hairpin":
		s.KeyType = nftables.MustConcatSetType(addrType(six), addrType(six))
	default:
		s.KeyType, s.Concatenation, s.Interval, s.AutoMerge = addrType(six), false, true, true
	}
	switch kind {
	case "services", "hostaddrs", "nodeports", "hostports":
		s.IsMap, s.DataType = true, nftables.TypeVerdict
	}
	return s
}

// affinitySet maps a client's address to the endpoint that it was last sent to, for some time.
func affinitySet(t *nftables.Table, name string, six bool) *nftables.Set {
	return &nftables.Set{Table: t, Name: name, KeyType: addrType(six), IsMap: true, Dynamic: true, HasTimeout: true, Size: 65535,
		DataType: nftables.MustConcatSetType(addrType(six), nftables.TypeInetService)}
}

// pad16 is a port as it stands in a register: network order, padded to four bytes.
func pad16(n uint16) []byte { return []byte{byte(n >> 8), byte(n), 0, 0} }

func pad8(n uint8) []byte { return []byte{n, 0, 0, 0} }

// endpointBytes is an address and port as they stand in consecutive registers.
func endpointBytes(a netip.AddrPort) []byte { return append(a.Addr().AsSlice(), pad16(a.Port())...) }

// number is an integer as it stands in a register.
func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// entryElements sorts entries into the sets that hold them.
func entryElements(t *nftables.Table, entries map[entry]string) map[string][]nftables.SetElement {
	out := map[string][]nftables.SetElement{}
	for e, chain := range entries {
		key, set := append(pad8(e.Proto), pad16(e.Port)...), ""
		switch {
		case e.Host && e.Addr.IsValid():
			set = "hostaddrs"
		case e.Host:
			set = "hostports"
		case e.Addr.IsValid() && chain != "":
			set = "services"
		case e.Addr.IsValid():
			set = "refused"
		case chain != "":
			set = "nodeports"
		default:
			set = "refusedports"
		}
		if e.Addr.IsValid() {
			key = append(e.Addr.AsSlice(), key...)
		}
		element := nftables.SetElement{Key: key}
		if chain != "" {
			element.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}
		}
		out[set+family(e.Six)] = append(out[set+family(e.Six)], element)
	}
	return out
}

// intervals are the elements of a set of prefixes.
func intervals(prefixes []netip.Prefix, six bool) (out []nftables.SetElement) {
	for _, p := range merged(prefixes, six) {
		out = append(out, nftables.SetElement{Key: p.Addr().AsSlice()})
		if end := last(p).Next(); end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// single is each address as a prefix.
func single(addrs []netip.Addr) (out []netip.Prefix) {
	for _, a := range addrs {
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// merged drops prefixes of the other family and those that lie in another.
func merged(prefixes []netip.Prefix, six bool) (out []netip.Prefix) {
	for i, p := range prefixes {
		if p = p.Masked(); p.Addr().Is4() == six {
			continue
		}
		inside := false
		for j, q := range prefixes {
			q = q.Masked()
			inside = inside || q.Contains(p.Addr()) && (q.Bits() < p.Bits() || q.Bits() == p.Bits() && j < i)
		}
		if !inside {
			out = append(out, p)
		}
	}
	return out
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
