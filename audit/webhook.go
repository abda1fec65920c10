package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// WebhookOptions are whom to send events to, and how. Source: Kubernetes documentation, Auditing, Webhook backend and Event batching.
type WebhookOptions struct {
	URL    string
	Client *http.Client // with its credentials; its Timeout bounds one try
	Mode   Mode

	// Buffer is how many events wait at most; further ones are dropped. Batch is how many are sent at once, MaxWait how long one
	// waits for others.
	Buffer, Batch int
	MaxWait       time.Duration
	// QPS and Burst bound how many batches are sent a second.
	QPS, Burst int
	// Backoff is the time before the second of five tries; it grows by half each time.
	Backoff time.Duration

	Log *slog.Logger
}

// Defaults fills in what is zero, with upstream's values.
func (o *WebhookOptions) Defaults() {
	set := func(to *int, value int) {
		if *to == 0 {
			*to = value
		}
	}
	set(&o.Buffer, 10000)
	set(&o.Batch, 400)
	set(&o.QPS, 10)
	set(&o.Burst, 15)
	if o.MaxWait == 0 {
		o.MaxWait = 30 * time.Second
	}
	if o.Backoff == 0 {
		o.Backoff = 10 * time.Second
	}
}

const (
	tries = 5
	// sending is how many batches are under way at once: a slow server gets more than one answer's time would allow.
	sending = 4
	// waiting bounds the bytes of events that wait.
	waiting = 32 << 20
	// farewell is how long the end waits for what is left, of which each batch is tried once.
	farewell = 3 * time.Second
)

var errDropped = errors.New("the webhook's buffer is full")

// Webhook is the back end that posts events, many at once, to a server.
type Webhook struct {
	o       WebhookOptions
	dropped func(int)
	queue   chan []byte
	bytes   atomic.Int64 // in queue
	limit   *rate.Limiter
	broken  atomic.Bool // the last batch was lost, and that was said
	full    hourly
}

// NewWebhook makes the back end.
func NewWebhook(o WebhookOptions) *Webhook {
	o.Defaults()
	return &Webhook{o: o, dropped: func(int) {}, queue: make(chan []byte, o.Buffer), limit: rate.NewLimiter(rate.Limit(o.QPS), o.Burst)}
}

func (w *Webhook) name() string   { return "webhook" }
func (w *Webhook) mode() Mode     { return w.o.Mode }
func (w *Webhook) settled() error { return nil }

func (w *Webhook) write(line []byte) error {
	if w.o.Mode != Batch {
		return w.deliver(context.Background(), [][]byte{line}, tries)
	}
	if w.bytes.Add(int64(len(line))) <= waiting {
		select {
		case w.queue <- bytes.Clone(line):
			return nil
		default:
		}
	}
	w.bytes.Add(-int64(len(line)))
	w.dropped(1)
	if w.full.due() {
		w.o.Log.Error("the audit webhook is too slow: events are lost", "object", w.o.URL)
	}
	return errDropped
}

func (w *Webhook) run(ctx context.Context) error {
	slots := make(chan struct{}, sending)
	var under sync.WaitGroup
	for {
		batch := w.gather(ctx)
		if ctx.Err() != nil {
			under.Wait() // their waits have ended with ctx
			return w.last(ctx, batch)
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if w.limit.Wait(ctx) != nil {
			under.Wait()
			return w.last(ctx, batch)
		}
		under.Go(func() {
			_ = w.deliver(ctx, batch, tries) // it was said
			<-slots
		})
	}
}

// gather takes a batch out of the queue: what is full or old enough, or what there is when ctx ends.
func (w *Webhook) gather(ctx context.Context) (batch [][]byte) {
	var old <-chan time.Time
	for len(batch) < w.o.Batch {
		select {
		case line := <-w.queue:
			w.bytes.Add(-int64(len(line)))
			if batch = append(batch, line); old == nil {
				timer := time.NewTimer(w.o.MaxWait)
				defer timer.Stop()
				old = timer.C
			}
		case <-old:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// last sends what is left when the server ends.
func (w *Webhook) last(ctx context.Context, batch [][]byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	for {
		for full := false; !full && len(batch) < w.o.Batch; {
			select {
			case line := <-w.queue:
				batch = append(batch, line)
			default:
				full = true
			}
		}
		if len(batch) == 0 {
			return nil
		}
		if err := w.deliver(ctx, batch, 1); err != nil {
			w.dropped(len(w.queue))
			return nil // it was said
		}
		batch = nil
	}
}

// deliver posts a batch, trying again where that may help.
func (w *Webhook) deliver(ctx context.Context, batch [][]byte, tries int) (err error) {
	body := append([]byte(nil), `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[`...)
	body = append(append(body, bytes.Join(batch, []byte{','})...), `]}`...)
	wait := w.o.Backoff
	for try := 1; ; try++ {
		again := true
		if again, err = w.post(ctx, body); err == nil {
			if w.broken.Swap(false) {
				w.o.Log.Info("the audit webhook answers again", "object", w.o.URL)
			}
			return nil
		}
		if !again || try == tries {
			break
		}
		timer := time.NewTimer(wait + time.Duration(rand.Int64N(int64(wait)/5+1)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			tries = try + 1 // once more, in a hurry
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), farewell)
			defer cancel()
		}
		wait += wait / 2
	}
	w.dropped(len(batch))
	if !w.broken.Swap(true) {
		w.o.Log.Error("audit events could not be sent and are lost", "object", w.o.URL, "err", err)
	}
	return err
}

// post sends once, and tells whether it may go better another time.
func (w *Webhook) post(ctx context.Context, body []byte) (again bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.o.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := w.o.Client.Do(r)
	if err != nil {
		return true, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	if answer.StatusCode/100 == 2 {
		return false, nil
	}
	return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests, fmt.Errorf("the webhook answered %s", answer.Status)
}
