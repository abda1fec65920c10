package audit

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/lighter-k8s/lighter/authz"
)

// Level is how much of a request is written down.
type Level uint8

// The levels, each with what the one before has.
const (
	None            Level = iota
	Metadata              // who did what to which object, and how it ended
	Request               // and what was sent
	RequestResponse       // and what was answered
)

var levels = [...]string{"None", "Metadata", "Request", "RequestResponse"}

func (l Level) String() string { return levels[l] }

// UnmarshalText reads a level as policies spell it.
func (l *Level) UnmarshalText(text []byte) error {
	n := slices.Index(levels[:], string(text))
	if n < 0 {
		return fmt.Errorf("level %q: want one of %s", text, strings.Join(levels[:], ", "))
	}
	*l = Level(n)
	return nil
}

// Stage is a moment in a request's life, and a set of them where they are left out.
type Stage uint8

// The stages.
const (
	RequestReceived  Stage = 1 << iota
	ResponseStarted        // of watches and other long ones: the headers are sent
	ResponseComplete       // nothing more is sent
	Panic
)

var stages = [...]string{"RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"}

func (s Stage) String() string {
	for n, name := range stages {
		if s == 1<<n {
			return name
		}
	}
	return fmt.Sprintf("Stage(%d)", uint8(s))
}

// UnmarshalText reads a stage as policies spell it.
func (s *Stage) UnmarshalText(text []byte) error {
	n := slices.Index(stages[:], string(text))
	if n < 0 {
		return fmt.Errorf("stage %q: want one of %s", text, strings.Join(stages[:], ", "))
	}
	*s = 1 << n
	return nil
}

// Policy says what is written down: the first rule that a request meets counts; one that meets none is not written down.
// Source: audit.k8s.io/v1, Policy.
type Policy struct {
	Rules             []Rule
	OmitStages        []Stage
	OmitManagedFields bool
}

// Rule is met by a request that meets each of its fields; an empty one is met by all.
type Rule struct {
	Level           *Level      `json:"level"`
	Users           []string    `json:"users,omitempty"`
	UserGroups      []string    `json:"userGroups,omitempty"` // one of them is enough
	Verbs           []string    `json:"verbs,omitempty"`
	Resources       []Resources `json:"resources,omitempty"`
	Namespaces      []string    `json:"namespaces,omitempty"` // "": what is in none
	NonResourceURLs []string    `json:"nonResourceURLs,omitempty"`

	OmitStages        []Stage `json:"omitStages,omitempty"`
	OmitManagedFields *bool   `json:"omitManagedFields,omitempty"`
}

// Resources are kinds of objects, or single objects, of one group; "*" is all groups.
type Resources struct {
	Group         string   `json:"group,omitempty"`
	Resources     []string `json:"resources,omitempty"` // "pods", "pods/log", "pods/*", "*/scale", "*"; none: all
	ResourceNames []string `json:"resourceNames,omitempty"`
}

// file is a policy as a file has it.
type file struct {
	Kind              string         `json:"kind"`
	APIVersion        string         `json:"apiVersion"`
	Metadata          map[string]any `json:"metadata"`
	Rules             []Rule         `json:"rules"`
	OmitStages        []Stage        `json:"omitStages"`
	OmitManagedFields bool           `json:"omitManagedFields"`
}

// ParsePolicy reads a policy file, YAML or JSON. Unknown fields are errors: a rule with a misspelled field would leave out
// more than its author meant.
func ParsePolicy(data []byte) (*Policy, error) {
	var f file
	if err := yaml.UnmarshalStrict(data, &f); err != nil {
		return nil, err
	}
	if f.Kind != "Policy" || f.APIVersion != "audit.k8s.io/v1" {
		return nil, fmt.Errorf("%s of %s: want a Policy of audit.k8s.io/v1", f.Kind, f.APIVersion)
	}
	if len(f.Rules) == 0 {
		return nil, errors.New("a policy without rules writes nothing down")
	}
	var errs []error
	for n := range f.Rules {
		if err := f.Rules[n].check(); err != nil {
			errs = append(errs, fmt.Errorf("rules[%d]: %w", n, err))
		}
	}
	return &Policy{f.Rules, f.OmitStages, f.OmitManagedFields}, errors.Join(errs...)
}

func (r *Rule) check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.Level == nil {
		bad("level: want one of %s", strings.Join(levels[:], ", "))
	}
	if len(r.NonResourceURLs) > 0 && len(r.Resources)+len(r.Namespaces) > 0 {
		bad("nonResourceURLs: a rule is for resources or for other paths, not for both")
	}
	for _, u := range r.NonResourceURLs {
		if u != "*" && (!strings.HasPrefix(u, "/") || strings.Contains(strings.TrimSuffix(u, "*"), "*")) {
			bad("nonResourceURLs %q: want \"*\", or a path with at most one * at its end", u)
		}
	}
	for _, of := range r.Resources {
		if of.Group != "" && of.Group != "*" && len(validation.IsDNS1123Subdomain(of.Group)) > 0 {
			bad("resources: group %q: want a group without its version, such as apps", of.Group)
		}
		if len(of.ResourceNames) > 0 && len(of.Resources) == 0 {
			bad("resources: resourceNames without resources")
		}
		for _, name := range of.Resources {
			resource, sub, has := strings.Cut(name, "/")
			switch {
			case resource == "" || has && sub == "" || strings.Contains(sub, "/"):
				bad("resources %q: want a resource, or resource/subresource", name)
			case name == "*" && len(of.Resources) > 1:
				bad("resources: \"*\" beside others, which it has already")
			case has && sub == "*" && slices.ContainsFunc(of.Resources, func(o string) bool { return o != name && strings.HasPrefix(o, resource+"/") }):
				bad("resources: %q beside others, which it has already", name)
			case has && resource == "*" && slices.ContainsFunc(of.Resources, func(o string) bool { return o != name && strings.HasSuffix(o, "/"+sub) }):
				bad("resources: %q beside others, which it has already", name)
			}
		}
	}
	return errors.Join(errs...)
}

