package api

import (
	"strings"
	"testing"
)

func TestWork(t *testing.T) {
	for text, want := range map[string]int{
		"":                                    0,
		"true":                                21,
		"a.b == 'it is \\' so' && 1 in []":    20 + 3 + 2 + 1 + 2 + 2 + 2,
		"'never ends":                         21,
		"'\\":                                 21,
		strings.Repeat("1,", 1000):            2020,
		"'" + strings.Repeat("a", 6400) + "'": 20 + 1 + 100,
	} {
		if got := Work(text); got != want {
			t.Errorf("%.40q: got %d, want %d", text, got, want)
		}
	}
}
