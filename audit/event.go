package audit

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lighter-k8s/lighter/authz"
)

// Event is what is known of one request. Its zero value is one that nobody writes down; Trail.Begin makes it more. It
// belongs to its request's goroutine, but for Annotate.
type Event struct {
	ID         string // as the client gave it, or NewID
	RequestURI string
	SourceIPs  []string
	UserAgent  string
	Received   time.Time
	// Impersonated is as whom the request was done, if not as its user.
	Impersonated *authenticationv1.UserInfo
	// Constraint is the verb that let the user do so for this request alone; "": he may for all.
	Constraint string
	// Status is how it ended, if more is known than Code.
	Status *metav1.Status

	request, response json.RawMessage // on one line each; nil: none
	trail             *Trail          // nil: not written down
	verdict           verdict
	user              authenticationv1.UserInfo
	verb              string
	object            objectRef
	hasObject         bool
	decision          string // of authorization, with its reason: annotations that all have
	reason            string

	mu          sync.Mutex
	annotations map[string]string
}

// objectRef is what a request is about.
type objectRef struct {
	resource, namespace, name, uid, group, version, resourceVersion, subresource string
}

// longest are the bytes of what clients say of themselves that are kept: nobody fills the log by one request.
// Source: kube-apiserver, for the user agent.
const (
	longestAgent = 1024
	longestURI   = 8192
	longestID    = 256
	truncated    = "...TRUNCATED"
)

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + truncated
	}
	return s
}

