package registry

import (
	"math/big"
	"testing"
)

// TestNodePorts: ports are picked above those that are left to users, and out of those when the others are taken.
// Source of the sizes: the examples of "Kubernetes 1.27: Avoid Collisions Assigning Ports to NodePort Services".
func TestNodePorts(t *testing.T) {
	for all, reserved := range map[int]int{16: 0, 17: 16, 128: 16, 1024: 32, 2768: 86, 4096: 128, 8192: 128} {
		s := Services{ports: all}
		bits := new(big.Int)
		for n := range all {
			at, err := s.freePort(bits)
			if err != nil || at < 0 || at >= all || bits.Bit(at) == 1 || (at < reserved) != (n >= all-reserved) {
				t.Fatalf("%d of %d: port %d, %v", n, all, at, err)
			}
			bits.SetBit(bits, at, 1)
		}
		if _, err := s.freePort(bits); err == nil {
			t.Errorf("a port after all %d", all)
		}
	}
}
