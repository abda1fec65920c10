package registry

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Get returns the newest state of the object; with now false, what memory shows.
func (r *Registry) Get(ctx context.Context, req Request, now bool) (*watch.Item, error) {
	if now {
		if err := r.State.Now(ctx); err != nil {
			return nil, unavailable(err)
		}
	}
	item := r.State.Get(req.Info.Stored, req.Namespace, req.Name)
	if item == nil {
		if lost := r.State.Unreadable(req.Info.Stored, watch.Filter{Namespace: req.Namespace, Name: req.Name}); lost != nil {
			return nil, storeRead(req.Info, req.Name, lost...)
		}
		return nil, apierrors.NewNotFound(req.Info.GroupResource(), req.Name)
	}
	return item, nil
}

// current is the object as it is now, for an update; not found is an error.
func (r *Registry) current(ctx context.Context, req Request) (*watch.Item, api.Object, error) {
	item := r.State.Get(req.Info.Stored, req.Namespace, req.Name)
	if item == nil {
		var err error
		if item, err = r.Get(ctx, req, true); err != nil {
			return nil, nil, err
		}
	}
	obj, err := Load(req.Info, item)
	return item, obj, err
}

// Load is the item's object in the version that was asked for. It is shared: not to be written to.
func Load(i *api.Info, item *watch.Item) (api.Object, error) {
	obj, err := item.Object()
	if err == nil && i.Load != nil {
		obj, err = i.Load(obj)
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj, nil
}

// Page is one page of a list as of a revision.
type Page struct {
	Items    []*watch.Item
	Revision uint64
	// Next is the key after which the next page begins, "" when this is the last;
	// Remaining is how many items follow, -1 when that is not known.
	Next      string
	Remaining int64
}

// Bound narrows a list in number and time.
type Bound struct {
	Limit int64
	After string // from the page before
	At    uint64 // the revision to show exactly; 0: the newest that memory has
}

// List lists what memory shows, or the store's history where an older revision is asked for.
// Errors: 410 Expired when that revision is no longer kept.
func (r *Registry) List(ctx context.Context, i *api.Info, f watch.Filter, b Bound) (Page, error) {
	var items []*watch.Item
	var revision uint64
	if b.At == 0 || b.At == r.State.Revision() {
		items, revision = r.State.List(i.Stored, f)
		if lost := r.State.Unreadable(i.Stored, f); lost != nil {
			return Page{}, storeRead(i, "", lost...)
		}
	}
	if b.At != 0 && b.At != revision {
		var err error
		if items, err = r.history(ctx, i.Stored, f, b.At); err != nil {
			return Page{}, err
		}
		revision = b.At
	}
	p := Page{Revision: revision}
	if b.After != "" {
		n := 0
		for n < len(items) && pageKey(items[n]) <= b.After {
			n++
		}
		items = items[n:]
	}
	if b.Limit > 0 && int64(len(items)) > b.Limit {
		p.Remaining = int64(len(items)) - b.Limit
		items = items[:b.Limit]
		p.Next = pageKey(items[b.Limit-1])
	}
	p.Items = items
	return p, nil
}

// pageKey orders items as lists do: namespace, then name ("/" sorts before what names may hold, save - and .).
func pageKey(i *watch.Item) string {
	if i.Namespace == "" {
		return i.Name
	}
	return i.Namespace + "/" + i.Name
}

// history reads a resource as of an older revision from the store.
func (r *Registry) history(ctx context.Context, i *api.Info, f watch.Filter, at uint64) ([]*watch.Item, error) {
	prefix := watch.Prefix + i.StoreKey + "/"
	if i.Namespaced && f.Namespace != "" {
		prefix += f.Namespace + "/"
	}
	entries, _, err := r.Store.List(ctx, prefix, store.Page{At: store.Revision(at)})
	switch {
	case errors.Is(err, store.ErrCompacted):
		return nil, apierrors.NewResourceExpired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.")
	case errors.Is(err, store.ErrFuture):
		return nil, TooLarge(at, r.State.Revision())
	case err != nil:
		return nil, unavailable(err)
	}
	var out []*watch.Item
	for _, e := range entries {
		if e.Err != nil {
			return nil, storeRead(i, "", watch.Unreadable{Key: e.Key, Revision: uint64(e.Revision), Err: e.Err})
		}
		item, err := watch.NewItem(i, e)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		if f.Match(item) {
			out = append(out, item)
		}
	}
	return out, nil
}
