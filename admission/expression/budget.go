package expression

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Budget bounds what the compilation of all expressions of one object takes. Upstream has no such bound, and takes the time: 8,000
// short validations were ten seconds of a processor.
type Budget struct {
	spent int
	// Dear is how many times as much as usual the work is; 0: as usual.
	Dear int
}

// Spend tells whether an expression may be compiled; complains once, of the first that may not.
func (b *Budget) Spend(expression string, at *field.Path) (ok bool, errs field.ErrorList) {
	before := b.spent
	b.spent += api.Work(expression) * max(b.Dear, 1)
	switch {
	case b.spent <= api.MostWork:
		return true, nil
	case before <= api.MostWork:
		return false, field.ErrorList{field.Invalid(at, field.OmitValueType{}, fmt.Sprintf("the expressions up to here have too many words and signs together to be compiled: %d, at most %d", b.spent, api.MostWork))}
	}
	return false, nil
}
