package expression

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// TestBudget: what is beyond is not compiled, and said once, of the first.
func TestBudget(t *testing.T) {
	var b Budget
	at := field.NewPath("spec").Child("validations")
	large := strings.Repeat("a+", api.MostWork/4) + "a"
	for n, want := range []string{"", "the expressions up to here have too many words", "", ""} {
		if n == 3 {
			large = "true"
		}
		ok, errs := b.Spend(large, at.Index(n))
		switch {
		case ok != (n == 0):
			t.Errorf("expression %d: ok is %v", n, ok)
		case want == "" && len(errs) > 0:
			t.Errorf("expression %d: %v", n, errs)
		case want != "" && (len(errs) != 1 || errs[0].Field != "spec.validations[1]" || !strings.Contains(errs[0].Detail, want)):
			t.Errorf("expression %d: got %v, want %s", n, errs, want)
		}
	}
}
