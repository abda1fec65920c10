// Package api says what a resource is. Each built-in resource is one record,
// made by Define in one small file of its group's folder (api/core/configmap.go);
// api/builtin lists them all. A custom resource gets the same record at run time.
// The registry, the API server, discovery and OpenAPI read the record and know
// no resource by name.
package api

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// Object is what the API stores and serves: a typed or unstructured Kubernetes object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Namespaced and Cluster are the two scopes of a resource.
const (
	Namespaced Scope = true
	Cluster    Scope = false
)

// Scope tells whether objects of a resource live in namespaces.
type Scope bool

// Resource is the record of one resource in one version, for objects of the Go
// type T (a pointer to a type of k8s.io/api). Functions left nil do nothing.
// None may keep or change an object that it is handed as old.
type Resource[T Object] struct {
	Group    string // "" is core
	Version  string
	Kind     string // default: T's type name
	Plural   string
	Singular string // default: Kind in lower case
	Short    []string
	// Categories are the groupings it belongs to, such as "all".
	Categories []string
	Scope      Scope
	// Verbs it has; default: all of create delete deletecollection get list patch update watch.
	Verbs []string

	// Deprecated is a warning that comes with every answer; "": none.
	Deprecated string
	// AnyFinalizer: the names of finalizers need not say whose they are.
	AnyFinalizer bool

	// Default fills in what the user left out; on create and update, before admission.
	Default func(obj T)
	// Decoded fills in what the protobuf form cannot hold, in an object just made from it.
	Decoded func(obj T)
	// Prepare drops what a user may not set and derives what the system sets
	// (not uid, generation and the like, which the registry stamps). old is nil on create.
	// It is called for the main resource, never for a subresource.
	Prepare func(obj, old T)
	// Validate checks the object; old is nil on create. Metadata is checked by the registry.
	Validate func(obj, old T) field.ErrorList
	// ValidateName gives the complaints about a name, as the functions of
	// apimachinery/pkg/api/validation do; default: NameIsDNSSubdomain.
	ValidateName func(name string, prefix bool) []string
	// Warnings are sent to the client of a create or update as Warning headers.
	Warnings func(obj, old T) []string
	// GenerationOf gives the part of the object whose change raises metadata.generation,
	// usually &obj.Spec; nil: objects have no generation.
	GenerationOf func(obj T) any
	// Completed tells why an object has ended for good, for those who show it; "": it has not.
	Completed func(obj T) (reason, message string)
	// LateGeneration: the generation counts changes only, a new object has none.
	LateGeneration bool
	// SentGeneration: what was sent counts for the generation, even if Prepare drops it.
	SentGeneration bool
	// NilChanges: what was absent and is empty now has changed for the generation.
	NilChanges bool

	// Status is set when the resource has a status subresource.
	Status *Status[T]
	// Scale is set when the resource has a scale subresource.
	Scale *Scale[T]
	// Subresources lists further subresources, each served by a part that knows it
	// (binding, eviction, log, exec, token ...): for discovery.
	Subresources []Subresource

	// Fields are the selectable fields beside metadata.name and metadata.namespace,
	// such as "spec.nodeName".
	Fields map[string]func(obj T) string
	// Columns are those of kubectl get after Name and before Age, in order; nil gives Name and Age alone.
	// Columns called Name and Age stand for those where they go elsewhere (see Info.Table).
	Columns []Column[T]
	// Shown are the parts of objects that the columns look at, such as "spec.nodeName", beside name, namespace and the times
	// of creation and deletion: Tables are made of them alone. Empty: columns may look at all but managedFields.
	Shown []string

	// Grace decides on a deletion: how many seconds the object lives on after it was
	// asked for (nil: the resource has no graceful deletion and goes at once).
	// requested is nil when the request gave none.
	Grace func(obj T, requested *int64) int64
	// Deleted changes an object when its deletion is first asked for: a finalizer may hold it.
	Deleted func(obj T, now metav1.Time)
	// Copy gives an object that may be changed in its place; parts that nobody ever changes may be shared. Default: all is copied.
	Copy func(obj T) T
	// Message gives an object's protobuf message without its resourceVersion. Default: what its generated methods write.
	Message func(obj T) ([]byte, error)
	// Parse fills an empty object from its protobuf message; false: that is left to its generated methods, as it is by default.
	Parse func(obj T, raw []byte) bool
	// Orphans leaves what a deleted object owns where its deletion does not say what is to become of it; who says nothing is
	// told OrphansWarning.
	Orphans        bool
	OrphansWarning string

	// StoredAs is the version that stored objects say they are of, as Kubernetes' API server writes them, where that is an
	// older one; its protobuf form is the same. Default: Version.
	StoredAs string
	// Incomplete objects, as Kubernetes' API server stores them, may lack defaults, which it fills in whenever it reads them.
	Incomplete bool
	// Bulk are the field numbers on the way to what makes objects large and few look at: an outline lacks it.
	Bulk []int
	// Aside is set when objects are large by one list that managers own as a whole.
	Aside *Aside[T]
	// Life is how long an object is kept after it was last written; 0: until it is deleted.
	Life time.Duration
	// Relaxed objects (Lease, Event) need not wait for the disk: store.Relaxed.
	Relaxed bool
	// StoredIn is the record under whose key and type objects are stored, when it is not
	// this one (events.k8s.io/v1 Event is stored as core/v1 Event), with the two conversions.
	StoredIn *Info
	ToStored func(obj T) (Object, error)
	Load     func(stored Object) (T, error)
	// Key is the resource's part of store keys when that is not Plural
	// (Kubernetes' history: "services/specs", "minions").
	Key string
	// List is the Go list type's kind; default: Kind + "List".
	List string
	// Virtual resources are computed, never stored (TokenReview, SubjectAccessReview,
	// ComponentStatus, Binding): create is handled by a part that knows it.
	Virtual bool
}

