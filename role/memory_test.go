package role

import "testing"

func TestGrowth(t *testing.T) {
	for name, tt := range map[string]struct {
		live uint64
		want int
	}{
		"nothing yet":         {0, 100},
		"an idle server":      {12 << 20, 100},
		"ten thousand pods":   {80 << 20, 30},
		"as much as you like": {8 << 30, leastGrowth},
	} {
		t.Run(name, func(t *testing.T) {
			if got := growth(tt.live); got != tt.want {
				t.Errorf("%d bytes may grow by %d percent, want %d", tt.live, got, tt.want)
			}
		})
	}
}
