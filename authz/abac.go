package authz

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/json"
)

// abac allows what one of the policies of a file grants, and never denies. Source: Kubernetes documentation, Using ABAC Authorization.
type abac []policySpec

// policySpec is what a policy says; "*" is anything, and what is left out is "".
type policySpec struct {
	User  string `json:"user,omitempty"`
	Group string `json:"group,omitempty"`

	APIGroup  string `json:"apiGroup,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Resource  string `json:"resource,omitempty"` // its subresources are meant too

	NonResourcePath string `json:"nonResourcePath,omitempty"` // "/foo/*": all below it

	Readonly bool `json:"readonly,omitempty"` // get, list and watch of resources, get of other paths
}

const (
	policyVersion = "abac.authorization.kubernetes.io/v1beta1"
	policyKind    = "Policy"
)

// maxPolicy is how long a line may be.
const maxPolicy = 1 << 20 // bytes

// readPolicies reads a file of one JSON object a line; empty lines and those that begin with # say nothing.
func readPolicies(path string) (abac, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	out, err := parsePolicies(data)
	if err != nil {
		return nil, fmt.Errorf("policies %s, %w", path, err)
	}
	return out, nil
}

func parsePolicies(data []byte) (out abac, err error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxPolicy)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		var p struct {
			APIVersion string     `json:"apiVersion"`
			Kind       string     `json:"kind"`
			Spec       policySpec `json:"spec"`
		}
		strict, err := json.UnmarshalStrict(line, &p)
		switch {
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", n, err)
		case len(strict) > 0:
			return nil, fmt.Errorf("line %d: %w", n, strict[0])
		case p.APIVersion != policyVersion || p.Kind != policyKind:
			return nil, fmt.Errorf("line %d: %s %q: want %s of %s", n, p.APIVersion, p.Kind, policyKind, policyVersion)
		}
		out = append(out, p.Spec)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	return out, nil
}

// Authorize implements Authorizer.
func (p abac) Authorize(_ context.Context, a Attributes) (Decision, string, error) {
	for i := range p {
		if p[i].concerns(&a.User) && p[i].allows(&a) {
			return Allow, "", nil
		}
	}
	return NoOpinion, "No policy matched.", nil
}

// concerns: a user and a group that are named must both be his, and one of them is named.
func (p *policySpec) concerns(u *authenticationv1.UserInfo) bool {
	if p.User == "" && p.Group == "" {
		return false
	}
	return (p.User == "" || p.User == "*" || p.User == u.Username) && (p.Group == "" || p.Group == "*" || slices.Contains(u.Groups, p.Group))
}

func (p *policySpec) allows(a *Attributes) bool {
	is := func(want, have string) bool { return want == "*" || want == have }
	if !a.ResourceRequest {
		return (!p.Readonly || a.Verb == "get") && p.NonResourcePath != "" && matchesPath(p.NonResourcePath, a.Path)
	}
	return (!p.Readonly || slices.Contains(readVerbs, a.Verb)) && is(p.Namespace, a.Namespace) && is(p.Resource, a.Resource) && is(p.APIGroup, a.Group)
}

var readVerbs = []string{"get", "list", "watch"}

// rules are what the policies grant a user in a namespace, as roles would.
func (p abac) rules(u *authenticationv1.UserInfo, namespace string) (out []rbacv1.PolicyRule) {
	for i := range p {
		one := &p[i]
		if !one.concerns(u) {
			continue
		}
		if one.Resource != "" && (one.Namespace == "*" || one.Namespace == namespace) {
			r := rbacv1.PolicyRule{Verbs: []string{"*"}, APIGroups: []string{one.APIGroup}, Resources: []string{one.Resource}}
			if one.Readonly {
				r.Verbs = readVerbs
			}
			out = append(out, r)
		}
		if one.NonResourcePath != "" {
			r := rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{one.NonResourcePath}}
			if one.Readonly {
				r.Verbs = []string{"get"}
			}
			out = append(out, r)
		}
	}
	return out
}

// always is AlwaysAllow, or AlwaysDeny. Source: Kubernetes documentation, Authorization, authorization modes.
type always bool

// Authorize implements Authorizer.
func (allow always) Authorize(context.Context, Attributes) (Decision, string, error) {
	if allow {
		return Allow, "", nil
	}
	return NoOpinion, "Everything is forbidden.", nil
}

func (allow always) rules() []rbacv1.PolicyRule {
	if !allow {
		return nil
	}
	all := []string{"*"}
	return []rbacv1.PolicyRule{{Verbs: all, APIGroups: all, Resources: all}, {Verbs: all, NonResourceURLs: all}}
}
