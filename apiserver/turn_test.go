package apiserver

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
	"testing/synctest"
)

// stuck is a client that reads nothing until it is let go.
type stuck struct{ free chan struct{} }

func (s stuck) Write(p []byte) (int, error) {
	<-s.free
	return 0, errors.New("gone")
}

// TestTurns: what is compressed comes out whole, in turn, and a client that does not read keeps nobody from his.
func TestTurns(t *testing.T) {
	body := make([]byte, 300<<10) // that cannot be made smaller
	r := rand.New(rand.NewPCG(1, 2))
	for n := range body {
		body[n] = byte(r.Uint32())
	}
	synctest.Test(t, func(t *testing.T) {
		all := make(turns, 1)
		slow := stuck{make(chan struct{})}
		ended := make(chan error)
		go func() {
			own := &turn{turns: all}
			defer own.give()
			z := newZipWriter(slow, own)
			defer z.free()
			_, err := z.Write(body)
			ended <- err
		}()
		synctest.Wait() // it is stuck
		for range 2 {
			var out bytes.Buffer
			own := &turn{turns: all}
			z := newZipWriter(&out, own)
			for rest := body; len(rest) > 0; { // in pieces of all sizes
				n := min(1+r.IntN(100<<10), len(rest))
				if got, err := z.Write(rest[:n]); got != n || err != nil {
					t.Fatal(got, err)
				}
				rest = rest[n:]
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			if own.held || len(all) != 0 {
				t.Error("a turn is held when all is written")
			}
			z.free()
			in, err := gzip.NewReader(&out)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(in); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
		close(slow.free)
		if err := <-ended; err == nil {
			t.Error("the client that went is not noticed")
		}
		synctest.Wait()
		if len(all) != 0 {
			t.Error("his turn is still held")
		}
	})
}

// TestTurnsOfGathered: a list that is put together without waiting holds its turn in between, one that may wait for a webhook does not.
func TestTurnsOfGathered(t *testing.T) {
	for _, waits := range []bool{false, true} {
		all := make(turns, 1)
		b := &output{w: httptest.NewRecorder(), r: httptest.NewRequest("GET", "/", nil), turn: turn{turns: all}, waits: waits}
		b.buf = make([]byte, bodyChunk)
		if !b.full() || (len(all) == 1) == waits {
			t.Errorf("one that waits, %v: %d turns are held", waits, len(all))
		}
	}
}
