package backup

import (
	"testing"

	"github.com/lighter-k8s/lighter/store/encrypt"
)

func TestFingerprint(t *testing.T) {
	keys := []encrypt.Named{{Name: "a", Fingerprint: "1"}, {Name: "b", Fingerprint: "2"}, {Name: "b", Fingerprint: "3"}, {Name: "kms"}}
	for name, want := range map[string]string{"a": "1", "b": "", "kms": "", "none": ""} {
		if got := fingerprint(keys, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