// Status says how the status subresource differs from the main one.
type Status[T Object] struct {
	// Copy puts into dst the part of src that only the status subresource may write.
	// It is used both ways: a status update takes that part alone from the request; a
	// main update keeps that part from the stored object.
	Copy func(dst, src T)
	// Alone: a status update takes nothing of the metadata, neither labels nor annotations nor finalizers.
	Alone bool
	// Validate checks a status update.
	Validate func(obj, old T) field.ErrorList
}

// Scale reads and writes the replica count for the scale subresource (autoscaling/v1 Scale).
type Scale[T Object] struct {
	Get func(obj T) ScaleView
	Set func(obj T, replicas int32)
}

// ScaleView is what a Scale object shows of its resource.
type ScaleView struct {
	Spec, Status int32
	Selector     string // serialized, as kubectl and the HPA read it
}

// Aside is a list that makes objects large and is atomic to a server-side apply, which is then done without it.
type Aside[T Object] struct {
	Path [2]string // where it is in JSON
	// Marks are two lists, different and short, that stand for one.
	Marks [2][]any
	// Read makes an object that has just the list. exact: that is the list again as JSON; not ok: it is for others to read.
	Read func(list []any) (obj T, exact, ok bool)
	// Take gives an object the list of another.
	Take func(to, from T)
	// Same tells whether both have the same list as JSON.
	Same func(a, b T) bool
}

// Subresource is one line of discovery.
type Subresource struct {
	Name                 string // "log"
	Kind, Group, Version string // of what it takes or gives; Group and Version default to the parent's
	Verbs                []string
	// Validate checks an update of the object through this subresource; nil: as the resource does.
	Validate func(obj, old Object) field.ErrorList
}

// ValidateUpdate checks an update of old to obj, through a subresource when sub is not empty.
func (i *Info) ValidateUpdate(sub string, obj, old Object) field.ErrorList {
	for _, s := range i.Subresources {
		if s.Name == sub && s.Validate != nil {
			return s.Validate(obj, old)
		}
	}
	return i.Validate(obj, old)
}

// Column is one column of a Table.
type Column[T Object] struct {
	Name string
	Type string // default "string"; else integer, date, boolean, number
	// Format is an OpenAPI format such as "name".
	Format string
	// Priority above 0: shown with -o wide only.
	Priority int32
	// Help is the column's description.
	Help string
	// Show gives the cell: a string, a number or a bool. May be nil for Name and Age only.
	Show func(obj T) any
}

