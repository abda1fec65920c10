// Package direct is the client for the parts that run in the server's own process.
// Reads and views are the server's memory itself; writes go through the registry as they
// would over HTTP: authorized, admitted, validated, and written into the audit trail. Only the bytes are left out.
// Views are not requests: nothing of them is in the trail.
package direct

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/audit"
	"github.com/lighter-k8s/lighter/authz"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// Server is what clients of one server process share.
type Server struct {
	Registry *registry.Registry
	Authz    authz.Authorizer
	// Audit is the audit trail; nil: nothing is written down.
	Audit *audit.Trail
	// Resources are all built-in ones that are served.
	Resources map[schema.GroupVersionResource]*api.Info

	custom  atomic.Pointer[map[schema.GroupVersionResource]*api.Info]
	resting resting
}

// SetCustom makes further resources known.
func (s *Server) SetCustom(infos []*api.Info) {
	all := make(map[schema.GroupVersionResource]*api.Info, len(infos))
	for _, i := range infos {
		all[i.GroupVersionResource] = i
	}
	s.custom.Store(&all)
}

func (s *Server) find(gvr schema.GroupVersionResource) *api.Info {
	if i := s.Resources[gvr]; i != nil {
		return i
	}
	if all := s.custom.Load(); all != nil {
		return (*all)[gvr]
	}
	return nil
}

// Client acts as one user. Safe for concurrent use.
type Client struct {
	server *Server
	user   authenticationv1.UserInfo
}

var _ client.Client = (*Client)(nil)

// As makes a client that acts as a user.
func (s *Server) As(user authenticationv1.UserInfo) *Client { return &Client{s, user} }

// request judges a request; over must be called on its act, with how it went, even where there is an error.
func (c *Client) request(ctx context.Context, verb string, r client.Resource, namespace, name, subresource string) (registry.Request, *act, error) {
	i := c.server.find(r.GroupVersionResource)
	if i == nil {
		return registry.Request{}, nil, apierrors.NewNotFound(r.GroupResource(), name)
	}
	a := authz.Attributes{User: c.user, Verb: verb, ResourceRequest: true, Group: r.Group, Version: r.Version, Resource: r.GroupVersionResource.Resource,
		Subresource: subresource, Namespace: namespace, Name: name}
	e, err := c.begin(&a)
	if err != nil {
		return registry.Request{}, e, err
	}
	d, reason, err := c.server.Authz.Authorize(ctx, a)
	e.judged(d, reason)
	if d != authz.Allow {
		if err != nil && reason == "" {
			reason = err.Error()
		}
		denied := apierrors.NewForbidden(r.GroupResource(), name, fmt.Errorf("denied"))
		denied.ErrStatus.Message = authz.Forbidden(a, reason)
		return registry.Request{}, e, denied
	}
	q := registry.Request{Info: i, Namespace: namespace, Name: name, Subresource: subresource, User: c.user, Manager: manager(c.user.Username)}
	if e != nil {
		q.Annotate = e.Annotate
	}
	if !i.Namespaced {
		q.Namespace = ""
	}
	return q, e, nil
}

// manager is the name of the component that a user stands for, as its user agent would say it over HTTP.
func manager(user string) string {
	switch {
	case user == "system:apiserver":
		return "kube-apiserver"
	case strings.HasPrefix(user, "system:node:"):
		return "kubelet"
	case strings.HasPrefix(user, "system:serviceaccount:kube-system:"):
		return "kube-controller-manager"
	}
	return strings.TrimPrefix(user, "system:")
}

// Get reads the newest state.
func (c *Client) Get(ctx context.Context, r client.Resource, namespace, name string) (got client.Object, err error) {
	q, e, err := c.request(ctx, "get", r, namespace, name, "")
	defer func() { e.over(q.Info, got, err) }()
	if err != nil {
		return nil, err
	}
	item, err := c.server.Registry.Get(ctx, q, true)
	if err != nil {
		return nil, err
	}
	if partial(r) {
		return metadata(q.Info, item)
	}
	return registry.Load(q.Info, item)
}

// List reads the newest state.
func (c *Client) List(ctx context.Context, r client.Resource, namespace string, s client.Selection) (objs []client.Object, _ string, err error) {
	q, e, err := c.request(ctx, "list", r, namespace, "", "")
	defer func() { e.over(nil, nil, err) }()
	if err != nil {
		return nil, "", err
	}
	s.Namespace = namespace
	f, err := filter(s)
	if err != nil {
		return nil, "", err
	}
	if err := c.server.Registry.State.Now(ctx); err != nil {
		return nil, "", err
	}
	items, revision := c.server.Registry.State.List(q.Info.Stored, f)
	objs, err = objects(q.Info, items, partial(r))
	return objs, strconv.FormatUint(revision, 10), err
}

