package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/store/embedded"
)

var benchValue = bytes.Repeat([]byte("an object of a kilobyte and a half; "), 42)

// Commits of 1.5 KB on the real disk, by so many writers at once: new keys and known revisions, as the API server does.
func BenchmarkCommit(b *testing.B) {
	for _, class := range []store.Class{store.Durable, store.Relaxed} {
		for _, writers := range []int{1, 16, 64} {
			name := map[store.Class]string{store.Durable: "durable", store.Relaxed: "relaxed"}[class]
			b.Run(fmt.Sprintf("%s/%d", name, writers), func(b *testing.B) {
				s := open(b, b.TempDir(), embedded.Options{})
				defer s.Close()
				var n atomic.Int64
				b.ReportAllocs()
				b.SetBytes(int64(len(benchValue)))
				benchWriters(b, writers, func() {
					key := fmt.Sprintf("/registry/pods/default/web-%09d", n.Add(1))
					op := store.Op{Key: key, Value: benchValue}
					if _, err := s.Commit(context.Background(), store.Txn{Ops: []store.Op{op}, Class: class}); err != nil {
						b.Error(err)
					}
				})
			})
		}
	}
}

// benchWriters calls f b.N times from so many goroutines.
func benchWriters(b *testing.B, writers int, f func()) {
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan bool)
	b.ResetTimer()
	for range writers {
		go func() {
			for left.Add(-1) >= 0 {
				f()
			}
			done <- true
		}()
	}
	for range writers {
		<-done
	}
	b.StopTimer()
}

func benchStore(b *testing.B) *embedded.Store {
	s := open(b, b.TempDir(), embedded.Options{})
	for i := range 100 {
		var ops []store.Op
		for j := range 100 {
			ops = append(ops, store.Op{Key: fmt.Sprintf("/registry/pods/default/web-%05d", i*100+j), Value: benchValue})
		}
		if _, err := s.Commit(context.Background(), store.Txn{Ops: ops}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkGet(b *testing.B) {
	s := benchStore(b)
	defer s.Close()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if e, err := s.Get(context.Background(), fmt.Sprintf("/registry/pods/default/web-%05d", i*7919%10_000), 0); err != nil || e.Revision == 0 {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkList10k(b *testing.B) {
	s := benchStore(b)
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		if e, _, err := s.List(context.Background(), "/registry/pods/", store.Page{}); err != nil || len(e) != 10_000 {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		if err := open(b, b.TempDir(), embedded.Options{}).Close(); err != nil {
			b.Fatal(err)
		}
	}
}