// Info is a Resource without its type parameter: what the rest of the server handles.
type Info struct {
	schema.GroupVersionResource
	Kind, ListKind, Singular string
	Short, Categories, Verbs []string
	Namespaced               bool
	Relaxed, Virtual         bool
	Deprecated               string
	OwnedFinalizers          bool // their names say whose they are
	Life                     time.Duration
	StoredAs                 string // see StoredVersion
	Incomplete               bool
	HasStatus, HasScale      bool
	Subresources             []Subresource
	Columns                  []Column[Object]
	Shown                    []string
	Fields                   map[string]func(Object) string
	// StoreKey is the part of store keys after "/registry/", without a slash at either
	// end: "configmaps", "services/specs", "deployments" (built-in groups do not show).
	StoreKey string
	Stored   *Info // the record it is stored under: itself, mostly

	New     func() Object
	NewList func() runtime.Object
	// Type is the Go type of New's objects, without the pointer; nil: it is not known.
	Type reflect.Type
	// Typed is how New's objects merge in a server-side apply (api/managed); nil: as the fields of Type do. A record made
	// at run time has it, and makes what is big when it is first called.
	Typed func() (typed.ParseableType, error)
	// Custom is set in records that are made at run time; nil: a built-in one.
	Custom *Custom

	Default        func(obj Object)
	Decoded        func(obj Object)                 // nil: nothing
	Outline        func(raw []byte) (Object, error) // decodes all but what is large; nil: all is decoded. Never to be written back
	Prepare        func(obj, old Object)
	Validate       func(obj, old Object) field.ErrorList
	ValidateName   func(name string, prefix bool) []string
	Warnings       func(obj, old Object) []string
	GenerationOf   func(obj Object) any // nil: no generation
	LateGeneration bool
	SentGeneration bool
	NilChanges     bool
	completed      func(obj Object) (reason, message string)
	CopyStatus     func(dst, src Object)
	StatusAlone    bool // of a status update, the metadata is not taken
	ValidateStatus func(obj, old Object) field.ErrorList
	GetScale       func(obj Object) ScaleView
	SetScale       func(obj Object, replicas int32)
	Replicas       fieldpath.Path                           // where GetScale finds Spec; nil: spec.replicas
	Grace          func(obj Object, requested *int64) int64 // nil: no graceful deletion
	Deleted        func(obj Object, now metav1.Time)        // nil: nothing
	copy           func(obj Object) Object                  // nil: all of it
	message        func(obj Object) ([]byte, error)         // nil: by its methods
	parse          func(obj Object, raw []byte) bool        // nil, or false: by its methods
	Aside          *Aside[Object]                           // nil: there is nothing to set aside
	Orphans        bool
	OrphansWarning string
	ToStored       func(obj Object) (Object, error) // nil when Stored is the Info itself
	Load           func(stored Object) (Object, error)
}

// Copied is a copy of an object of the resource, which may be changed.
func (i *Info) Copied(obj Object) Object {
	if i.copy != nil {
		return i.copy(obj)
	}
	return obj.DeepCopyObject().(Object)
}

// AsItIs tells whether an object of the resource, which was made of JSON by the schema that it is to be read by, is the same after it was made
// JSON and read again, but for its metadata: it has nothing but texts, or its free values are kept in one form.
func (i *Info) AsItIs() bool {
	return i.Custom != nil && len(i.Custom.Versions) == 1 || i.StoreKey == DefinitionsKey || i.Group == "" && (i.Resource == "configmaps" || i.Resource == "secrets")
}

// Custom is what the record of a custom resource has beyond others. Its objects are *unstructured.Unstructured and are
// stored as JSON, in any of the definition's versions: what Stored has is that, and says its version itself.
type Custom struct {
	Definition string // the name of its CustomResourceDefinition
	Revision   string // tells that definition, in this generation, from all others
	Versions   []*Info
	Deprecated string // the warning to whoever uses this version; "": it is not deprecated
	Leaving    bool   // the definition is being deleted
	Single     bool   // the definition has no other version, served or not: what is read has all that Default would give it
	// Receive gives what a request sent the form of an object: metadata is coerced, unknown fields are dropped and listed.
	// The error says what cannot be coerced.
	Receive func(obj Object) (strict []error, err error)
	// Read makes the object in this version of stored JSON.
	Read func(raw []byte) (Object, error)
	// Warm is told what Read is about to be called with, so that a webhook is asked once; nil: no webhook is asked.
	Warm func(raws [][]byte)
	// Scalable says why an object has no scale; nil: the resource has none.
	Scalable func(obj Object) error
	// Schema is the OpenAPI schema of the version's objects; v2: without what OpenAPI 2 does not know. Nobody may write to it.
	Schema func(v2 bool) (any, error)
}

// DefinitionsKey is the StoreKey of CustomResourceDefinitions.
const DefinitionsKey = "apiextensions.k8s.io/customresourcedefinitions"

// GVK is the kind of the resource's objects.
func (i *Info) GVK() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: i.Group, Version: i.Version, Kind: i.Kind}
}

// SelectableFields are the names of Fields.
func (i *Info) SelectableFields() []string { return slices.Sorted(maps.Keys(i.Fields)) }

// AllVerbs are those of an ordinary resource, in discovery's order.
var AllVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}

