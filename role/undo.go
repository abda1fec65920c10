package role

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/backup"
	"github.com/lighter-k8s/lighter/client"
	"github.com/lighter-k8s/lighter/pki"
	"github.com/lighter-k8s/lighter/store"
	"github.com/lighter-k8s/lighter/watch"
)

// Undo brings back one object, or those of a namespace, as they were: through the API, as the administrator, so that
// what is not allowed now is refused, controllers see it, and revisions go on. An object that is there keeps its UID; one that
// is gone gets a new one, as any object that is created.
type Undo struct {
	Object    string `json:"object,omitempty"`    // "deployment/web"; "": all of the namespace
	Namespace string `json:"namespace,omitempty"` // "" for an object without one
	At        string `json:"at,omitempty"`        // "5m" ago, a time or a revision of the store's history
	From      string `json:"from,omitempty"`      // or a backup's file
	DryRun    bool   `json:"dryRun,omitempty"`    // say what would change
	Owned     bool   `json:"owned,omitempty"`     // with all of a namespace: what controllers made too
}

// AskToUndo has the server that runs from a data directory do it. Errors: ErrNotRunning.
func AskToUndo(ctx context.Context, dataDir string, u Undo, say func(string)) error {
	what, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return AskTo(ctx, dataDir, "/undo?"+url.Values{"what": {string(what)}}.Encode(), say) // not as a body: the audit trail has the URI
}

func (s *Server) serveUndo(w http.ResponseWriter, r *http.Request) error {
	var u Undo
	if err := json.Unmarshal([]byte(r.FormValue("what")), &u); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return err
	}
	return tell(w, func(say func(string, ...any)) error { return s.undo(r.Context(), u, say) })
}

// past is an object as it was.
type past struct {
	info  *api.Info
	obj   api.Object
	infos []*api.Info // all there are
}

func (p past) name() string {
	if p.obj.GetNamespace() == "" {
		return p.info.Singular + "/" + p.obj.GetName()
	}
	return p.info.Singular + "/" + p.obj.GetName() + " -n " + p.obj.GetNamespace()
}

func (s *Server) undo(ctx context.Context, u Undo, say func(string, ...any)) error {
	infos := s.infos()
	prefixes, exact, err := u.keys(infos)
	if err != nil {
		return err
	}
	entries, err := s.before(ctx, u, prefixes, exact, say)
	if err != nil {
		return err
	}
	var all []past
	for _, e := range entries {
		info := infoOf(infos, e.Key)
		if info == nil {
			continue
		}
		if e.Err != nil {
			return e.Err
		}
		obj, err := api.DecodeStored(info, e.Value)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Key, err)
		}
		p := past{info, obj, infos}
		if why := p.leave(u); why != "" {
			say("%s: left alone: %s", p.name(), why)
			continue
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		return errors.New("there was nothing of that then; 'lighter backup list' shows older states")
	}
	slices.SortStableFunc(all, func(a, b past) int { return cmp.Compare(rank(a.info), rank(b.info)) })
	c := s.Client("system:admin", pki.MastersGroup)
	failed := 0
	for _, p := range all {
		done, err := p.bring(ctx, c, u.DryRun)
		for try := 0; try < 5 && (apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err)); try++ { // a controller was quicker
			done, err = p.bring(ctx, c, u.DryRun)
		}
		if err != nil {
			failed++
			done = "not restored: " + err.Error()
		}
		say("%s: %s", p.name(), done)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d objects are not restored", failed, len(all))
	}
	return nil
}

// keys are where in the store it lies; exact: one key, else all below.
func (u Undo) keys(infos []*api.Info) (keys []string, exact bool, err error) {
	if (u.At == "") == (u.From == "") {
		return nil, false, errors.New("want a time (--at) or a backup (--from)")
	}
	if u.Object == "" {
		if u.Namespace == "" {
			return nil, false, errors.New("want an object or a namespace")
		}
		for _, i := range infos {
			if kept(i) && !i.Virtual && i.Namespaced && slices.Contains(i.Verbs, "create") && slices.Contains(i.Verbs, "update") {
				keys = append(keys, watch.Key(i, u.Namespace, ""))
			}
		}
		return append(keys, watch.Prefix+"namespaces/"+u.Namespace), false, nil
	}
	kind, name, ok := strings.Cut(u.Object, "/")
	if !ok || name == "" {
		return nil, false, fmt.Errorf("object %q: want kind/name, such as deployment/web", u.Object)
	}
	kind, group, _ := strings.Cut(strings.ToLower(kind), ".")
	for _, i := range infos {
		if !kept(i) || i.Virtual || group != "" && group != i.Group ||
			kind != i.Resource && kind != i.Singular && !slices.Contains(i.Short, kind) && kind != strings.ToLower(i.Kind) {
			continue
		}
		namespace := ""
		if i.Namespaced {
			if namespace = u.Namespace; namespace == "" {
				namespace = metav1.NamespaceDefault
			}
		}
		return []string{watch.Key(i, namespace, name)}, true, nil
	}
	return nil, false, fmt.Errorf("object %q: no such kind", u.Object)
}

