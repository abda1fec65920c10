package job

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	batchv1 "k8s.io/api/batch/v1"
)

// indexes is a set of completion indexes: spans in order that neither touch nor overlap.
type indexes []span

type span struct{ first, last int }

// parse reads the text form, such as "1,3-5"; what is bad or not below limit is left out.
func parse(text string, limit int) (set indexes) {
	var all indexes
	for _, part := range strings.Split(text, ",") {
		from, to, many := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		b := a
		if many && err == nil {
			b, err = strconv.Atoi(to)
		}
		if b = min(b, limit-1); err == nil && a >= 0 && a <= b {
			all = append(all, span{a, b})
		}
	}
	return merge(all)
}

func merge(all indexes) (set indexes) {
	slices.SortFunc(all, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for _, s := range all {
		if n := len(set); n > 0 && s.first <= set[n-1].last+1 {
			set[n-1].last = max(set[n-1].last, s.last)
		} else {
			set = append(set, s)
		}
	}
	return set
}

// String is the text form. Source: batch/v1, JobStatus.completedIndexes: three or more in a row are written as a range.
func (set indexes) String() string {
	var out []string
	for _, s := range set {
		switch s.last - s.first {
		case 0:
			out = append(out, strconv.Itoa(s.first))
		case 1:
			out = append(out, strconv.Itoa(s.first), strconv.Itoa(s.last))
		default:
			out = append(out, fmt.Sprintf("%d-%d", s.first, s.last))
		}
	}
	return strings.Join(out, ",")
}

func (set indexes) has(i int) bool {
	_, ok := slices.BinarySearchFunc(set, i, func(s span, i int) int {
		switch {
		case s.last < i:
			return -1
		case s.first > i:
			return 1
		}
		return 0
	})
	return ok
}

// with is the set and more.
func (set indexes) with(more ...int) indexes {
	if len(more) == 0 {
		return set
	}
	all := slices.Clone(set)
	for _, i := range more {
		all = append(all, span{i, i})
	}
	return merge(all)
}

func (set indexes) len() (n int) {
	for _, s := range set {
		n += s.last - s.first + 1
	}
	return n
}

// missing lists at most n of the indexes below limit that no set has and free agrees to, in order.
func missing(limit, n int, free func(int) bool, sets ...indexes) (out []int) {
	var all indexes
	for _, s := range sets {
		all = append(all, s...)
	}
	i := 0
	for _, s := range append(merge(all), span{limit, limit}) {
		for ; i < s.first && i < limit && len(out) < n; i++ {
			if free(i) {
				out = append(out, i)
			}
		}
		i = s.last + 1
	}
	return out
}

// indexOf is the pod's completion index, or -1 if it has none below limit.
func indexOf(p *corev1.Pod, limit int) int {
	i, err := strconv.Atoi(p.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || i < 0 || i >= limit {
		return -1
	}
	return i
}
