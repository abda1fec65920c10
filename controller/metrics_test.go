package controller

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestQueueMetrics: what a queue did, and what it is at, by its name; a second queue of that name goes on counting.
func TestQueueMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := Env{Queues: &Queues{}}
		q := env.Queue("deployment")
		r := prometheus.NewRegistry()
		r.MustRegister(env.Queues)
		show := func() (got string) {
			t.Helper()
			families, err := r.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				m := f.Metric[0]
				got += fmt.Sprintf("%s=", f.GetName()[len("workqueue_"):])
				switch {
				case m.Histogram != nil:
					got += fmt.Sprintf("%d/%gs/%d ", m.Histogram.GetSampleCount(), m.Histogram.GetSampleSum(), m.Histogram.Bucket[8].GetCumulativeCount())
				default:
					got += fmt.Sprintf("%g ", m.GetCounter().GetValue()+m.GetGauge().GetValue())
				}
			}
			return got
		}
		want := func(want string) {
			t.Helper()
			if got := show(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		q.Add("a")
		q.Add("a")
		q.Add("b")
		time.Sleep(2 * time.Second)
		want("adds_total=2 depth=2 longest_running_processor_seconds=0 queue_duration_seconds=0/0s/0 retries_total=0 unfinished_work_seconds=0 work_duration_seconds=0/0s/0 ")
		for key := range q.All(t.Context()) {
			time.Sleep(500 * time.Millisecond)
			if key == "a" {
				want("adds_total=2 depth=1 longest_running_processor_seconds=0.5 queue_duration_seconds=1/2s/0 retries_total=0 unfinished_work_seconds=0.5 work_duration_seconds=0/0s/0 ")
				q.Done(key, nil)
				continue
			}
			q.Done(key, errors.New("not yet"))
			break
		}
		time.Sleep(time.Second) // it is back
		want("adds_total=3 depth=1 longest_running_processor_seconds=0 queue_duration_seconds=2/4.5s/0 retries_total=1 unfinished_work_seconds=0 work_duration_seconds=2/1s/2 ")
		env.Queue("deployment").Add("c")
		want("adds_total=4 depth=1 longest_running_processor_seconds=0 queue_duration_seconds=2/4.5s/0 retries_total=1 unfinished_work_seconds=0 work_duration_seconds=2/1s/2 ")
	})
}
