package proxy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// kernel writes rules to nftables, one transaction per call: either all of it holds for the next packet
// or none. It keeps nothing: what the table should be is the runner's to know.
type kernel struct {
	Config
	table, standby *nftables.Table
}

func newKernel(c Config) *kernel {
	return &kernel{Config: c, table: &nftables.Table{Name: c.TableName, Family: nftables.TableFamilyINet},
		standby: &nftables.Table{Name: c.TableName + "-standby", Family: nftables.TableFamilyINet}}
}

// conn makes a transaction. Its buffers are limits, not allocations: the kernel answers every message of a
// transaction, and a table for thousands of services is one transaction.
func (k *kernel) conn() (*nftables.Conn, error) {
	opts := []nftables.ConnOption{nftables.WithSockOptions(func(c *netlink.Conn) error {
		if err := c.SetReadBuffer(512 << 20); err != nil {
			return err
		}
		return c.SetWriteBuffer(256 << 20)
	})}
	if k.NetNS > 0 {
		opts = append(opts, nftables.WithNetNSFd(k.NetNS))
	}
	return nftables.New(opts...)
}

// check returns an error when the table is not there.
func (k *kernel) check() error {
	c, err := k.conn()
	if err != nil {
		return err
	}
	_, err = c.ListTableOfFamily(k.TableName, nftables.TableFamilyINet)
	return err
}

// replace makes the table anew in place of what is there, in one transaction. Clients keep the endpoints
// that affinity sets remembered for them. A packet that is in the old table at that very moment finds its maps
// empty already: another table with the same rules, which stands by meanwhile, has it then.
func (k *kernel) replace(all changes) error {
	if err := k.route(); err != nil {
		return err
	}
	known, err := k.remembered(all.NewSets)
	if err != nil {
		return err
	}
	tables := []*nftables.Table{k.table}
	if k.check() == nil {
		tables = []*nftables.Table{k.standby, k.table}
	}
	for _, t := range tables {
		if err := k.write(t, all, known); err != nil {
			return err
		}
	}
	return k.delete(k.standby)
}

// write makes a table with all its rules, in place of what has its name.
func (k *kernel) write(t *nftables.Table, all changes, known map[string][]nftables.SetElement) error {
	c, err := k.conn()
	if err != nil {
		return err
	}
	c.AddTable(t) // so that there is one to delete
	c.DelTable(t)
	c.AddTable(t)
	w := &writer{conn: c, table: t}
	w.frame(k.Config)
	w.changes(all)
	for name, elements := range known {
		w.elements(affinitySet(t, name, all.NewSets[name]), elements)
	}
	return w.commit()
}

// delete removes tables, if they are there.
func (k *kernel) delete(tables ...*nftables.Table) error {
	c, err := k.conn()
	if err != nil {
		return err
	}
	for _, t := range tables {
		c.AddTable(t)
		c.DelTable(t)
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("delete table: %w", err)
	}
	return nil
}

// apply makes the difference in one transaction.
func (k *kernel) apply(diff changes) error {
	c, err := k.conn()
	if err != nil {
		return err
	}
	w := &writer{conn: c, table: k.table}
	w.changes(diff)
	return w.commit()
}

// remembered reads the affinity sets that are in the kernel and among the wanted ones.
func (k *kernel) remembered(want map[string]bool) (map[string][]nftables.SetElement, error) {
	out := map[string][]nftables.SetElement{}
	if len(want) == 0 || k.check() != nil {
		return out, nil
	}
	c, err := k.conn()
	if err != nil {
		return nil, err
	}
	sets, err := c.GetSets(k.table)
	if err != nil {
		return nil, fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		six, ok := want[s.Name]
		if !ok {
			continue
		}
		set := affinitySet(k.table, s.Name, six)
		elements, err := c.GetSetElements(set)
		if err != nil {
			return nil, fmt.Errorf("read set %s: %w", s.Name, err)
		}
		for _, e := range elements {
			if e.Expires > 0 {
				out[s.Name] = append(out[s.Name], nftables.SetElement{Key: e.Key, Val: e.Val, Timeout: e.Expires})
			}
		}
	}
	return out, nil
}

