package admission

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Measured is the chain as one plugin whose steps are measured, under upstream's name; and what shows that.
func (c Chain) Measured() (Chain, prometheus.Collector) {
	steps := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_admission_step_admission_duration_seconds",
		Help: "How long admission took to change (admit) and to check (validate) what is written.", Buckets: []float64{0.005, 0.025, 0.1, 0.5, 1, 2.5}}, []string{"type", "operation", "rejected"})
	timed := func(step string, do func(context.Context, *Attributes) error) func(context.Context, *Attributes) error {
		ended := map[Operation][2]prometheus.Observer{} // by whether it was refused
		for _, o := range []Operation{Create, Update, Delete, Connect} {
			for n, rejected := range []bool{false, true} {
				of := ended[o]
				of[n] = steps.WithLabelValues(step, string(o), strconv.FormatBool(rejected))
				ended[o] = of
			}
		}
		return func(ctx context.Context, a *Attributes) error {
			began := time.Now()
			err := do(ctx, a)
			n := 0
			if err != nil {
				n = 1
			}
			ended[a.Operation][n].Observe(time.Since(began).Seconds())
			return err
		}
	}
	return Chain{{Name: "measured", Mutate: timed("admit", c.Mutate), Validate: timed("validate", c.Validate)}}, steps
}
