package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/diff"
)

// TestDifference: of short values all is shown that the library shows, of long ones where they begin to differ.
func TestDifference(t *testing.T) {
	lines := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint(i%100))
		}
		return out
	}
	for _, n := range []int{3, 1900, 100000} {
		was, now := lines(n), lines(n)
		now[n/2] = "other"
		got := difference(was, now)
		if n < mostLines && got != diff.Diff(was, now) {
			t.Errorf("%d: %s", n, got)
		}
		if !strings.Contains(got, fmt.Sprintf("\n- %q,\n", was[n/2])) || !strings.Contains(got, "\n+ \"other\",\n") {
			t.Errorf("%d: %s", n, got)
		}
		if got := difference(was, slices.Concat(was, []string{"more"})); !strings.Contains(got, "\n+ \"more\"\n") {
			t.Errorf("%d: %s", n, got)
		}
	}
}
