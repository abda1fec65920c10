package registry

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/watch"
)

// TooLarge is the answer to a resourceVersion that has not happened yet: 504 with
// the cause that clients look for. Source: API concepts, "Unavailable resource versions".
func TooLarge(want, have uint64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", want, have), 1)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version"}}
	return err
}

// storeRead is the 500 of objects that are stored and cannot be read, as upstream's: what is asked for would be a lie
// without them. Source: metav1.StatusReasonStoreReadError.
func storeRead(i *api.Info, name string, lost ...watch.Unreadable) error {
	err := &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: 500, Reason: metav1.StatusReasonStoreReadError,
		Message: "data from the storage cannot be read: " + lost[0].Err.Error(), Details: &metav1.StatusDetails{Group: i.Group, Kind: i.Resource, Name: name}}}
	if n := len(lost) - 1; n > 0 {
		err.ErrStatus.Message += fmt.Sprintf(" (and %d more)", n)
	}
	for _, u := range lost[:min(len(lost), 100)] {
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: metav1.CauseTypeUnexpectedServerResponse,
			Field: u.Key, Message: u.Err.Error()})
	}
	return err
}

// readable is the 409 of a delete that is for what cannot be read alone, of an object that can. Source: KEP-3926.
func readable(req Request) error {
	key := watch.Key(req.Info.Stored, req.Namespace, req.Name)
	return apierrors.NewConflict(req.Info.GroupResource(), req.Name, fmt.Errorf("StorageError: invalid object, Code: 4, Key: %s, ResourceVersion: 0, "+
		"AdditionalErrorMsg: unsafe deletion is not allowed because the object is decodable from storage", key))
}

// modified is the 409 of a stale resourceVersion.
func modified(req Request) error {
	return apierrors.NewConflict(req.Info.GroupResource(), req.Name,
		fmt.Errorf("the object has been modified; please apply your changes to the latest version and try again"))
}
