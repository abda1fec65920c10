package apiserver

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWarner: what becomes of warnings, each written as the letter that it is made of and how often.
func TestWarner(t *testing.T) {
	long := func(letter string, n int) string { return strings.Repeat(letter, n) }
	tests := map[string]struct {
		say  []string
		want []string
	}{
		"short ones, once each":           {[]string{"a", "b", "a"}, []string{"a", "b"}},
		"a long one that fits":            {[]string{long("a", 4096)}, []string{long("a", 4096)}},
		"a longer one":                    {[]string{long("a", 4097)}, []string{long("a", 256)}},
		"earlier ones are cut for others": {[]string{long("a", 4000), "b", long("c", 300), "d"}, []string{long("a", 256), "b", long("c", 256), "d"}},
		"characters, not bytes":           {[]string{long("ä", 4096)}, []string{long("ä", 4096)}},
		"what does not fit is left out": {func() (all []string) {
			for _, c := range "abcdefghijklmnopqrst" {
				all = append(all, long(string(c), 300))
			}
			return append(all, "z")
		}(), func() (all []string) {
			for _, c := range "abcdefghijklmnop" {
				all = append(all, long(string(c), 256))
			}
			return all
		}()},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			warn := warner(w)
			for _, s := range tt.say {
				warn(s)
			}
			var want []string
			for _, s := range tt.want {
				want = append(want, `299 - "`+s+`"`)
			}
			if got := w.Header().Values("Warning"); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("got %d:\n%s\nwant %d:\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
			}
		})
	}
}
