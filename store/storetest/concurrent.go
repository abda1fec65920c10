package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/lighter-k8s/lighter/store"
)

// counters has writers increment the same two counters, by read and compare-and-set.
func counters(t *testing.T, r *rig) {
	const writers, each = 6, 25
	for _, key := range []string{"/counter/0", "/counter/1"} {
		r.commit(put(key, "0"))
	}
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			key := fmt.Sprint("/counter/", w%2)
			for done := 0; done < each; {
				e, err := r.Get(r.ctx, key, 0)
				if err != nil {
					t.Errorf("get: %v", err)
					return
				}
				n, _ := strconv.Atoi(string(e.Value))
				op := store.Op{Key: key, Value: []byte(strconv.Itoa(n + 1)), Expect: e.Revision}
				_, err = r.Commit(r.ctx, store.Txn{Ops: []store.Op{op}, Class: store.Class(w % 2)})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("commit: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
	for _, key := range []string{"/counter/0", "/counter/1"} {
		e, err := r.Get(r.ctx, key, 0)
		if want := strconv.Itoa(writers / 2 * each); err != nil || string(e.Value) != want {
			t.Errorf("%s is %s (%v), want %s", key, e.Value, err, want)
		}
	}
}

// call is what a client asked of one key, and answer what it got.
type call struct {
	key    string
	get    bool
	value  string // "": delete
	expect store.Revision
}

type answer struct {
	conflict bool
	revision store.Revision // of what was read, written or is in the way
	value    string
}

// register is one key: its revision (0: not there), value and the newest revision it ever had.
type register struct {
	revision, newest store.Revision
	value            string
}

// registers says what one key may answer.
var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(call).key
			byKey[key] = append(byKey[key], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(register), input.(call), output.(answer)
		matches := in.expect == store.Any || in.expect == s.revision
		switch {
		case in.get:
			return out.revision == s.revision && out.value == s.value, s
		case out.conflict:
			return !matches && out.revision == s.revision, s
		case !matches:
			return false, s
		case in.value == "" && s.revision == 0:
			return true, s
		case in.value == "":
			return out.revision > s.newest, register{newest: out.revision}
		}
		return out.revision > s.newest, register{out.revision, out.revision, in.value}
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

func linearizable(t *testing.T, r *rig) {
	const clients, each, keys = 8, 40, 3
	seed := Seed(t)
	var mu sync.Mutex
	var history []porcupine.Operation
	begin := time.Now()
	var group sync.WaitGroup
	for client := range clients {
		var calls []call
		for i := range each {
			c := call{key: fmt.Sprint("/l/", seed.IntN(keys)), expect: store.Any}
			switch seed.IntN(8) {
			case 0, 1, 2:
				c.get = true
			case 3:
			case 4:
				c.value = fmt.Sprint(client, " ", i)
			default:
				c.value, c.expect = fmt.Sprint(client, " ", i), -2 // what was seen last
			}
			calls = append(calls, c)
		}
		class := store.Class(client % 2)
		group.Go(func() {
			seen := map[string]store.Revision{}
			for _, c := range calls {
				if c.expect == -2 {
					c.expect = seen[c.key]
				}
				start := time.Since(begin)
				a, err := ask(r, c, class)
				end := time.Since(begin)
				if err != nil {
					t.Errorf("%+v: %v", c, err) // an outcome that is unknown is a failure here
					return
				}
				seen[c.key] = a.revision
				mu.Lock()
				history = append(history, porcupine.Operation{
					ClientId: client, Input: c, Call: int64(start), Output: a, Return: int64(end),
				})
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if got := porcupine.CheckOperationsTimeout(registers, history, 10*time.Second); got != porcupine.Ok {
		t.Errorf("history of %d calls is %v", len(history), got)
	}
}

func ask(r *rig, c call, class store.Class) (answer, error) {
	if c.get {
		e, err := r.Get(r.ctx, c.key, 0)
		return answer{revision: e.Revision, value: string(e.Value)}, err
	}
	op := store.Op{Key: c.key, Expect: c.expect}
	if c.value != "" {
		op.Value = []byte(c.value)
	}
	at, err := r.Commit(r.ctx, store.Txn{Ops: []store.Op{op}, Class: class})
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return answer{conflict: true, revision: conflict.Actual}, nil
	}
	return answer{revision: at}, err
}