// remove deletes what replace makes: tables and routes.
func (k *kernel) remove() error {
	if err := k.delete(k.table, k.standby); err != nil {
		return err
	}
	return k.unroute()
}

// writer puts changes into a transaction; the first error is returned by commit.
type writer struct {
	conn  *nftables.Conn
	table *nftables.Table
	err   error
}

func (w *writer) commit() error {
	if w.err != nil {
		return w.err
	}
	if err := w.conn.Flush(); err != nil {
		return fmt.Errorf("commit rules: %w", err)
	}
	return nil
}

func (w *writer) keep(err error) {
	if w.err == nil {
		w.err = err
	}
}

// changes writes a difference: what is referred to before what refers to it, and deletes in the other order.
func (w *writer) changes(c changes) {
	for _, name := range slices.Sorted(maps.Keys(c.NewSets)) {
		w.set(affinitySet(w.table, name, c.NewSets[name]), nil)
	}
	names := slices.Sorted(maps.Keys(c.Chains))
	for _, name := range names {
		w.conn.AddChain(&nftables.Chain{Name: name, Table: w.table})
	}
	for _, name := range names {
		chain := &nftables.Chain{Name: name, Table: w.table}
		w.conn.FlushChain(chain)
		for _, r := range c.Chains[name] {
			w.serviceRule(chain, r, chainIsSix(name))
		}
	}
	for set, elements := range entryElements(w.table, c.OldEntries) {
		w.unelements(namedSet(w.table, set), elements)
	}
	for set, elements := range entryElements(w.table, c.NewEntries) {
		w.elements(namedSet(w.table, set), elements)
	}
	for _, six := range []bool{false, true} {
		w.unelements(namedSet(w.table, "hairpin"+family(six)), hairpinElements(c.OldHairpin, six))
		w.elements(namedSet(w.table, "hairpin"+family(six)), hairpinElements(c.NewHairpin, six))
	}
	for _, name := range c.OldChains {
		w.conn.FlushChain(&nftables.Chain{Name: name, Table: w.table})
	}
	for _, name := range c.OldChains {
		w.conn.DelChain(&nftables.Chain{Name: name, Table: w.table})
	}
	for _, name := range c.OldSets {
		w.conn.DelSet(&nftables.Set{Name: name, Table: w.table})
	}
}

// batch is how many elements go into one message, whose length counts in 16 bits.
const batch = 150

func (w *writer) set(s *nftables.Set, elements []nftables.SetElement) {
	first := elements[:min(batch, len(elements))]
	if s.Anonymous {
		s.Size = uint32(len(elements))
	}
	w.keep(w.conn.AddSet(s, first))
	rest := *s
	rest.Anonymous = false // the library refuses what the kernel allows within one transaction
	w.elements(&rest, elements[len(first):])
}

func (w *writer) elements(s *nftables.Set, elements []nftables.SetElement) {
	for part := range slices.Chunk(elements, batch) {
		w.keep(w.conn.SetAddElements(s, part))
	}
}

func (w *writer) unelements(s *nftables.Set, elements []nftables.SetElement) {
	for part := range slices.Chunk(elements, batch) {
		w.keep(w.conn.SetDeleteElements(s, part))
	}
}

func family(six bool) string {
	if six {
		return "6"
	}
	return "4"
}

// chainIsSix reads the family out of a chain's name: "svc6/...".
func chainIsSix(name string) bool {
	for i := range len(name) {
		if name[i] == '/' {
			return i > 0 && name[i-1] == '6'
		}
	}
	return false
}

func hairpinElements(addrs []netip.Addr, six bool) (out []nftables.SetElement) {
	for _, a := range addrs {
		if a.Is4() != six {
			out = append(out, nftables.SetElement{Key: slices.Concat(a.AsSlice(), a.AsSlice())})
		}
	}
	return out
}
