// Package authz decides whether a request may be done: by the rules that the
// cluster's administrators wrote (RBAC) and, for nodes, by what runs on them. What
// comes in is Attributes, made once from the parsed request; what goes out is a
// Decision with a reason. It reads the cluster through client views only. It also holds
// what else follows from the rules: the default roles, the checks on who may
// write which role, access reviews, and the words in which a request is refused.
//
// The API server asks for every request; the registry asks when roles are written.
package authz

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
)

// Attributes are what a request is judged by. The API server makes them from the very values that it
// then acts on; there is no second reading of the path.
type Attributes struct {
	User authenticationv1.UserInfo
	Verb string // get, list, create ... or, without a resource, the HTTP method in lower case

	ResourceRequest bool   // false: Path and Verb are all there is
	Namespace       string // "" for cluster-scoped resources and for all namespaces
	Group           string
	Version         string
	Resource        string // plural, "pods"
	Subresource     string // "log"
	Name            string // "" where the request names no object
	Path            string // of the URL

	FieldSelector string // as in the query of list, watch and deletecollection; raw
	LabelSelector string
}

// Decision is an authorizer's verdict.
type Decision int

// The zero Decision says nothing; a request on which nobody has an opinion is refused.
const (
	NoOpinion Decision = iota
	Allow
	Deny
)

func (d Decision) String() string { return [...]string{"no opinion", "allow", "deny"}[d] }

// Authorizer judges requests. Implementations are safe for concurrent use. An error does not
// make a Decision void: it says what could not be taken into account.
type Authorizer interface {
	Authorize(ctx context.Context, a Attributes) (d Decision, reason string, err error)
}

// SuperGroup is the group that may do everything, whatever the rules say.
const SuperGroup = "system:masters"
