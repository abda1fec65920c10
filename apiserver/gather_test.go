package apiserver

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a connection of Gather and its other end, which takes only what is read.
func pair() (*gathering, net.Conn) {
	a, b := net.Pipe()
	return newGathering(a), b
}

func TestGatherKeepsOrderAndAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, far := pair()
		var want bytes.Buffer
		got := make(chan []byte)
		go func() {
			all, _ := io.ReadAll(far)
			got <- all
		}()
		for n := range 500 {
			part := bytes.Repeat([]byte{byte(n)}, 1+rand.IntN(3000)*(1+n%7))
			want.Write(part)
			if _, err := g.Write(part); err != nil {
				t.Fatal(err)
			}
			clear(part) // it is the caller's again
		}
		if err := g.Close(); err != nil { // what is pending still goes out
			t.Fatal(err)
		}
		if !bytes.Equal(<-got, want.Bytes()) {
			t.Error("what arrived is not what was written")
		}
		if _, err := g.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a write after the end: %v", err)
		}
		if n := pendingTotal.Load(); n != 0 {
			t.Errorf("%d bytes count as pending still", n)
		}
	})
}

func TestGatherBoundsASlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, far := pair()
		done := make(chan error)
		wrote := 0
		go func() {
			for {
				n, err := g.Write(make([]byte, 4096))
				if wrote += n; err != nil {
					done <- err
					return
				}
			}
		}()
		synctest.Wait() // nobody reads: the writer waits
		if wrote > 2*pendingMost+8192 {
			t.Errorf("%d bytes were taken from a writer whose reader reads nothing", wrote)
		}
		_ = g.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the waiting writer was told %v", err)
		}
		time.Sleep(6 * time.Second) // the deadline of what was pending
		synctest.Wait()
		if n := pendingTotal.Load(); n != 0 {
			t.Errorf("%d bytes count as pending still", n)
		}
		_ = far.Close()
	})
}

// TLS says goodbye, and then that nothing may be written any more: what it said before still goes out.
func TestGatherAfterGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, far := pair()
		if _, err := g.Write([]byte("goodbye")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(g.SetWriteDeadline(time.Now()), g.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(far); string(got) != "goodbye" {
			t.Errorf("got %q (%v)", got, err)
		}
	})
}
