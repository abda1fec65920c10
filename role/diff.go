package role

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// hide puts a hash in the place of each value of a field.
func hide(m map[string]any, field string) {
	values, _ := m[field].(map[string]any)
	for k, v := range values {
		values[k] = fmt.Sprintf("(%x)", sha256.Sum256([]byte(fmt.Sprint(v))))[:11] + ")"
	}
}

// diff shows how one text becomes another, line by line: "-" goes, "+" comes, with two lines around.
func diff(from, to string) string {
	a, b := lines(from), lines(to)
	// common[i][j] is the length of the longest common subsequence of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i, x := range slices.Backward(a) {
		for j, y := range slices.Backward(b) {
			if x == y {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	var show []string
	for n, line := range out {
		near := slices.ContainsFunc(out[max(0, n-2):min(len(out), n+3)], func(l string) bool { return l[0] != ' ' })
		if near {
			show = append(show, line)
		}
	}
	return strings.Join(show, "\n")
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
