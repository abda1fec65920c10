package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/test/rig"
)

// cell is an object that one writer makes, changes and deletes, over and over.
type cell struct {
	name    string
	is      *corev1.ConfigMap // as the server last acknowledged it; nil: deleted
	pending string            // the value that was asked for and not answered; "-": deletion; "": none
}

const killKey = "v"

var killed = map[string]string{"of": "cells"}

// write does something to c and notes what was answered.
func (c *cell) write(ctx context.Context, to client.Client) error {
	value := strconv.FormatInt(rand.Int64(), 36)
	c.pending = value
	var made *corev1.ConfigMap
	var err error
	switch {
	case c.is == nil:
		made, err = client.ConfigMaps.Create(ctx, to, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: c.name, Labels: killed}, Data: map[string]string{killKey: value}})
	case rand.IntN(4) == 0:
		c.pending = "-"
		err = client.ConfigMaps.Delete(ctx, to, "default", c.name, metav1.DeleteOptions{})
	default:
		next := c.is.DeepCopy()
		next.Data = map[string]string{killKey: value}
		made, err = client.ConfigMaps.Update(ctx, to, next) // fails where the server has another version
	}
	if err != nil {
		return err
	}
	c.is, c.pending = made, ""
	return nil
}

// compare compares c with what a server has that was killed, and takes that.
func (c *cell) compare(now *corev1.ConfigMap) error {
	was, pending := c.is, c.pending
	c.is, c.pending = now, ""
	switch {
	case was == nil && now == nil, was != nil && now != nil && was.ResourceVersion == now.ResourceVersion && was.Data[killKey] == now.Data[killKey]:
		return nil
	case now == nil && pending == "-", now != nil && pending == now.Data[killKey]:
		return nil // it was done, and nobody heard
	}
	show := func(m *corev1.ConfigMap) string {
		if m == nil {
			return "not there"
		}
		return fmt.Sprintf("%s at %s", m.Data[killKey], m.ResourceVersion)
	}
	return fmt.Errorf("ConfigMap %s was acknowledged as %s, with %q not answered, and is %s", c.name, show(was), pending, show(now))
}

// TestKill9Server ends a control plane with SIGKILL, again and again, while objects are made, changed and deleted: all that
// was acknowledged is as it was, no version is given twice, and a view that was there all the time shows what is there.
func TestKill9Server(t *testing.T) {
	c := rig.New(rig.NewWire(t).Machine(), "server")
	c.Up()
	view := client.ConfigMaps.View(t.Context(), c.Client, client.Selection{Namespace: "default", Labels: "of=cells"})
	writers := make([][]*cell, 4)
	for w := range writers {
		for i := range 25 {
			writers[w] = append(writers[w], &cell{name: fmt.Sprintf("w%d-%d", w, i)})
		}
	}
	acknowledged := 0
	versions := map[string]string{} // to the object that got it
	for round := range rounds(20, 500) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for _, cells := range writers {
			all.Go(func() {
				for n := 0; ; n++ {
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
					cell := cells[rand.IntN(len(cells))]
					err := cell.write(ctx, c.Client)
					cancel()
					if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) {
						t.Errorf("round %d: %v", round, err) // nobody else writes
					}
					mu.Lock()
					if err == nil {
						acknowledged++
						if cell.is != nil {
							if was := versions[cell.is.ResourceVersion]; was != "" {
								t.Errorf("round %d: %s got version %s, which %s had", round, cell.name, cell.is.ResourceVersion, was)
							}
							versions[cell.is.ResourceVersion] = cell.name
						}
					}
					mu.Unlock()
					if err != nil {
						return // lighter is dead
					}
				}
			})
		}
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond) // the moment of the crash is the input
		c.Kill()
		all.Wait()
		c.Up()
		objects, err := client.ConfigMaps.List(t.Context(), c.Client, "default", client.Selection{Labels: "of=cells"})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]*corev1.ConfigMap{}
		for _, m := range objects {
			have[m.Name] = m
		}
		for _, cells := range writers {
			for _, cell := range cells {
				if err := cell.compare(have[cell.name]); err != nil {
					t.Errorf("round %d: %v", round, err)
				}
			}
		}
		c.Eventually(20*time.Second, "a view of the client shows what is there", func() error {
			shown := view.List("default")
			for _, m := range shown {
				if h := have[m.Name]; h == nil || h.ResourceVersion != m.ResourceVersion {
					return fmt.Errorf("round %d: %s at %s is shown, the server has %v", round, m.Name, m.ResourceVersion, h)
				}
			}
			if len(shown) != len(have) {
				return fmt.Errorf("round %d: %d objects are shown, the server has %d", round, len(shown), len(have))
			}
			return nil
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d writes were acknowledged", acknowledged)
}
