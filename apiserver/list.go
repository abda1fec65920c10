package apiserver

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	listvalidation "k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/registry"
	"github.com/lighter-k8s/lighter/watch"
)

// listOptions reads the query of a list or watch.
func listOptions(t *route) (o metainternal.ListOptions, f watch.Filter, err error) {
	if err := metainternal.Convert_url_Values_To_v1_ListOptions(&t.query, &o, nil); err != nil {
		return o, f, apierrors.NewBadRequest(err.Error())
	}
	if t.verb != "deletecollection" {
		internal := metainternalversion.ListOptions{Watch: t.verb == "watch", ResourceVersion: o.ResourceVersion, ResourceVersionMatch: o.ResourceVersionMatch,
			Continue: o.Continue, Limit: o.Limit, SendInitialEvents: o.SendInitialEvents, AllowWatchBookmarks: o.AllowWatchBookmarks}
		metainternalversion.SetListOptionsDefaults(&internal, true)
		if errs := listvalidation.ValidateListOptions(&internal, true); len(errs) > 0 {
			return o, f, apierrors.NewInvalid(schema.GroupKind{Group: metainternal.GroupName, Kind: "ListOptions"}, "", errs)
		}
	}
	f.Namespace, f.Info = t.namespace, t.info
	if !t.info.Namespaced {
		f.Namespace = ""
	}
	for _, selector := range []string{o.LabelSelector, o.FieldSelector} {
		if err := longSelector(selector); err != nil {
			return o, f, err
		}
	}
	if o.LabelSelector != "" {
		if f.Labels, err = labels.Parse(o.LabelSelector); err != nil {
			return o, f, apierrors.NewBadRequest(err.Error())
		}
		f.Labels = watch.ManyLabels(f.Labels)
	}
	if o.FieldSelector != "" {
		sel, err := fields.ParseSelector(o.FieldSelector)
		if err != nil {
			return o, f, apierrors.NewBadRequest(err.Error())
		}
		sel = watch.FieldTerms(sel)
		for _, r := range sel.Requirements() {
			if r.Field == "metadata.name" && r.Operator != "!=" {
				f.Name = r.Value
			}
			if !selectable(t.info, r.Field) {
				if len(t.info.Fields) == 0 {
					return o, f, apierrors.NewBadRequest(fmt.Sprintf("%q is not a known field selector: only %q, %q", r.Field, "metadata.name", "metadata.namespace"))
				}
				return o, f, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", r.Field))
			}
		}
		if !sel.Empty() {
			f.Fields = sel
		}
	}
	return o, f, nil
}

func selectable(i *api.Info, field string) bool {
	if field == "metadata.name" || field == "metadata.namespace" && (i.Namespaced || len(i.Fields) == 0) { // Source: what Kubernetes 1.37 takes
		return true
	}
	return i.Fields[field] != nil
}

// continuation is what a continue token says: the list's revision and the last key shown.
type continuation struct {
	Version  string `json:"v"`
	Revision uint64 `json:"rv"`
	After    string `json:"start"`
	Left     int64  `json:"left,omitempty"` // how many items follow; 0: not known
}

func (c continuation) token() string {
	data, _ := json.Marshal(c) // strings and numbers only
	return base64.RawURLEncoding.EncodeToString(data)
}

func parseContinue(token string) (c continuation, err error) {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil && c.Version != "lighter.v1" {
		err = fmt.Errorf("server does not recognize this encoded version %v", c.Version)
	}
	if err == nil && c.After == "" {
		err = errors.New("encoded start key empty (version lighter.v1)")
	}
	if err != nil {
		return c, apierrors.NewBadRequest(fmt.Sprintf("invalid continue token: continue key is not valid: %v", err))
	}
	return c, nil
}

// list answers with the objects of a resource. Source: API concepts, Resource versions, semantics for get and list.
func (s *Server) list(w http.ResponseWriter, r *http.Request, t *route) error {
	f, err := accept(r, true, watchMedia...)
	if err != nil {
		return err
	}
	o, filter, err := listOptions(t)
	if err != nil {
		return err
	}
	b := registry.Bound{Limit: o.Limit}
	if o.Continue != "" {
		c, err := parseContinue(o.Continue)
		if err != nil {
			return err
		}
		if o.ResourceVersion != "" && o.ResourceVersion != "0" {
			return apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
		}
		b.After, b.At, b.Left = c.After, c.Revision, c.Left
		if c.Revision == 0 { // the rest as it is now: what was begun can no longer be shown
			if err := s.Registry.State.Now(r.Context()); err != nil {
				return apierrors.NewInternalError(err)
			}
		}
	} else if err := s.revisionFor(r, o, &b); err != nil {
		return err
	}
	p, err := s.Registry.List(r.Context(), t.info, filter, b)
	if err != nil {
		return goOn(err, b)
	}
	l := source{items: p.Items, revision: p.Revision, remaining: p.Remaining}
	if l.items == nil {
		l.items = []*watch.Item{}
	}
	if p.Next != "" {
		if filter.Labels != nil || filter.Fields != nil {
			l.remaining = -1
		}
		l.next = continuation{"lighter.v1", p.Revision, p.Next, max(l.remaining, 0)}.token()
	}
	return s.answerList(w, r, f, t.info, l)
}

// goOn adds to the 410 of a list that cannot be continued as of its own revision the token that continues it as of now.
// Source: API concepts, Retrieving large results sets in chunks.
func goOn(err error, b registry.Bound) error {
	var expired *apierrors.StatusError
	if b.After == "" || !apierrors.IsResourceExpired(err) || !errors.As(err, &expired) {
		return err
	}
	expired.ErrStatus.Continue = continuation{Version: "lighter.v1", After: b.After}.token()
	expired.ErrStatus.Message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without " +
		"the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token " +
		"results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
	return expired
}

// revisionFor makes sure that memory shows at least what the request asks for, and sets b.At when it asks for one exactly.
func (s *Server) revisionFor(r *http.Request, o metainternal.ListOptions, b *registry.Bound) error {
	state := s.Registry.State
	if o.ResourceVersion == "" {
		if err := state.Now(r.Context()); err != nil {
			return apierrors.NewInternalError(err)
		}
		return nil
	}
	version, err := parseVersion(o.ResourceVersion)
	if err != nil {
		return err
	}
	if o.ResourceVersionMatch == metainternal.ResourceVersionMatchExact {
		b.At = version
	}
	return s.reach(r, version)
}

// reach waits a little for a revision that memory does not show yet. Where other servers share the store, "any revision" (0)
// is the newest one: the client may have been shown it by another server, and must not be led back.
func (s *Server) reach(r *http.Request, version uint64) error {
	state := s.Registry.State
	if version == 0 && s.Several {
		if err := state.Now(r.Context()); err != nil {
			return apierrors.NewInternalError(err)
		}
		return nil
	}
	if version <= state.Revision() {
		return nil
	}
	ctx, cancel := contextWithin(r.Context(), 3)
	defer cancel()
	if err := state.Wait(ctx, version); err != nil {
		return registry.TooLarge(version, state.Revision())
	}
	return nil
}

// parseVersion reads the resourceVersion of a query; "" is 0.
func parseVersion(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest(fmt.Sprintf("invalid resource version: %v", field.Invalid(field.NewPath("resourceVersion"), s, err.Error())))
	}
	return v, nil
}
