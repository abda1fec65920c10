package dns

import (
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// handler turns one query into one answer.
type handler struct {
	index   *index
	log     *slog.Logger
	forward *forwarder
}

const (
	udpSize    = 1232 // what we accept by UDP without fragments
	aliasDepth = 8    // how many names in a row may be other names
)

// ServeDNS implements dns.Handler.
func (h *handler) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	_, udp := w.LocalAddr().(*net.UDPAddr)
	if m := h.reply(q, udp); m != nil {
		if err := w.WriteMsg(m); err != nil {
			h.log.Debug("write dns answer", "err", err)
		}
	}
}

// reply makes the answer as it goes over the wire; nil is none.
func (h *handler) reply(q *dns.Msg, udp bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Compress = true
	size := dns.MinMsgSize
	opt := q.IsEdns0()
	if opt != nil {
		size = max(size, int(opt.UDPSize()))
	}
	switch {
	case q.Response:
		return nil
	case opt != nil && opt.Version() != 0:
		m.SetEdns0(udpSize, opt.Do())
		m.Rcode = dns.RcodeBadVers
		return m
	case q.Opcode != dns.OpcodeQuery:
		m.Rcode = dns.RcodeNotImplemented
	case len(q.Question) != 1:
		m.Rcode = dns.RcodeFormatError
	case q.Question[0].Qclass != dns.ClassINET || q.Question[0].Qtype == dns.TypeAXFR || q.Question[0].Qtype == dns.TypeIXFR:
		m.Rcode = dns.RcodeRefused
	default:
		m = h.answer(q, m)
	}
	if opt != nil && m.IsEdns0() == nil {
		m.SetEdns0(udpSize, opt.Do())
	}
	if !udp {
		size = dns.MaxMsgSize
	}
	m.Truncate(size)
	return m
}

func (h *handler) answer(q, m *dns.Msg) *dns.Msg {
	question := q.Question[0]
	if labels, ok := relative(question.Name, h.index.domain); ok {
		m.Authoritative = true
		h.cluster(q, m, question.Name, labels, 0)
		return m
	}
	if a, ok := reversed(question.Name); ok {
		if names := h.index.pointers(a); len(names) > 0 {
			m.Authoritative = true
			if question.Qtype == dns.TypePTR || question.Qtype == dns.TypeANY {
				for _, name := range names {
					m.Answer = append(m.Answer, &dns.PTR{Hdr: header(question.Name, dns.TypePTR), Ptr: name})
				}
			}
			return m
		}
	}
	return h.forward.ask(q, m)
}

// cluster fills m with the records of one name of the domain, and of what it is another name for.
func (h *handler) cluster(q, m *dns.Msg, name string, labels []string, depth int) {
	kind := q.Question[0].Qtype
	a := h.index.lookup(labels)
	asked := func(t uint16) bool { return kind == t || kind == dns.TypeANY }
	if a.alias != "" {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: a.alias})
		if kind != dns.TypeCNAME && depth < aliasDepth {
			h.follow(q, m, a.alias, depth+1)
		}
		return
	}
	had := len(m.Answer)
	for _, addr := range a.addresses {
		if rr := addressRecord(name, addr); asked(rr.Header().Rrtype) {
			m.Answer = append(m.Answer, rr)
		}
	}
	if asked(dns.TypeSRV) {
		for _, s := range a.services {
			s.Hdr = header(name, dns.TypeSRV)
			m.Answer = append(m.Answer, s)
		}
		for _, x := range a.extra {
			m.Extra = append(m.Extra, addressRecord(x.name, x.addr))
		}
	}
	if asked(dns.TypeTXT) && a.texts != nil {
		m.Answer = append(m.Answer, &dns.TXT{Hdr: header(name, dns.TypeTXT), Txt: a.texts})
	}
	if len(labels) == 0 && asked(dns.TypeSOA) {
		m.Answer = append(m.Answer, h.soa())
	}
	if len(m.Answer) == had {
		if !a.exists {
			m.Rcode = dns.RcodeNameError
		}
		m.Ns = append(m.Ns, h.soa())
		return
	}
	fresh := m.Answer[had:]
	rand.Shuffle(len(fresh), func(i, j int) { fresh[i], fresh[j] = fresh[j], fresh[i] })
}

// follow adds the records of another name's target.
func (h *handler) follow(q, m *dns.Msg, target string, depth int) {
	if labels, ok := relative(target, h.index.domain); ok {
		h.cluster(q, m, target, labels, depth)
		return
	}
	next := q.Copy()
	next.Question[0].Name = target
	got := h.forward.ask(next, new(dns.Msg).SetReply(next))
	m.Rcode = got.Rcode
	m.Answer = append(m.Answer, got.Answer...)
	m.Ns = append(m.Ns, got.Ns...)
}

// soa is the record that tells how long the absence of a name may be remembered.
func (h *handler) soa() dns.RR {
	return &dns.SOA{Hdr: header(h.index.domain, dns.TypeSOA), Ns: "ns.dns." + h.index.domain, Mbox: "hostmaster." + h.index.domain,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: ttl}
}

func header(name string, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}

func addressRecord(name string, a netip.Addr) dns.RR {
	if a.Is4() {
		return &dns.A{Hdr: header(name, dns.TypeA), A: a.AsSlice()}
	}
	return &dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: a.AsSlice()}
}