// Define makes the Info of a record. It panics on a record that cannot be right.
func Define[T Object](r Resource[T]) *Info {
	t := reflect.TypeFor[T]().Elem()
	if r.Kind == "" {
		r.Kind = t.Name()
	}
	if r.Plural == "" || r.Version == "" {
		panic(fmt.Sprintf("api: record of %s lacks plural or version", r.Kind))
	}
	i := &Info{
		GroupVersionResource: schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Plural},
		Kind:                 r.Kind, ListKind: r.List, Singular: r.Singular,
		Short: r.Short, Categories: r.Categories, Verbs: r.Verbs, Namespaced: bool(r.Scope),
		Relaxed: r.Relaxed, Life: r.Life, StoredAs: r.StoredAs, Incomplete: r.Incomplete, Virtual: r.Virtual, OwnedFinalizers: !r.AnyFinalizer, Deprecated: r.Deprecated, Subresources: r.Subresources,
		Orphans: r.Orphans, OrphansWarning: r.OrphansWarning,
		HasStatus: r.Status != nil, HasScale: r.Scale != nil,
		LateGeneration: r.LateGeneration, SentGeneration: r.SentGeneration, NilChanges: r.NilChanges, ValidateName: r.ValidateName, StoreKey: r.Key, Shown: r.Shown,
		New: func() Object { return reflect.New(t).Interface().(Object) }, Type: t,
	}
	i.fill()
	if r.StoredIn != nil {
		i.Stored, i.StoreKey = r.StoredIn, r.StoredIn.StoreKey
		i.ToStored = func(o Object) (Object, error) { return r.ToStored(o.(T)) }
		i.Load = func(o Object) (Object, error) { return r.Load(o) }
	}
	i.NewList = listMaker(schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: i.ListKind})
	if i.Deprecated == "" && r.StoredIn == nil {
		i.Deprecated = lifecycle(i)
	}
	if r.Bulk != nil {
		i.Outline = func(raw []byte) (Object, error) { return DecodeRaw(i, without(raw, r.Bulk)) }
	}
	i.Default = one(r.Default)
	if r.Decoded != nil {
		i.Decoded = one(r.Decoded)
	}
	i.Prepare = two(r.Prepare)
	i.Validate = check(r.Validate)
	if r.Warnings != nil {
		i.Warnings = func(obj, old Object) []string { o, _ := old.(T); return r.Warnings(obj.(T), o) }
	}
	if r.Completed != nil {
		i.completed = func(o Object) (string, string) { return r.Completed(o.(T)) }
	}
	if r.GenerationOf != nil {
		i.GenerationOf = func(o Object) any { return r.GenerationOf(o.(T)) }
	}
	if s := r.Status; s != nil {
		i.CopyStatus = func(dst, src Object) { s.Copy(dst.(T), src.(T)) }
		i.StatusAlone = s.Alone
		i.ValidateStatus = check(s.Validate)
	}
	if s := r.Scale; s != nil {
		i.GetScale = func(o Object) ScaleView { return s.Get(o.(T)) }
		i.SetScale = func(o Object, n int32) { s.Set(o.(T), n) }
	}
	if r.Grace != nil {
		i.Grace = func(o Object, want *int64) int64 { return r.Grace(o.(T), want) }
	}
	if r.Copy != nil {
		i.copy = func(o Object) Object { return r.Copy(o.(T)) }
	}
	if r.Message != nil {
		i.message = func(o Object) ([]byte, error) { return r.Message(o.(T)) }
	}
	if r.Parse != nil {
		i.parse = func(o Object, raw []byte) bool { return r.Parse(o.(T), raw) }
	}
	if a := r.Aside; a != nil {
		i.Aside = &Aside[Object]{Path: a.Path, Marks: a.Marks, Take: func(to, from Object) { a.Take(to.(T), from.(T)) }, Same: func(x, y Object) bool { return a.Same(x.(T), y.(T)) },
			Read: func(list []any) (Object, bool, bool) { return a.Read(list) }}
	}
	if r.Deleted != nil {
		i.Deleted = func(o Object, now metav1.Time) { r.Deleted(o.(T), now) }
	}
	i.Fields = map[string]func(Object) string{}
	for name, f := range r.Fields {
		i.Fields[name] = func(o Object) string { return f(o.(T)) }
	}
	for _, c := range r.Columns {
		column := Column[Object]{Name: c.Name, Type: c.Type, Format: c.Format, Priority: c.Priority, Help: c.Help}
		if c.Show != nil {
			column.Show = func(o Object) any { return c.Show(o.(T)) }
		}
		i.Columns = append(i.Columns, column)
	}
	return i
}

// fill sets the defaults of an Info's plain fields.
func (i *Info) fill() {
	if i.ListKind == "" {
		i.ListKind = i.Kind + "List"
	}
	if i.Singular == "" {
		i.Singular = strings.ToLower(i.Kind)
	}
	if i.Verbs == nil {
		i.Verbs = AllVerbs
	}
	if i.StoreKey == "" {
		i.StoreKey = i.Resource
	}
	i.Stored = i
}

// Conditions are those of an object's row in a table.
func (i *Info) Conditions(o Object) []metav1.TableRowCondition {
	if i.completed == nil {
		return nil
	}
	reason, message := i.completed(o)
	if reason == "" {
		return nil
	}
	return []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: reason, Message: message}}
}

// StoredVersion is the apiVersion that stored objects say they are of.
func (i *Info) StoredVersion() string {
	if i.StoredAs != "" {
		return schema.GroupVersion{Group: i.Group, Version: i.StoredAs}.String()
	}
	return i.GroupVersion().String()
}
