package authz

import (
	"fmt"
	"strings"
)

// Forbidden is the message of the Status with which a request is refused (code 403, reason Forbidden). reason is
// the authorizer's and may be "". Source: what kubectl users see; tests compare with it.
func Forbidden(a Attributes, reason string) string {
	if !a.ResourceRequest {
		return tail(fmt.Sprintf("forbidden: User %q cannot %s path %q", a.User.Username, a.Verb, a.Path), reason)
	}
	return tail(fmt.Sprintf("%s is forbidden: %s", refused(a), Cannot(a)), reason)
}

// refused is what is refused: `pods` or `deployments.apps "web"`.
func refused(a Attributes) string {
	s := a.Resource
	if a.Group != "" {
		s += "." + a.Group
	}
	if a.Name != "" {
		s += fmt.Sprintf(" %q", a.Name)
	}
	return s
}

// Cannot is the part of Forbidden that says who cannot do what: the Status' own constructor puts the resource before it.
func Cannot(a Attributes) string {
	resource := a.Resource
	if a.Subresource != "" {
		resource += "/" + a.Subresource
	}
	where := "at the cluster scope"
	if a.Namespace != "" {
		where = fmt.Sprintf("in the namespace %q", a.Namespace)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", a.User.Username, a.Verb, resource, a.Group, where)
}

func tail(message, reason string) string {
	if reason == "" {
		return message
	}
	return strings.Join([]string{message, reason}, ": ")
}
