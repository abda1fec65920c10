package registry

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TooLarge is the answer to a resourceVersion that has not happened yet: 504 with
// the cause that clients look for. Source: API concepts, "Unavailable resource versions".
func TooLarge(want, have uint64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", want, have), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// modified is the 409 of a stale resourceVersion.
func modified(req Request) error {
	return apierrors.NewConflict(req.Info.GroupResource(), req.Name,
		fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
}
