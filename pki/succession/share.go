package succession

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
)

// Keys, below Prefix: steps/<name> is the step that an authority is to be at (pki.Succession, its key sealed), servers/<name> what a
// server has come to.
const (
	stepsKey   = "steps/"
	serversKey = "servers/"
)

// announcement is what a server says of its authorities, by their names.
type announcement struct {
	Trusts map[string][]string `json:"trusts"`           // the one that signs first
	Loaded map[string][]string `json:"loaded,omitempty"` // what the process knows that Reload is for
}

// mark is how an authority is known to others.
func mark(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:16])
}

func marks(a *pki.Authority) (out []string) {
	for _, c := range a.Trusted() {
		out = append(out, mark(c))
	}
	return out
}

// get reads the step that the servers share; nil: there is none.
func (l *Lines) get(ctx context.Context, line Line) (*pki.Succession, store.Revision, error) {
	e, err := l.Store.Get(ctx, l.Prefix+stepsKey+line.Name, 0)
	if err != nil || e.Revision == 0 {
		return nil, 0, err
	}
	s := &pki.Succession{}
	if err := json.Unmarshal(e.Value, s); err != nil {
		return nil, 0, fmt.Errorf("%s: %w", e.Key, err)
	}
	return s, e.Revision, nil
}

// put shares a step, unless another server has done so since at.
func (l *Lines) put(ctx context.Context, line Line, s *pki.Succession, at store.Revision) error {
	data, err := json.Marshal(s.Public())
	if err != nil {
		return err
	}
	_, err = l.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: l.Prefix + stepsKey + line.Name, Value: data, Expect: at}}})
	return err
}

// exchange says what this server has come to, if that is new, and reads what all say.
func (l *Lines) exchange(ctx context.Context) (map[string]announcement, error) {
	if l.Store == nil {
		return nil, nil
	}
	own := announcement{Trusts: map[string][]string{}, Loaded: map[string][]string{}}
	for _, line := range l.All {
		own.Trusts[line.Name] = marks(line.Authority)
		if line.Reload != nil {
			own.Loaded[line.Name] = l.loaded[line.Name]
		}
	}
	data, err := json.Marshal(own)
	if err != nil {
		return nil, err
	}
	if string(data) != l.said {
		if _, err := l.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: l.Prefix + serversKey + l.Self, Value: data, Expect: store.Any}}}); err != nil {
			return nil, err
		}
		l.said = string(data)
	}
	entries, _, err := l.Store.List(ctx, l.Prefix+serversKey, store.Page{})
	if err != nil {
		return nil, err
	}
	out := map[string]announcement{}
	for _, e := range entries {
		var a announcement
		if err := json.Unmarshal(e.Value, &a); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Key, err)
		}
		out[e.Key[len(l.Prefix+serversKey):]] = a
	}
	return out, nil
}

// behind are the servers that do not say what is wanted, in order.
func (l *Lines) behind(servers map[string]announcement, wanted func(announcement) bool) (out []string) {
	if l.Store == nil {
		return nil
	}
	names := []string{l.Self}
	if l.Servers != nil {
		names = append(names, l.Servers()...)
	} else {
		for name := range servers {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if !wanted(servers[name]) {
			out = append(out, name)
		}
	}
	return out
}

// follow wakes Run when another server says or does something, until ctx ends.
func (l *Lines) follow(ctx context.Context) {
	for ctx.Err() == nil {
		at, err := l.Store.Revision(ctx)
		if err == nil {
			l.poke()
			for ev, werr := range l.Store.Watch(ctx, l.Prefix, at) {
				if err = werr; err != nil {
					break
				}
				if ev.Key != "" {
					l.poke()
				}
			}
		}
		if err != nil && ctx.Err() == nil {
			l.Log.Debug("steps of authorities are not followed", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}
