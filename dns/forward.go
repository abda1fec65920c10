package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	upstreamTimeout = 2 * time.Second // for one resolver
	askTimeout      = 5 * time.Second // for all of them
	maxFlights      = 1000            // queries under way at once; more get SERVFAIL
	maxCached       = 4096            // answers
	maxCachedFor    = 30 * time.Second
	rereadEvery     = 5 * time.Second // resolv.conf, at most, and only when somebody asks
)

// forwarder asks other resolvers, once for equal questions at the same time, and remembers their answers
// for as long as they say, but not longer than maxCachedFor.
type forwarder struct {
	fixed   []string
	file    string
	own     []netip.AddrPort // ours: to ask them would be a loop
	now     func() time.Time
	log     *slog.Logger
	flights singleflight.Group
	slots   chan struct{}

	mu       sync.Mutex
	cache    map[question]cached
	servers  []string
	checked  time.Time
	modified time.Time
}

type question struct {
	name      string // lowercase
	kind      uint16
	checkOff  bool
	signature bool
}

type cached struct {
	m           *dns.Msg
	from, until time.Time
}

func newForwarder(c Config, own []netip.AddrPort) *forwarder {
	return &forwarder{fixed: c.Upstreams, file: c.ResolvConf, own: own, now: c.Now, log: c.Log,
		slots: make(chan struct{}, maxFlights), cache: map[question]cached{}}
}

// ask fills m, a reply to q, with what the resolvers say. Without an answer it is SERVFAIL.
func (f *forwarder) ask(q, m *dns.Msg) *dns.Msg {
	k := question{name: strings.ToLower(q.Question[0].Name), kind: q.Question[0].Qtype, checkOff: q.CheckingDisabled}
	if opt := q.IsEdns0(); opt != nil {
		k.signature = opt.Do()
	}
	got := f.remembered(k)
	if got == nil {
		got = f.fly(k)
	}
	if got == nil {
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	// The answer's names may be written in the letters of another asker: write the question's.
	m.Rcode, m.AuthenticatedData = got.Rcode, got.AuthenticatedData
	for i, section := range [][]dns.RR{got.Answer, got.Ns, got.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype == dns.TypeOPT {
				continue
			}
			if rr = dns.Copy(rr); strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				rr.Header().Name = q.Question[0].Name
			}
			switch i {
			case 0:
				m.Answer = append(m.Answer, rr)
			case 1:
				m.Ns = append(m.Ns, rr)
			default:
				m.Extra = append(m.Extra, rr)
			}
		}
	}
	m.RecursionAvailable = true
	return m
}

// remembered returns a cached answer with what is left of its time, or nil.
func (f *forwarder) remembered(k question) *dns.Msg {
	f.mu.Lock()
	c, ok := f.cache[k]
	f.mu.Unlock()
	now := f.now()
	if !ok || !now.Before(c.until) {
		return nil
	}
	m, age := c.m.Copy(), uint32(now.Sub(c.from)/time.Second)
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, age)
			}
		}
	}
	return m
}

// fly asks the resolvers, together with all who ask the same now.
func (f *forwarder) fly(k question) *dns.Msg {
	key := k.name + "/" + dns.TypeToString[k.kind] + "/" + string([]byte{byte(k.kind >> 8), byte(k.kind), yes(k.checkOff), yes(k.signature)})
	v, _, _ := f.flights.Do(key, func() (any, error) {
		select {
		case f.slots <- struct{}{}:
			defer func() { <-f.slots }()
		default:
			return (*dns.Msg)(nil), nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		m := f.exchange(ctx, k)
		if m != nil {
			f.remember(k, m)
		}
		return m, nil
	})
	return v.(*dns.Msg)
}

// exchange asks one resolver after the other until one gives an answer that is not its own failure.
func (f *forwarder) exchange(ctx context.Context, k question) (last *dns.Msg) {
	q := new(dns.Msg)
	q.SetQuestion(k.name, k.kind)
	q.CheckingDisabled = k.checkOff
	q.SetEdns0(udpSize, k.signature)
	for _, server := range f.upstreams() {
		udp := dns.Client{Net: "udp", Timeout: upstreamTimeout, UDPSize: udpSize}
		m, _, err := udp.ExchangeContext(ctx, q, server)
		if err == nil && m.Truncated {
			tcp := dns.Client{Net: "tcp", Timeout: upstreamTimeout}
			if whole, _, err := tcp.ExchangeContext(ctx, q, server); err == nil {
				m = whole
			}
		}
		switch {
		case err != nil:
			f.log.Debug("ask resolver", "err", err)
		case m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError:
			return m
		default:
			last = m
		}
		if ctx.Err() != nil {
			break
		}
	}
	return last
}

func (f *forwarder) remember(k question, m *dns.Msg) {
	keep := lifetime(m)
	if keep <= 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	for old := range f.cache { // the map's random order chooses; a full cache forgets what it meets
		if len(f.cache) < maxCached {
			break
		}
		delete(f.cache, old)
	}
	f.cache[k] = cached{m: m, from: now, until: now.Add(keep)}
}

// lifetime is how long an answer may be kept: the least of its records' times, or for the absence of a
// name what the zone says. Failures and cut answers are not kept.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return 0
	}
	least, found := uint32(maxCachedFor/time.Second), len(m.Answer) > 0
	for _, rr := range m.Answer {
		least = min(least, rr.Header().Ttl)
	}
	if m.Rcode == dns.RcodeNameError || len(m.Answer) == 0 {
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				least, found = min(least, soa.Minttl, soa.Hdr.Ttl), true
			}
		}
	}
	if !found {
		return 0
	}
	return time.Duration(least) * time.Second
}

// upstreams returns the resolvers to ask, in order.
func (f *forwarder) upstreams() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); f.servers == nil || len(f.fixed) == 0 && now.Sub(f.checked) >= rereadEvery {
		f.checked = now
		texts := f.fixed
		if len(f.fixed) == 0 {
			info, err := os.Stat(f.file)
			if err == nil && f.servers != nil && info.ModTime().Equal(f.modified) {
				return f.servers
			}
			conf, err := dns.ClientConfigFromFile(f.file)
			if err != nil {
				if !errors.Is(err, os.ErrNotExist) {
					f.log.Warn("read resolvers", "err", err)
				}
				return f.servers
			}
			texts = conf.Servers
			if info != nil {
				f.modified = info.ModTime()
			}
		}
		f.servers = f.usable(texts)
	}
	return f.servers
}

// usable completes addresses with port 53 and leaves out our own.
func (f *forwarder) usable(texts []string) []string {
	out := []string{}
	for _, text := range texts {
		if _, _, err := net.SplitHostPort(text); err != nil {
			text = net.JoinHostPort(strings.Trim(text, "[]"), "53")
		}
		if a, err := netip.ParseAddrPort(text); err == nil && contains(f.own, a) {
			f.log.Warn("a resolver is this server itself, left out", "address", text)
			continue
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

func yes(b bool) byte {
	if b {
		return 1
	}
	return 0
}