// before reads what was there.
func (s *Server) before(ctx context.Context, u Undo, keys []string, exact bool, say func(string, ...any)) ([]store.Entry, error) {
	if u.From != "" {
		return s.fromBackup(ctx, u.From, keys, exact)
	}
	at, err := s.timeline.moment(u.At)
	if err != nil {
		return nil, err
	}
	say("as of revision %d", at)
	var out []store.Entry
	for _, key := range keys {
		var entries []store.Entry
		if e, err := s.store.Get(ctx, key, store.Revision(at)); err != nil {
			return nil, tooOld(err)
		} else if e.Revision != 0 {
			entries = append(entries, e)
		}
		if !exact && strings.HasSuffix(key, "/") {
			if entries, _, err = s.store.List(ctx, key, store.Page{At: store.Revision(at)}); err != nil {
				return nil, tooOld(err)
			}
		}
		out = append(out, entries...)
	}
	return out, nil
}

func tooOld(err error) error {
	if errors.Is(err, store.ErrCompacted) {
		return errors.New("the store no longer has that state (it keeps five to ten minutes): restore from a backup, see 'lighter backup list' and --from")
	}
	return err
}

// fromBackup reads what a backup has of it.
func (s *Server) fromBackup(ctx context.Context, path string, keys []string, exact bool) (out []store.Entry, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	err = backup.Entries(file, func(e store.Entry) {
		for _, key := range keys {
			if e.Key == key || !exact && strings.HasSuffix(key, "/") && strings.HasPrefix(e.Key, key) {
				out = append(out, e)
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	reads := s.encryption.store.Keys()
	if s.encryption.own { // which may be older than the last rotation
		if reads, err = s.encryption.everKeys(); err != nil {
			return nil, err
		}
	}
	for i, e := range out {
		if out[i].Value, _, err = reads.Open(ctx, e.Key, e.Value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// infos are all resources that are served now, custom ones in each of their versions.
func (s *Server) infos() []*api.Info {
	if all := s.custom.Load(); all != nil {
		return append(slices.Clip(s.builtin.All), *all...)
	}
	return s.builtin.All
}

// kept tells whether objects are looked for under the record: of a custom resource, under its first version's.
func kept(i *api.Info) bool {
	if i.Custom != nil {
		return i.Custom.Versions[0] == i
	}
	return i.Stored == i
}

// infoOf finds the resource of a store's key.
func infoOf(infos []*api.Info, key string) *api.Info {
	for _, i := range infos {
		if kept(i) && !i.Virtual && strings.HasPrefix(key, watch.Prefix+i.StoreKey+"/") {
			return i
		}
	}
	return nil
}

// rank orders objects so that what others refer to comes first.
func rank(i *api.Info) int {
	order := []string{"namespaces", "serviceaccounts", "secrets", "configmaps", "roles", "rolebindings", "resourcequotas", "limitranges",
		"networkpolicies", "persistentvolumeclaims", "services"}
	if n := slices.Index(order, i.Resource); n >= 0 {
		return n
	}
	return len(order)
}

// leave says why an object of a whole namespace is not restored; "": it is.
func (p past) leave(u Undo) string {
	if u.Object != "" {
		return ""
	}
	if o := metav1.GetControllerOf(p.obj); o != nil && !u.Owned {
		return "its controller, " + o.Kind + " " + o.Name + ", makes it (--owned restores it too)"
	}
	switch o := p.obj.(type) {
	case *corev1.Secret:
		if o.Type == corev1.SecretTypeServiceAccountToken {
			return "a service account's token is made anew"
		}
	case *corev1.Endpoints:
		return "endpoints follow from their Service"
	case *corev1.Event:
		return "an event is what happened, once"
	}
	if p.info.Resource == "events" || p.info.Resource == "leases" {
		return "it says what was so at that time only"
	}
	return ""
}

func (p past) resource() client.Resource {
	i := p.info
	return client.Resource{GroupVersionResource: i.GroupVersionResource, Kind: i.Kind, Namespaced: i.Namespaced, New: func() client.Object { return i.New() }}
}

// bring makes the object be as it was, and says what it did; dry: would do.
func (p past) bring(ctx context.Context, c client.Client, dry bool) (string, error) {
	obj := p.obj
	now, err := c.Get(ctx, p.resource(), obj.GetNamespace(), obj.GetName())
	if err != nil && !apierrors.IsNotFound(err) {
		return "", err
	}
	obj.SetManagedFields(nil)
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetOwnerReferences(owners(ctx, c, p.infos, obj))
	if now == nil {
		obj.SetResourceVersion("")
		obj.SetUID("")
		if pod, ok := obj.(*corev1.Pod); ok {
			pod.Spec.NodeName = "" // it is scheduled again
		}
		text, err := manifestText(obj)
		if err != nil || dry {
			return "would be created\n" + diff("", text), err
		}
		return p.create(ctx, c)
	}
	if now.GetDeletionTimestamp() != nil {
		return "", errors.New("the one that is there is being deleted; repeat when it is gone")
	}
	obj.SetUID(now.GetUID())
	obj.SetResourceVersion(now.GetResourceVersion())
	obj.SetCreationTimestamp(now.GetCreationTimestamp())
	obj.SetGeneration(now.GetGeneration())
	was, err := manifestText(now)
	if err != nil {
		return "", err
	}
	will, err := manifestText(obj)
	switch {
	case err != nil:
		return "", err
	case was == will:
		return "unchanged", nil
	case dry:
		return "would be updated\n" + diff(was, will), nil
	}
	if _, err := c.Update(ctx, p.resource(), "", obj); err != nil {
		return "", err
	}
	return "updated", nil
}

// create creates the object; a Service whose addresses or ports somebody has by now gets others.
func (p past) create(ctx context.Context, c client.Client) (string, error) {
	_, err := c.Create(ctx, p.resource(), p.obj.GetNamespace(), p.obj.GetName(), "", p.obj)
	svc, ok := p.obj.(*corev1.Service)
	if err == nil || !ok || !apierrors.IsInvalid(err) {
		return "created, with a new UID", err
	}
	svc = svc.DeepCopy()
	if svc.Spec.ClusterIP != corev1.ClusterIPNone {
		svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "", nil
	}
	svc.Spec.HealthCheckNodePort = 0
	for i := range svc.Spec.Ports {
		svc.Spec.Ports[i].NodePort = 0
	}
	if _, again := c.Create(ctx, p.resource(), svc.Namespace, svc.Name, "", svc); again != nil {
		return "", err // the first one says more
	}
	return "created, with a new UID and new addresses: those it had are another's now", nil
}

// owners are the object's owners as they are now: one that is gone would take the object with it.
func owners(ctx context.Context, c client.Client, infos []*api.Info, obj api.Object) (out []metav1.OwnerReference) {
	for _, o := range obj.GetOwnerReferences() {
		for _, i := range infos {
			if i.Kind != o.Kind || i.GroupVersion().String() != o.APIVersion || i.Virtual {
				continue
			}
			namespace := ""
			if i.Namespaced {
				namespace = obj.GetNamespace()
			}
			if now, err := c.Get(ctx, past{info: i}.resource(), namespace, o.Name); err == nil {
				o.UID = now.GetUID()
				out = append(out, o)
			}
		}
	}
	return out
}

// manifestText is an object as people read it, without what the system alone sets.
func manifestText(obj client.Object) (string, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return "", err
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return "", err
	}
	delete(m, "status")
	delete(m, "kind")
	delete(m, "apiVersion")
	if meta, ok := m["metadata"].(map[string]any); ok {
		for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"} {
			delete(meta, field)
		}
	}
	if _, secret := obj.(*corev1.Secret); secret { // values are not shown, only whether they differ
		hide(m, "data")
	}
	text, err := yaml.Marshal(m)
	return string(text), err
}