func objects(i *api.Info, items []*watch.Item, partial bool) ([]client.Object, error) {
	out := make([]client.Object, len(items))
	for n, item := range items {
		var o client.Object
		var err error
		if partial {
			o, err = metadata(i, item)
		} else {
			o, err = registry.Load(i, item)
		}
		if err != nil {
			return nil, err
		}
		out[n] = o
	}
	return out, nil
}

func filter(s client.Selection) (f watch.Filter, err error) {
	f.Namespace = s.Namespace
	if s.Labels != "" {
		if f.Labels, err = labels.Parse(s.Labels); err != nil {
			return f, apierrors.NewBadRequest(err.Error())
		}
	}
	if s.Fields != "" {
		if f.Fields, err = fields.ParseSelector(s.Fields); err != nil {
			return f, apierrors.NewBadRequest(err.Error())
		}
		f.Name, _ = f.Fields.RequiresExactMatch("metadata.name")
	}
	return f, nil
}

// Create stores obj or asks a subresource.
func (c *Client) Create(ctx context.Context, r client.Resource, namespace, name, subresource string, obj client.Object) (stored client.Object, err error) {
	q, e, err := c.request(ctx, "create", r, namespace, name, subresource)
	defer func() { e.over(q.Info, stored, err) }()
	if err != nil {
		return nil, err
	}
	e.object(q.Info, obj)
	obj = obj.DeepCopyObject().(client.Object)
	if answer := c.server.Registry.Creator(q.Info.Resource, subresource); answer != nil {
		got, err := answer(ctx, q, obj)
		if err != nil {
			return nil, err
		}
		o, _ := got.(client.Object)
		return o, nil
	}
	q.Name = ""
	return c.server.Registry.Create(ctx, q, obj)
}

// Update replaces an object or a part of it.
func (c *Client) Update(ctx context.Context, r client.Resource, subresource string, obj client.Object) (stored client.Object, err error) {
	q, e, err := c.request(ctx, "update", r, obj.GetNamespace(), obj.GetName(), subresource)
	defer func() { e.over(q.Info, stored, err) }()
	if err != nil {
		return nil, err
	}
	e.object(q.Info, obj)
	q.Sent = func() (api.Object, error) { return obj, nil }
	return c.change(ctx, q, registry.Replace(q.Info, obj))
}

func (c *Client) change(ctx context.Context, q registry.Request, change registry.Change) (client.Object, error) {
	if q.Subresource == "scale" {
		return c.server.Registry.Scale(ctx, q, change)
	}
	return c.server.Registry.Update(ctx, q, change)
}

// Patch applies a JSON, merge or strategic merge patch.
func (c *Client) Patch(ctx context.Context, r client.Resource, namespace, name, subresource string, t types.PatchType, patch []byte) (stored client.Object, err error) {
	q, e, err := c.request(ctx, "patch", r, namespace, name, subresource)
	defer func() { e.over(q.Info, stored, err) }()
	if err != nil {
		return nil, err
	}
	e.sent(patch)
	return c.change(ctx, q, func(_ context.Context, old api.Object) (api.Object, error) {
		doc, err := json.Marshal(old)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		next := q.Info.New()
		if subresource == "scale" {
			next = &autoscalingv1.Scale{}
		}
		var out []byte
		switch t {
		case types.MergePatchType:
			out, err = jsonpatch.MergePatch(doc, patch)
		case types.StrategicMergePatchType:
			if q.Info.Custom != nil {
				return nil, apierrors.NewBadRequest("a strategic merge patch is not for custom resources")
			}
			out, err = strategicpatch.StrategicMergePatch(doc, patch, next)
		case types.JSONPatchType:
			var p jsonpatch.Patch
			if p, err = jsonpatch.DecodePatch(patch); err == nil {
				out, err = p.Apply(doc)
			}
		default:
			err = fmt.Errorf("patch type %q is not known", t)
		}
		if err == nil {
			err = json.Unmarshal(out, next)
		}
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return next, nil
	})
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, r client.Resource, namespace, name string, o metav1.DeleteOptions) (err error) {
	q, e, err := c.request(ctx, "delete", r, namespace, name, "")
	defer func() { e.over(nil, nil, err) }()
	if err != nil {
		return err
	}
	_, _, err = c.server.Registry.Delete(ctx, q, o)
	return err
}
