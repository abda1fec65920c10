package pki

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Keeper knows what a process can renew on demand, by name. Safe for concurrent use.
type Keeper struct {
	mu    sync.Mutex
	names []string
	renew map[string]func(context.Context) error
	named map[string]bool
}

// Keep adds one. Where only is set, it is renewed only when it is named.
func (k *Keeper) Keep(name string, only bool, renew func(context.Context) error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.renew == nil {
		k.renew, k.named = map[string]func(context.Context) error{}, map[string]bool{}
	}
	if k.renew[name] == nil {
		k.names = append(k.names, name)
	}
	k.renew[name], k.named[name] = renew, only
}

// Renew renews those of these names, or all, and says so.
func (k *Keeper) Renew(ctx context.Context, say func(format string, args ...any), names ...string) error {
	k.mu.Lock()
	known := slices.Clone(k.names)
	all := slices.DeleteFunc(slices.Clone(known), func(n string) bool { return k.named[n] })
	k.mu.Unlock()
	for _, n := range names {
		if !slices.Contains(known, n) {
			return fmt.Errorf("%q is not renewed here: this process renews %s", n, strings.Join(known, ", "))
		}
	}
	if len(names) == 0 {
		names = all
	}
	var errs []error
	for _, n := range names {
		k.mu.Lock()
		renew := k.renew[n]
		k.mu.Unlock()
		if err := renew(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n, err))
			continue
		}
		say("%s is renewed", n)
	}
	return errors.Join(errs...)
}
