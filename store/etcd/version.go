package etcd

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Progress requests can be trusted from these versions on. Before 3.5.8 (3.4.25) the answer may overtake events, and before
// 3.5.13 (3.4.31) it may never come to a watch that has had no event. Source: etcd issues 15220 and 17507.
var trusted = map[[2]int]int{{3, 4}: 31, {3, 5}: 13}

const (
	askedAgain  = time.Minute // a member's version is asked for
	askPatience = time.Second
)

// versions knows whether each endpoint, by its version, can be trusted to say how far a watch is.
type versions struct {
	mu    sync.Mutex
	known map[string]bool // what each endpoint said last
	asked time.Time
}

// progress reports whether all endpoints can be trusted: a watch may move from one to another at any time. One that never
// answered cannot. ask gives an endpoint's version.
func (v *versions) progress(ctx context.Context, endpoints []string, ask func(ctx context.Context, endpoint string) (string, error)) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.known == nil {
		v.known = map[string]bool{}
	}
	fresh := time.Since(v.asked) < askedAgain
	for _, e := range endpoints {
		if _, ok := v.known[e]; !ok {
			fresh = false
		}
	}
	if !fresh {
		ctx, cancel := context.WithTimeout(ctx, askPatience)
		defer cancel()
		var group sync.WaitGroup
		answers := make([]string, len(endpoints))
		errs := make([]error, len(endpoints))
		for n, e := range endpoints {
			group.Go(func() { answers[n], errs[n] = ask(ctx, e) })
		}
		group.Wait()
		for n, e := range endpoints {
			if errs[n] == nil {
				v.known[e] = trustworthy(answers[n])
			}
		}
		v.asked = time.Now()
	}
	for _, e := range endpoints {
		if !v.known[e] {
			return false
		}
	}
	return true
}

// trustworthy tells it of a version. What has none is no etcd, but something that speaks like a new one.
func trustworthy(version string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n < 2 {
		return true
	}
	if from, ok := trusted[[2]int{major, minor}]; ok {
		return patch >= from
	}
	return major > 3 || major == 3 && minor > 5
}