// verdict is what a policy says of a request.
type verdict struct {
	level       Level
	omit        Stage // all that are left out
	omitManaged bool
}

// judge finds the rule that a request meets.
func (p *Policy) judge(a *authz.Attributes) verdict {
	for n := range p.Rules {
		r := &p.Rules[n]
		if !r.met(a) {
			continue
		}
		v := verdict{level: *r.Level, omitManaged: p.OmitManagedFields}
		for _, s := range p.OmitStages {
			v.omit |= s
		}
		for _, s := range r.OmitStages {
			v.omit |= s
		}
		if r.OmitManagedFields != nil {
			v.omitManaged = *r.OmitManagedFields
		}
		if v.level > Metadata && secret(a) {
			v.level = Metadata
		}
		return v
	}
	return verdict{}
}

// secret tells whether bodies hold what gives access. They are never written down, whatever the policy says.
func secret(a *authz.Attributes) bool {
	return a.Group == "" && (a.Resource == "secrets" || a.Resource == "serviceaccounts" && a.Subresource == "token") || a.Resource == "tokenreviews"
}

func (r *Rule) met(a *authz.Attributes) bool {
	if len(r.Verbs) > 0 && !slices.Contains(r.Verbs, a.Verb) || len(r.Users) > 0 && !slices.Contains(r.Users, a.User.Username) {
		return false
	}
	switch {
	case a.ResourceRequest:
		if len(r.NonResourceURLs) > 0 || len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, a.Namespace) {
			return false
		}
		if len(r.Resources) > 0 && !slices.ContainsFunc(r.Resources, func(of Resources) bool { return of.have(a) }) {
			return false
		}
	case len(r.Resources)+len(r.Namespaces) > 0:
		return false
	case len(r.NonResourceURLs) > 0 && !slices.ContainsFunc(r.NonResourceURLs, func(u string) bool { return pathMatches(u, a.Path) }):
		return false
	}
	return len(r.UserGroups) == 0 || slices.ContainsFunc(r.UserGroups, func(g string) bool { return slices.Contains(a.User.Groups, g) })
}

func (of *Resources) have(a *authz.Attributes) bool {
	if of.Group != a.Group && of.Group != "*" {
		return false
	}
	if len(of.ResourceNames) > 0 && !slices.Contains(of.ResourceNames, a.Name) {
		return false
	}
	if len(of.Resources) == 0 {
		return true
	}
	for _, name := range of.Resources {
		if name == "*" {
			return true
		}
		resource, sub, has := strings.Cut(name, "/")
		if (resource == a.Resource || has && resource == "*") && has == (a.Subresource != "") && (sub == a.Subresource || sub == "*") {
			return true
		}
	}
	return false
}

func pathMatches(pattern, path string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return pattern == path
}

// DefaultPolicy is what counts without a policy file: everything at the level Metadata but what would fill the log and say
// nothing: health and discovery, Events, what nodes and the cluster's own parts read and report again and again, and their leases. It
// follows the examples in Kubernetes' documentation, Auditing.
func DefaultPolicy() *Policy {
	none, metadata := None, Metadata
	core := func(names ...string) Resources { return Resources{Resources: names} }
	own := []string{"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy"}
	accounts := []string{"system:nodes", "system:serviceaccounts:kube-system"}
	reads := []string{"get", "list", "watch"}
	reports := []Resources{{Group: "*", Resources: []string{"*/status"}}}
	leases := []Resources{{Group: "coordination.k8s.io", Resources: []string{"leases"}}}
	return &Policy{OmitStages: []Stage{RequestReceived}, Rules: []Rule{
		{Level: &none, NonResourceURLs: []string{"/healthz*", "/livez*", "/readyz*", "/version*"}},
		{Level: &none, UserGroups: []string{"system:authenticated"}, NonResourceURLs: []string{"/api", "/api/*", "/apis*", "/openapi/*", "/metrics"}},
		{Level: &none, Resources: []Resources{core("events"), {Group: "events.k8s.io", Resources: []string{"events"}}}},
		{Level: &none, Resources: leases, Users: own},
		{Level: &none, Resources: leases, UserGroups: accounts},
		{Level: &none, Resources: reports, Verbs: []string{"get", "update", "patch"}, Users: own},
		{Level: &none, Resources: reports, Verbs: []string{"get", "update", "patch"}, UserGroups: accounts},
		{Level: &none, Verbs: reads, UserGroups: []string{"system:nodes"}},
		{Level: &metadata, Resources: []Resources{core("secrets")}},
		{Level: &none, Verbs: reads, Users: own},
		{Level: &none, Verbs: reads, UserGroups: accounts},
		{Level: &metadata},
	}}
}
