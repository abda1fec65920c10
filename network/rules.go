package network

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rules is what the table is made from.
type rules struct {
	own  []netip.Prefix // pods of this node
	pods []netip.Prefix // pods of the cluster
}

// masquerade gives what this node's pods send out of the cluster the node's address. The table is written
// when it must change, in one transaction.
func (k *kernel) masquerade(self peer) error {
	want := rules{own: self.pods, pods: k.PodCIDRs}
	c, err := k.nft()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: k.TableName, Family: nftables.TableFamilyINet}
	if slices.Equal(want.own, k.rules.own) && slices.Equal(want.pods, k.rules.pods) {
		if _, err := c.ListTableOfFamily(table.Name, table.Family); err == nil {
			return nil
		}
	}
	c.AddTable(table) // so that there is one to delete
	c.DelTable(table)
	c.AddTable(table)
	priority := nftables.ChainPriority(100)
	chain := c.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: &priority})
	for _, own := range want.own {
		if len(want.pods) == 0 {
			continue
		}
		e := family(own.Addr())
		e = append(e, inside(own, true, expr.CmpOpEq)...)
		for _, pods := range want.pods {
			if pods.Addr().Is4() == own.Addr().Is4() {
				e = append(e, inside(pods, false, expr.CmpOpNeq)...)
			}
		}
		e = append(e, inside(multicast(own.Addr()), false, expr.CmpOpNeq)...)
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(e, &expr.Masq{FullyRandom: true})})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write masquerade rules: %w", err)
	}
	k.rules = want
	return nil
}

func (k *kernel) removeRules() error {
	c, err := k.nft()
	if err != nil {
		return err
	}
	table := &nftables.Table{Name: k.TableName, Family: nftables.TableFamilyINet}
	c.AddTable(table)
	c.DelTable(table)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete table %s: %w", k.TableName, err)
	}
	return nil
}

func (k *kernel) nft() (*nftables.Conn, error) {
	if k.NetNS > 0 {
		return nftables.New(nftables.WithNetNSFd(k.NetNS))
	}
	return nftables.New()
}

func family(a netip.Addr) []expr.Any {
	proto := byte(unix.NFPROTO_IPV4)
	if a.Is6() {
		proto = unix.NFPROTO_IPV6
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}}}
}

// inside compares the packet's source or destination with a prefix.
func inside(p netip.Prefix, source bool, op expr.CmpOp) []expr.Any {
	size, offset := uint32(4), uint32(16)
	if p.Addr().Is6() {
		size, offset = 16, 24
	}
	if source {
		offset -= size
	}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 1 << (7 - i%8)
	}
	return []expr.Any{&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()}}
}

func multicast(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.MustParsePrefix("224.0.0.0/4")
	}
	return netip.MustParsePrefix("ff00::/8")
}
