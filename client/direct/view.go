package direct

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// View looks straight into the server's memory. It panics on a resource or selection
// that cannot be: that is a bug of the part that asks. A custom resource may come and go.
func (c *Client) View(_ context.Context, r client.Resource, s client.Selection) client.View {
	return c.server.View(r, s)
}

// View is Client.View without a user: for authentication and authorization themselves.
func (s *Server) View(r client.Resource, sel client.Selection) client.View {
	f, err := filter(sel)
	if err != nil {
		panic(err)
	}
	v := &view{server: s, resource: r.GroupVersionResource, info: s.Resources[r.GroupVersionResource], filter: f, partial: partial(r), unhurried: sel.Unhurried, outline: sel.Outline}
	if v.info == nil && !strings.Contains(r.Group, ".") {
		panic(fmt.Sprintf("direct: no resource %s", r.GroupVersionResource))
	}
	return v
}

// view is a filter on the state; it has no memory of its own.
type view struct {
	server    *Server
	resource  schema.GroupVersionResource
	info      *api.Info // nil: a custom resource, whose record changes
	filter    watch.Filter
	partial   bool // metadata alone is wanted
	unhurried bool
	outline   bool // what is large need not be there
}

// record is what is viewed as it is now; nil: it is not there.
func (v *view) record() *api.Info {
	if v.info != nil {
		return v.info
	}
	return v.server.find(v.resource)
}

// partial tells whether of the resource's objects only metadata is wanted.
func partial(r client.Resource) bool {
	if r.New == nil {
		return false
	}
	_, is := r.New().(*metav1.PartialObjectMetadata)
	return is
}

// metadata is an item's alone, for which no schema is asked.
func metadata(i *api.Info, item *watch.Item) (client.Object, error) {
	o, err := item.Object()
	if err != nil {
		return nil, err
	}
	out := &metav1.PartialObjectMetadata{ObjectMeta: *api.MetaOf(o)}
	out.SetGroupVersionKind(i.GVK())
	return out, nil
}

func (v *view) state() *watch.State { return v.server.Registry.State }

func (v *view) WaitSynced(ctx context.Context) error { return v.state().Now(ctx) }

func (v *view) Synced() bool { return true }

func (v *view) Get(namespace, name string) client.Object {
	i := v.record()
	if i == nil {
		return nil
	}
	item := v.state().Get(i.Stored, namespace, name)
	if item == nil || !v.filter.Match(item) {
		return nil
	}
	return v.object(item)
}

// object is nil for what cannot be read; the state has said so when it took it in.
func (v *view) object(item *watch.Item) client.Object {
	if item == nil {
		return nil
	}
	var o client.Object
	var err error
	switch i := v.record(); {
	case v.partial:
		o, err = metadata(item.Info, item)
	case i == nil:
		return nil
	case v.outline && i.Outline != nil:
		o, err = i.Outline(item.Raw())
	default:
		o, err = registry.Load(i, item)
	}
	if err != nil {
		return nil
	}
	return o
}

func (v *view) objects(items []*watch.Item) []client.Object {
	out := make([]client.Object, 0, len(items))
	for _, item := range items {
		if o := v.object(item); o != nil {
			out = append(out, o)
		}
	}
	return out
}

func (v *view) List(namespace string) []client.Object {
	f := v.filter
	if namespace != "" {
		if f.Namespace != "" && f.Namespace != namespace {
			return nil
		}
		f.Namespace = namespace
	}
	i := v.record()
	if i == nil {
		return nil
	}
	items, _ := v.state().List(i.Stored, f)
	return v.objects(items)
}

func (v *view) By(index, value string) []client.Object {
	i := v.record()
	if i == nil {
		return nil
	}
	items := v.state().By(i.Stored, index, value)
	out := make([]client.Object, 0, len(items))
	for _, item := range items {
		if v.filter.Match(item) {
			if o := v.object(item); o != nil {
				out = append(out, o)
			}
		}
	}
	return out
}

func (v *view) Version() uint64 { return v.state().Revision() }

func (v *view) WaitVersion(ctx context.Context, revision uint64) error {
	return v.state().Wait(ctx, revision)
}
