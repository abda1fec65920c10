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
	item, err := r.there(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	obj, err := Load(req.Info, item)
	return item, obj, err
}

// there is current for those who do not look into the object.
func (r *Registry) there(ctx context.Context, req Request) (*watch.Item, error) {
	if item := r.State.Get(req.Info.Stored, req.Namespace, req.Name); item != nil {
		return item, nil
	}
	return r.Get(ctx, req, true)
}

// Load is the item's object in the version that was asked for. It is shared: not to be written to.
func Load(i *api.Info, item *watch.Item) (api.Object, error) {
	if i.Custom != nil {
		obj, err := i.Custom.Read(item.Raw())
		return obj, internal(err)
	}
	obj, err := item.Object()
	if err == nil && i.Load != nil {
		obj, err = i.Load(obj)
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return obj, nil
}

// internal is the 500 of an error, unless it says itself what it is.
func internal(err error) error {
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return err
	}
	return apierrors.NewInternalError(err)
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
	Left  int64  // how many items were left for this page and later ones, as the page before said; 0: not known
}

// List lists what memory shows, or the store's history where an older revision is asked for.
// Errors: 410 Expired when that revision is no longer kept.
func (r *Registry) List(ctx context.Context, i *api.Info, f watch.Filter, b Bound) (Page, error) {
	var p Page
	if bounds := (watch.Page{After: b.After, Limit: b.Limit}); b.At == 0 {
		p.Items, p.Remaining, p.Revision = r.State.ListPage(i.Stored, f, bounds)
		if lost := r.State.Unreadable(i.Stored, f); lost != nil {
			return Page{}, storeRead(i, "", lost...)
		}
	} else {
		var shown bool
		p.Revision = b.At
		if p.Items, p.Remaining, shown = r.State.ListPageAt(i.Stored, f, bounds, b.At); !shown {
			var err error
			if p, err = r.history(ctx, i.Stored, f, b); err != nil {
				return Page{}, err
			}
		}
	}
	if p.Remaining != 0 {
		p.Next = p.Items[len(p.Items)-1].Key()
	}
	return p, nil
}

// historyChunk is how many entries of the store's history are read at once.
const historyChunk = 500

// history reads a resource as of an older revision from the store, in chunks: no more of it is held than the answer.
func (r *Registry) history(ctx context.Context, i *api.Info, f watch.Filter, b Bound) (Page, error) {
	p := Page{Revision: b.At}
	resource := watch.Prefix + i.StoreKey + "/"
	prefix := resource
	if i.Namespaced && f.Namespace != "" {
		prefix += f.Namespace + "/"
	}
	from := store.Page{At: store.Revision(b.At), Limit: historyChunk}
	if b.After != "" {
		from.After = resource + b.After
	}
	for {
		entries, _, err := r.Store.List(ctx, prefix, from)
		if err != nil {
			return p, r.past(err, b.At)
		}
		for _, e := range entries {
			if e.Err != nil {
				return p, storeRead(i, "", watch.Unreadable{Key: e.Key, Revision: uint64(e.Revision), Err: e.Err})
			}
			item, err := watch.NewItem(i, e)
			if err != nil {
				return p, apierrors.NewInternalError(err)
			}
			if !f.Match(item) {
				continue
			}
			if b.Limit == 0 || int64(len(p.Items)) < b.Limit {
				p.Items = append(p.Items, item)
				continue
			}
			switch {
			case f.Labels != nil || f.Fields != nil || f.Name != "":
				p.Remaining = -1
				return p, nil
			case b.Left > 0:
				p.Remaining = b.Left - int64(len(p.Items))
				return p, nil
			}
			p.Remaining++ // counted once, for the first page
		}
		if len(entries) < historyChunk {
			return p, nil
		}
		from.After = entries[len(entries)-1].Key
	}
}

// past is what a client is told when the store cannot show a revision.
func (r *Registry) past(err error, at uint64) error {
	switch {
	case errors.Is(err, store.ErrCompacted):
		return apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	case errors.Is(err, store.ErrFuture):
		return TooLarge(at, r.State.Revision())
	}
	return unavailable(err)
}

// GetAt returns the object as it was at a revision. Errors: 410 Expired when that revision is no longer kept.
func (r *Registry) GetAt(ctx context.Context, req Request, at uint64) (*watch.Item, error) {
	i := req.Info.Stored
	e, err := r.Store.Get(ctx, watch.Key(i, req.Namespace, req.Name), store.Revision(at))
	switch {
	case err != nil:
		return nil, r.past(err, at)
	case e.Revision == 0:
		return nil, apierrors.NewNotFound(req.Info.GroupResource(), req.Name)
	}
	item, err := watch.NewItem(i, e)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return item, nil
}
