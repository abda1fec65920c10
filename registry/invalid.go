package registry

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// invalid is the 422 of a failed validation.
func invalid(i *api.Info, name string, errs field.ErrorList) error {
	kind := i.GVK().GroupKind()
	if i.Stored != i && kind.Kind == i.Stored.Kind { // events and autoscalers of their second group or version: what they are stored as
		kind.Group = i.Stored.Group
	}
	return newInvalid(kind, name, api.Plainly(errs))
}

// mostText is how many bytes of complaints a client is told, beside the last one, and of one alone.
const mostText = 256 << 10

// shortened leaves out of a complaint that shows a large value what is between the value's beginning and what is said of it.
func shortened(body string) string {
	const last = 4 << 10
	if len(body) <= mostText {
		return body
	}
	first, end := body[:mostText-last], body[len(body)-last:]
	return strings.ToValidUTF8(fmt.Sprintf("%s ... %d bytes ... %s", first, len(body)-mostText, end), "")
}

// newInvalid is apierrors.NewInvalid at a cost by the length of its message: that one puts it together anew with each complaint, which
// takes hundreds of megabytes where one of them shows a long list. Where each of them shows it, the first ones are told.
func newInvalid(kind schema.GroupKind, name string, errs field.ErrorList) *apierrors.StatusError {
	out := apierrors.NewInvalid(kind, name, nil)
	seen := make(map[string]bool, len(errs))
	var texts []string
	size := 0
	for n, e := range errs {
		if size > mostText {
			e = api.Further(len(errs) - n)
		}
		body := shortened(e.ErrorBody())
		out.ErrStatus.Details.Causes = append(out.ErrStatus.Details.Causes, metav1.StatusCause{Type: metav1.CauseType(e.Type), Message: body, Field: e.Field})
		if text := e.Field + ": " + body; !seen[text] {
			seen[text] = true
			texts = append(texts, text)
		}
		if size > mostText {
			break
		}
		size += len(body)
	}
	switch all := strings.Join(texts, ", "); len(texts) {
	case 0:
	case 1:
		out.ErrStatus.Message += ": " + all
	default:
		out.ErrStatus.Message += ": [" + all + "]"
	}
	return out
}