// NewID is an ID for a request that brings none: a random UUID. Nothing depends on its being secret.
func NewID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var out [36]byte
	hex.Encode(out[:8], b[:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:], b[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

// Writes tells whether the request is written down at all.
func (e *Event) Writes() bool { return e.trail != nil }

// WantsRequest tells whether the policy wants to see what was sent.
func (e *Event) WantsRequest() bool {
	return e.trail != nil && e.verdict.level >= Request && e.hasObject
}

// WantsResponse tells whether the policy wants to see what was answered.
func (e *Event) WantsResponse() bool {
	return e.trail != nil && e.verdict.level >= RequestResponse && e.hasObject
}

// Sent notes the JSON of what was sent, where WantsRequest says so.
func (e *Event) Sent(body []byte) { e.request = e.body(body) }

// Answered notes the JSON of what was answered, where WantsResponse says so.
func (e *Event) Answered(body []byte) { e.response = e.body(body) }

// Cut notes that a body was left out because of its size.
func (e *Event) Cut() { e.Annotate(truncatedKey, "true") }

// Longest is how long a body may be that is written down.
const Longest = 4 << 20

// body is JSON as an event has it: on one line, and without managedFields where the policy says so.
func (e *Event) body(data []byte) json.RawMessage {
	if len(data) > Longest {
		e.Cut()
		return nil
	}
	if e.verdict.omitManaged {
		data = unmanaged(data)
	}
	var out bytes.Buffer
	if json.Compact(&out, data) != nil { // what is no JSON was refused by others
		return nil
	}
	return out.Bytes()
}

// unmanaged is an object's JSON, or that of a list of them, without metadata.managedFields.
func unmanaged(data []byte) []byte {
	var o, meta map[string]json.RawMessage
	if json.Unmarshal(data, &o) != nil {
		return data // a JSON patch is an array
	}
	if json.Unmarshal(o["metadata"], &meta) == nil && meta["managedFields"] != nil {
		delete(meta, "managedFields")
		o["metadata"], _ = json.Marshal(meta) // what was read can be written
	}
	var items []json.RawMessage
	if json.Unmarshal(o["items"], &items) == nil && items != nil {
		for n := range items {
			items[n] = unmanaged(items[n])
		}
		o["items"], _ = json.Marshal(items)
	}
	out, err := json.Marshal(o)
	if err != nil {
		return data
	}
	return out
}

// Judged notes what the authorizer said.
func (e *Event) Judged(d authz.Decision, reason string) {
	e.decision, e.reason = "forbid", reason
	if d == authz.Allow {
		e.decision = "allow"
	}
}

// About completes the reference to the object by what its body says, where the path did not.
func (e *Event) About(o metav1.Object) {
	if e.trail == nil || !e.hasObject {
		return
	}
	r := &e.object
	r.namespace, r.name = cmp.Or(r.namespace, o.GetNamespace()), cmp.Or(r.name, o.GetName())
	r.uid, r.resourceVersion = cmp.Or(r.uid, string(o.GetUID())), cmp.Or(r.resourceVersion, o.GetResourceVersion())
}

// Named gives the object its name, if it has none yet: it was made by the server.
func (e *Event) Named(name string) { e.object.name = cmp.Or(e.object.name, name) }

// Annotate notes what somebody on the way decided; the first value of a key stays. Any goroutine may call it.
func (e *Event) Annotate(key, value string) {
	if e.trail == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.annotations == nil {
		e.annotations = map[string]string{}
	}
	if _, there := e.annotations[key]; !there {
		e.annotations[key] = value
	}
}

const (
	decisionKey  = "authorization.k8s.io/decision"
	reasonKey    = "authorization.k8s.io/reason"
	truncatedKey = "audit.k8s.io/truncated"
)

// append encodes the event as audit.k8s.io/v1 has it, on one line without its end.
func (e *Event) append(b []byte, s Stage, code int, now time.Time) []byte {
	b = append(b, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"`...)
	b = append(b, e.verdict.level.String()...)
	b = appendString(append(b, `","auditID":`...), e.ID)
	b = append(append(b, `,"stage":"`...), s.String()...)
	b = appendString(append(b, `","requestURI":`...), e.RequestURI)
	b = appendString(append(b, `,"verb":`...), e.verb)
	b = appendUser(append(b, `,"user":`...), &e.user)
	if e.Impersonated != nil {
		b = appendUser(append(b, `,"impersonatedUser":`...), e.Impersonated)
	}
	if e.Constraint != "" {
		b = append(appendString(append(b, `,"authenticationMetadata":{"impersonationConstraint":`...), e.Constraint), '}')
	}
	if len(e.SourceIPs) > 0 {
		b = appendStrings(append(b, `,"sourceIPs":`...), e.SourceIPs)
	}
	if e.UserAgent != "" {
		b = appendString(append(b, `,"userAgent":`...), e.UserAgent)
	}
	if e.hasObject {
		b = e.object.append(append(b, `,"objectRef":`...))
	}
	if s != RequestReceived {
		b = e.appendStatus(b, code)
	}
	if e.request != nil {
		b = append(append(b, `,"requestObject":`...), e.request...)
	}
	if e.response != nil && s == ResponseComplete {
		b = append(append(b, `,"responseObject":`...), e.response...)
	}
	b = appendTime(append(b, `,"requestReceivedTimestamp":"`...), e.Received)
	b = appendTime(append(b, `","stageTimestamp":"`...), now)
	b = append(b, '"')
	return append(e.appendAnnotations(b), '}')
}

// appendTime is metav1.MicroTime's form. It is a third of what Time.AppendFormat takes.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	digits := func(n, places int) {
		var d [6]byte
		for at := places - 1; at >= 0; at-- {
			d[at] = '0' + byte(n%10)
			n /= 10
		}
		b = append(b, d[:places]...)
	}
	digits(year, 4)
	b = append(b, '-')
	digits(int(month), 2)
	b = append(b, '-')
	digits(day, 2)
	b = append(b, 'T')
	digits(hour, 2)
	b = append(b, ':')
	digits(minute, 2)
	b = append(b, ':')
	digits(second, 2)
	b = append(b, '.')
	digits(t.Nanosecond()/1000, 6)
	return append(b, 'Z')
}

func (e *Event) appendStatus(b []byte, code int) []byte {
	b = append(b, `,"responseStatus":`...)
	if e.Status == nil {
		b = append(b, `{"metadata":{},"code":`...)
		return append(strconv.AppendInt(b, int64(code), 10), '}')
	}
	data, err := json.Marshal(&metav1.Status{Status: e.Status.Status, Message: e.Status.Message, Reason: e.Status.Reason, Details: e.Status.Details, Code: int32(code)})
	if err != nil { // cannot be: strings and numbers
		data = []byte("{}")
	}
	return append(b, data...)
}

func (r *objectRef) append(b []byte) []byte {
	b = append(b, '{')
	for _, f := range [...]struct{ key, value string }{{`"resource":`, r.resource}, {`"namespace":`, r.namespace}, {`"name":`, r.name}, {`"uid":`, r.uid},
		{`"apiGroup":`, r.group}, {`"apiVersion":`, r.version}, {`"resourceVersion":`, r.resourceVersion}, {`"subresource":`, r.subresource}} {
		if f.value == "" {
			continue
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = appendString(append(b, f.key...), f.value)
	}
	return append(b, '}')
}

func appendUser(b []byte, u *authenticationv1.UserInfo) []byte {
	b = append(b, '{')
	comma := func(key string) {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(b, key...)
	}
	if u.Username != "" {
		comma(`"username":`)
		b = appendString(b, u.Username)
	}
	if u.UID != "" {
		comma(`"uid":`)
		b = appendString(b, u.UID)
	}
	if len(u.Groups) > 0 {
		comma(`"groups":`)
		b = appendStrings(b, u.Groups)
	}
	if len(u.Extra) > 0 {
		comma(`"extra":{`)
		keys := make([]string, 0, 8) // mostly enough, and then on the stack
		for key := range u.Extra {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			comma("")
			b = appendStrings(append(appendString(b, key), ':'), u.Extra[key])
		}
		b = append(b, '}')
	}
	return append(b, '}')
}

func (e *Event) appendAnnotations(b []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.annotations == nil { // as mostly
		if e.decision == "" {
			return b
		}
		b = append(append(b, `,"annotations":{"`+decisionKey+`":"`...), e.decision...)
		return append(appendString(append(b, `","`+reasonKey+`":`...), e.reason), '}')
	}
	all := e.annotations
	if e.decision != "" {
		all = maps.Clone(all)
		all[decisionKey], all[reasonKey] = e.decision, e.reason
	}
	b = append(b, `,"annotations":{`...)
	for n, key := range slices.Sorted(maps.Keys(all)) {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendString(append(appendString(b, key), ':'), all[key])
	}
	return append(b, '}')
}

func appendStrings(b []byte, all []string) []byte {
	b = append(b, '[')
	for n, s := range all {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendString appends s as a JSON string, as encoding/json does. What needs no escapes, as nearly all, is copied.
func appendString(b []byte, s string) []byte {
	for n := range len(s) {
		if c := s[n]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			data, err := json.Marshal(s)
			if err != nil { // cannot be: strings always encode
				return append(b, `""`...)
			}
			return append(b, data...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
