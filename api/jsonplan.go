package api

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// plan is how a message of one Go type becomes JSON: the members in the order that encoding/json has, each with
// its field's number. It is made from the type's own tags at first use.
type plan struct {
	fields   []planField
	byNumber []uint8   // field number -> index in fields, plus one
	always   [4]uint64 // a bit for each field that may have a member when it is not in the message
}

type planField struct {
	name                string // `"name":`
	number              int
	wire                byte
	inline              bool // its members stand in the parent's place
	pointer             bool
	list                bool // a repeated field
	omitEmpty, omitZero bool
	of                  of  // of the value, or of a list's elements
	mapped              *of // of a map's values, whose keys are strings
}

// of is what a single value is.
type of struct {
	kind   int
	bits   int     // of an integer
	plan   *plan   // ofMessage
	custom *custom // ofCustom, ofWrapped
	head   string  // of ofMessage: members that the message itself does not hold
}

// custom is a type that encodes itself.
type custom struct{ t reflect.Type }

const (
	ofString = iota
	ofInt
	ofBool
	ofBytes
	ofMessage
	ofCustom
	ofWrapped // a slice that is a message of its own: metav1.Verbs, ExtraValue
	ofFloat
)

// plans are made once per type, and kept: a nil one says that there is none.
var plans struct {
	sync.Mutex
	byType map[reflect.Type]*plan
}

// planOf is the plan of i's objects, or nil when their type has something that no plan knows.
func planOf(i *Info) *plan {
	if i.Type == nil {
		return nil
	}
	return planFor(i.Type)
}

var metaPlan = sync.OnceValue(func() *plan { return planFor(reflect.TypeFor[metav1.ObjectMeta]()) })

func planFor(t reflect.Type) *plan {
	plans.Lock()
	defer plans.Unlock()
	if p, ok := plans.byType[t]; ok {
		return p
	}
	if plans.byType == nil {
		plans.byType = map[reflect.Type]*plan{}
	}
	making := map[reflect.Type]*plan{}
	p, ok := makePlan(t, making)
	if !ok {
		p = nil
	} else {
		for t, p := range making { // which are complete now
			if _, known := plans.byType[t]; !known {
				plans.byType[t] = p
			}
		}
	}
	plans.byType[t] = p
	return p
}

var (
	marshalsJSON = reflect.TypeFor[json.Marshaler]()
	unmarshals   = reflect.TypeFor[interface{ Unmarshal([]byte) error }]()
	timeType     = reflect.TypeFor[metav1.Time]()
	fieldsType   = reflect.TypeFor[metav1.FieldsV1]()
	quantityType = reflect.TypeFor[resource.Quantity]()
	typeMeta     = reflect.TypeFor[metav1.TypeMeta]()
)

func makePlan(t reflect.Type, making map[reflect.Type]*plan) (*plan, bool) {
	if p := making[t]; p != nil {
		return p, true // it holds itself
	}
	if t.Kind() != reflect.Struct || !reflect.PointerTo(t).Implements(unmarshals) {
		return nil, false
	}
	p := &plan{}
	making[t] = p
	for f := range fieldsOf(t) {
		if f.Type == typeMeta { // has no protobuf form; objects say what they are by JSONPrefix
			continue
		}
		x, ok := planField{}, true
		if x, ok = makeField(f, making); !ok {
			return nil, false
		}
		p.fields = append(p.fields, x)
		for len(p.byNumber) <= x.number {
			p.byNumber = append(p.byNumber, 0)
		}
		if len(p.fields) > 254 || p.byNumber[x.number] != 0 {
			return nil, false
		}
		p.byNumber[x.number] = uint8(len(p.fields))
		if n := len(p.fields) - 1; !x.absent() {
			p.always[n>>6] |= 1 << (n & 63)
		}
	}
	return p, true
}

// absent tells whether a field that is not in the message gives no member.
func (f *planField) absent() bool {
	switch {
	case f.inline:
		return f.pointer
	case f.omitZero: // of times alone, whose zero is nothing
		return true
	case !f.omitEmpty:
		return false
	}
	return f.pointer || f.list || f.mapped != nil || f.of.kind != ofMessage && f.of.kind != ofCustom
}

