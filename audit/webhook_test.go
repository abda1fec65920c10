package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server answers posts in the same process; it may take its time, which is the test's.
type server func(events []wire) int

func (s server) RoundTrip(r *http.Request) (*http.Response, error) {
	var list struct {
		Kind, APIVersion string
		Items            []wire
	}
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		return nil, err
	}
	if list.Kind != "EventList" || list.APIVersion != "audit.k8s.io/v1" || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
		return nil, fmt.Errorf("%s %s: %s of %s", r.Method, r.Header, list.Kind, list.APIVersion)
	}
	code := s(list.Items)
	if code == 0 {
		return nil, errors.New("connection refused")
	}
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

// hook runs a webhook in a bubble of synctest; act writes events by their number.
func hook(t *testing.T, o WebhookOptions, s server, act func(w *Webhook, write func(n int) error)) (dropped int, log *said) {
	t.Helper()
	log = &said{}
	synctest.Test(t, func(t *testing.T) {
		o.URL, o.Client, o.Log, o.Mode = "https://audit.example.com/", &http.Client{Transport: s}, slog.New(slog.NewTextHandler(log, nil)), max(o.Mode, Batch)
		w := NewWebhook(o)
		lost := make(chan int, 1000)
		w.dropped = func(n int) { lost <- n }
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.run(ctx) }()
		act(w, func(n int) error { return w.write(fmt.Appendf(nil, `{"auditID":"%d"}`, n)) })
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(lost)
		for n := range lost {
			dropped += n
		}
	})
	return dropped, log
}

func TestBatches(t *testing.T) {
	var mu sync.Mutex
	var got []string
	var began time.Time
	s := server(func(events []wire) int {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, fmt.Sprintf("after %2.0f s: %d events %s-%s", time.Since(began).Seconds(), len(events), events[0].AuditID, events[len(events)-1].AuditID))
		return 200
	})
	dropped, _ := hook(t, WebhookOptions{Batch: 10, MaxWait: 30 * time.Second, QPS: 1, Burst: 2}, s, func(w *Webhook, write func(int) error) {
		began = time.Now()
		for n := range 25 {
			_ = write(n)
		}
		time.Sleep(time.Minute)
		for n := range 40 {
			_ = write(100 + n)
		}
		time.Sleep(3 * time.Second)
		_ = write(200)
	})
	want := `after  0 s: 10 events 0-9
after  0 s: 10 events 10-19
after 30 s: 5 events 20-24
after 60 s: 10 events 100-109
after 60 s: 10 events 110-119
after 61 s: 10 events 120-129
after 62 s: 10 events 130-139
after 63 s: 1 events 200-200`
	slices.Sort(got) // several are on their way at once
	if text := strings.Join(got, "\n"); text != want || dropped != 0 {
		t.Errorf("full ones at once, others when they are old, no more than one a second and two at once, the rest at the end: %d dropped, got\n%s", dropped, text)
	}
}

func TestTries(t *testing.T) {
	tests := map[string]struct {
		answers string // codes; 0: none
		tries   int
		dropped int
	}{
		"at once":               {"200", 1, 0},
		"when it is back":       {"0 503 429 200", 4, 0},
		"five times at most":    {"500 500 500 500 500 200", 5, 3},
		"not what it refuses":   {"400 200", 1, 3},
		"nor where it is moved": {"302 200", 1, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			answers, tries := strings.Fields(tt.answers), 0
			var last time.Time
			s := server(func(events []wire) (code int) {
				if wait := time.Since(last); tries > 0 && wait < 10*time.Second {
					t.Errorf("tried again after %v", wait)
				}
				last = time.Now()
				_, _ = fmt.Sscan(answers[tries], &code)
				tries++
				return code
			})
			dropped, log := hook(t, WebhookOptions{MaxWait: time.Second}, s, func(_ *Webhook, write func(int) error) {
				for n := range 3 {
					_ = write(n)
				}
				time.Sleep(5 * time.Minute)
			})
			if tries != tt.tries || dropped != tt.dropped || (log.count("are lost") == 1) != (dropped > 0) {
				t.Errorf("%d tries, %d dropped: %s", tries, dropped, &log.text)
			}
		})
	}
}

// TestSlow: a server that needs a minute for a batch, and one that never answers, cost a bounded buffer and nobody's time.
func TestSlow(t *testing.T) {
	for name, takes := range map[string]time.Duration{"slow": time.Minute, "dead": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			var served atomic.Int64
			s := server(func(events []wire) int {
				time.Sleep(takes)
				served.Add(int64(len(events)))
				return 200
			})
			dropped, log := hook(t, WebhookOptions{Buffer: 100, Batch: 10, MaxWait: time.Second}, s, func(w *Webhook, write func(int) error) {
				w.o.Client.Timeout = 0 // the bubble's time is the server's
				began := time.Now()
				for n := range 1000 {
					_ = write(n)
					if n%10 == 0 {
						synctest.Wait()
					}
				}
				if took := time.Since(began); took != 0 {
					t.Errorf("requests waited %v", took)
				}
				if len(w.queue) > 100 {
					t.Errorf("%d events wait", len(w.queue))
				}
				time.Sleep(takes + time.Second)
			})
			// Of 150 that it took, those that were on their way at the end may have come, but nobody waited to hear it.
			if all := int(served.Load()) + dropped; dropped < 850 || all < 1000 || all > 1150 || log.count("too slow") != 1 {
				t.Errorf("%d served, %d dropped: %s", served.Load(), dropped, &log.text)
			}
		})
	}
}

func TestBlockingWebhook(t *testing.T) {
	up := true
	s := server(func([]wire) int {
		if up {
			return 200
		}
		return 0
	})
	dropped, _ := hook(t, WebhookOptions{Mode: BlockingStrict}, s, func(w *Webhook, write func(int) error) {
		trail := New(everything(Metadata), time.Now, nil, w)
		lost := 0
		w.dropped = func(n int) { lost += n }
		a := ask(t, "joe: create pods in shop")
		if err := trail.Begin(&Event{}, &a); err != nil {
			t.Error(err)
		}
		up = false
		if err := trail.Begin(&Event{}, &a); err == nil || lost != 1 {
			t.Errorf("a request that cannot be written down: %v, %d lost", err, lost)
		}
	})
	if dropped != 0 {
		t.Error(dropped)
	}
}
