package proxy

import (
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The words of the rule language, each a few of the kernel's expressions.

// words is how many small registers an address takes.
func words(six bool) uint32 {
	if six {
		return 4
	}
	return 1
}

func onlyFamily(six bool) []expr.Any {
	proto := byte(unix.NFPROTO_IPV4)
	if six {
		proto = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg0}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{proto}}}
}

func source(six bool, reg uint32) []expr.Any {
	if six {
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16}}
	}
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4}}
}

func destination(six bool, reg uint32) []expr.Any {
	if six {
		return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16}}
	}
	return []expr.Any{&expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}}
}

// protocolPort loads the protocol into reg and the destination port into the register after it.
func protocolPort(reg uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg},
		&expr.Payload{DestRegister: reg + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
}

// loopback compares the address in reg0 with the loopback addresses; it leaves it there for IPv6, not for IPv4.
func loopback(six bool, op expr.CmpOp) []expr.Any {
	if six {
		return []expr.Any{&expr.Cmp{Op: op, Register: reg0, Data: netip.IPv6Loopback().AsSlice()}}
	}
	return []expr.Any{&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: []byte{255, 0, 0, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg0, Data: []byte{127, 0, 0, 0}}}
}

// inState holds when the packet's connection is in one of the states.
func inState(bits uint32) []expr.Any {
	return []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: number(bits), Xor: number(0)}, isNonZero()}
}

func dnat(six bool) expr.Any {
	fam := uint32(unix.NFPROTO_IPV4)
	if six {
		fam = unix.NFPROTO_IPV6
	}
	return &expr.NAT{Type: expr.NATTypeDestNAT, Family: fam, RegAddrMin: reg0, RegProtoMin: reg0 + words(six)}
}

func marked() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: number(masqueradeBit), Xor: number(0)}, isNonZero()}
}

func mark() []expr.Any   { return setMark(masqueradeBit) }
func unmark() []expr.Any { return setMark(0) }

func setMark(bit uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0},
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: number(^uint32(masqueradeBit)), Xor: number(bit)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: reg0}}
}

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{FullyRandom: true}} }

func isNonZero() expr.Any { return &expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: number(0)} }