func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for n := range t.NumField() {
			if !yield(t.Field(n)) {
				return
			}
		}
	}
}

func makeField(f reflect.StructField, making map[reflect.Type]*plan) (x planField, ok bool) {
	proto := strings.Split(f.Tag.Get("protobuf"), ",")
	if len(proto) < 2 || f.PkgPath != "" {
		return x, false
	}
	var err error
	if x.number, err = strconv.Atoi(proto[1]); err != nil {
		return x, false
	}
	x.wire = 2
	name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
	for _, o := range strings.Split(options, ",") {
		switch o {
		case "omitempty":
			x.omitEmpty = true
		case "omitzero":
			x.omitZero = true
		case "inline", "":
		default:
			return x, false
		}
	}
	t := f.Type
	if x.omitZero && t != timeType {
		return x, false
	}
	if t.Kind() == reflect.Pointer {
		x.pointer, t = true, t.Elem()
	}
	switch {
	case name == "" && f.Anonymous:
		x.inline = true
	case name == "" || name == "-":
		return x, false
	}
	quoted, _ := json.Marshal(name) // a string always encodes
	x.name = string(quoted) + ":"
	switch {
	case x.pointer && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map):
		return x, false
	case t.Kind() == reflect.Map:
		if t.Key().Kind() != reflect.String || reflect.PointerTo(t).Implements(unmarshals) {
			return x, false
		}
		x.mapped = &of{}
		*x.mapped, ok = makeOf(t.Elem(), making)
		return x, ok && x.mapped.kind != ofInt && x.mapped.kind != ofBool && x.mapped.kind != ofFloat
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 && !reflect.PointerTo(t).Implements(unmarshals):
		x.list, t = true, t.Elem()
		if t.Kind() == reflect.Pointer {
			return x, false
		}
	}
	x.of, ok = makeOf(t, making)
	if x.of.kind == ofWrapped && !x.omitEmpty {
		return x, false // nil and empty differ
	}
	switch x.of.kind {
	case ofInt, ofBool: // the tags say "bytes" of some
		x.wire = 0
	case ofFloat:
		if x.wire = 1; !x.pointer || !x.omitEmpty { // else it would be written where it is not in the message
			return x, false
		}
	}
	return x, ok && (!x.inline || x.of.kind == ofMessage && !x.list)
}

func makeOf(t reflect.Type, making map[reflect.Type]*plan) (of, bool) {
	custom := reflect.PointerTo(t).Implements(marshalsJSON)
	message := reflect.PointerTo(t).Implements(unmarshals)
	switch {
	case custom && message:
		return of{kind: ofCustom, custom: customOf(t)}, true
	case custom:
		return of{}, false
	case message && t.Kind() == reflect.Slice:
		return of{kind: ofWrapped, custom: customOf(t)}, true
	}
	switch t.Kind() {
	case reflect.String:
		return of{kind: ofString}, true
	case reflect.Int32:
		return of{kind: ofInt, bits: 32}, true
	case reflect.Int64:
		return of{kind: ofInt, bits: 64}, true
	case reflect.Bool:
		return of{kind: ofBool}, true
	case reflect.Float64:
		return of{kind: ofFloat}, true
	case reflect.Slice:
		return of{kind: ofBytes}, t.Elem().Kind() == reflect.Uint8
	case reflect.Struct:
		p, ok := makePlan(t, making)
		return of{kind: ofMessage, plan: p, head: heads[t]}, ok
	}
	return of{}, false
}

// heads are the members of objects within others that say what they are: the protobuf form does not, and a record's Decoded
// fills them in. More members always follow.
var heads = map[reflect.Type]string{
	reflect.TypeFor[corev1.PersistentVolumeClaim](): `"kind":"PersistentVolumeClaim","apiVersion":"v1",`,
}

// customs are shared, so that what was encoded of a type is found again. Guarded by plans.
var customs = map[reflect.Type]*custom{}

func customOf(t reflect.Type) *custom {
	c := customs[t]
	if c == nil {
		c = &custom{t}
		customs[t] = c
	}
	return c
}
