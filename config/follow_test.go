package config

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		used, well := "", true
		begin := func(data []byte) error {
			if strings.Contains(string(data), "bad") {
				return errors.New("bad")
			}
			used = string(data)
			return nil
		}
		change := func(_ context.Context, data []byte) error {
			if !well {
				return errors.New("somebody is away")
			}
			return begin(data)
		}
		follow := func() (*Followed, error) { return Follow(path, "x", "", begin, change, slog.New(slog.DiscardHandler)) }
		if _, err := follow(); err == nil {
			t.Error("a file that is not there")
		}
		write("bad")
		if _, err := follow(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("a bad file: %v", err)
		}
		write("one")
		f, err := follow()
		if err != nil || used != "one" {
			t.Fatal(used, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		for _, step := range []struct {
			text                string
			well                bool
			want                string
			successes, failures float64
		}{
			{"one", true, "one", 0, 0},
			{"two", true, "two", 1, 0},
			{"bad", true, "two", 1, 1},
			{"bad", true, "two", 1, 1}, // said once
			{"worse and bad", true, "two", 1, 2},
			{"two", true, "two", 1, 2},
			{"bad", true, "two", 1, 3}, // again, after it was well
			{"three", false, "two", 1, 4},
			{"three", true, "three", 2, 4}, // what it names has come
			{"", true, "three", 2, 5},      // gone
			{"three", true, "three", 2, 5},
		} {
			if write(step.text); step.text == "" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			well = step.well
			time.Sleep(followEvery)
			synctest.Wait()
			got := counts(t, f)
			if used != step.want || got["success"] != step.successes || got["failure"] != step.failures {
				t.Errorf("after %q (well: %v): used %q, want %q; %v successes and %v failures, want %v and %v", step.text, step.well, used, step.want, got["success"], got["failure"], step.successes, step.failures)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// counts are reloads by status.
func counts(t *testing.T, f *Followed) map[string]float64 {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(f.Metrics()...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, family := range families {
		if family.GetName() != "x_automatic_reloads_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "status" {
					out[l.GetValue()] = m.GetCounter().GetValue()
				}
			}
		}
	}
	return out
}
