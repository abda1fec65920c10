// Package apiserverinternal holds the record of internal.apiserver.k8s.io/v1alpha1: what API servers say to each other. A
// folder called internal would be Go's.
package apiserverinternal

import (
	"fmt"
	"strings"

	internalv1alpha1 "k8s.io/api/apiserverinternal/v1alpha1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

// Further lists the group's resources, served when they are asked for (--runtime-config).
var Further = []*api.Info{StorageVersion}

// StorageVersion says in which version each API server stores a resource. Its name is <group>.<resource>.
var StorageVersion = api.Define(api.Resource[*internalv1alpha1.StorageVersion]{
	Group: internalv1alpha1.GroupName, Version: "v1alpha1", Plural: "storageversions", Scope: api.Cluster,
	ValidateName: validateName,
	Prepare: func(v, old *internalv1alpha1.StorageVersion) {
		if old == nil {
			v.Status = internalv1alpha1.StorageVersionStatus{}
		}
	},
	Status: &api.Status[*internalv1alpha1.StorageVersion]{
		Alone: true,
		Copy:  func(dst, src *internalv1alpha1.StorageVersion) { dst.Status = *src.Status.DeepCopy() },
		Validate: func(v, _ *internalv1alpha1.StorageVersion) field.ErrorList {
			return validateStatus(&v.Status, field.NewPath("status"))
		},
	},
	Columns: []api.Column[*internalv1alpha1.StorageVersion]{
		{Name: "CommonEncodingVersion", Help: internalv1alpha1.StorageVersionStatus{}.SwaggerDoc()["commonEncodingVersion"], Show: showCommon},
		{Name: "StorageVersions", Help: internalv1alpha1.StorageVersionStatus{}.SwaggerDoc()["storageVersions"], Show: showServers},
	},
})

func validateName(name string, _ bool) (msgs []string) {
	dot := strings.LastIndex(name, ".")
	if dot < 0 {
		return []string{"name must be in the form of <group>.<resource>"}
	}
	for _, msg := range validation.IsDNS1123Subdomain(name[:dot]) {
		msgs = append(msgs, "the group segment "+msg)
	}
	for _, msg := range validation.IsDNS1035Label(name[dot+1:]) {
		msgs = append(msgs, "the resource segment "+msg)
	}
	return msgs
}

func showCommon(v *internalv1alpha1.StorageVersion) any {
	if v.Status.CommonEncodingVersion == nil {
		return "<unset>"
	}
	return *v.Status.CommonEncodingVersion
}

// showServers gives "first=apps/v1,second=apps/v1".
func showServers(v *internalv1alpha1.StorageVersion) any {
	if len(v.Status.StorageVersions) == 0 {
		return "<unset>"
	}
	var out []string
	for _, s := range v.Status.StorageVersions {
		out = append(out, s.APIServerID+"="+s.EncodingVersion)
	}
	return strings.Join(out, ",")
}

// validateStatus: source of the rules are the fields' comments, of the messages a kube-apiserver 1.37.2.
func validateStatus(s *internalv1alpha1.StorageVersionStatus, at *field.Path) (errs field.ErrorList) {
	seen := map[string]bool{}
	for n, server := range s.StorageVersions {
		at := at.Child("storageVersions").Index(n)
		if seen[server.APIServerID] {
			errs = append(errs, field.Duplicate(at.Child("apiServerID"), server.APIServerID))
		} else {
			seen[server.APIServerID] = true
			for _, msg := range validation.IsDNS1123Subdomain(server.APIServerID) {
				errs = append(errs, field.Invalid(at.Child("apiServerID"), server.APIServerID, msg))
			}
		}
		errs = append(errs, validateAPIVersion(server.EncodingVersion, at.Child("encodingVersion"))...)
		for m, v := range server.DecodableVersions {
			errs = append(errs, validateAPIVersion(v, at.Child("decodableVersions").Index(m))...)
		}
		decodable := sets.New(server.DecodableVersions...)
		if list := server.DecodableVersions; !decodable.Has(server.EncodingVersion) {
			errs = append(errs, field.Invalid(at.Child("decodableVersions"), list, "decodableVersions must include encodingVersion "+server.EncodingVersion))
		}
		said := 0
		for m, v := range server.ServedVersions {
			errs = append(errs, validateAPIVersion(v, at.Child("servedVersions").Index(m))...)
			if !decodable.Has(v) {
				errs = append(errs, field.Invalid(at.Child("servedVersions").Index(m), v,
					fmt.Sprintf("individual served version : %s must be included in decodableVersions : %s", v, server.DecodableVersions)))
				if said += len(errs[len(errs)-1].Detail); said > 1<<20 { // each shows the whole list
					break
				}
			}
		}
	}
	errs = append(errs, validateCommon(s, at.Child("commonEncodingVersion"))...)
	first := map[internalv1alpha1.StorageVersionConditionType]int{}
	for n, c := range s.Conditions {
		at := at.Index(n) // as upstream says it
		for _, msg := range validation.IsQualifiedName(string(c.Type)) {
			errs = append(errs, field.Invalid(at.Child("type"), string(c.Type), msg))
		}
		if before, ok := first[c.Type]; ok {
			errs = append(errs, field.Invalid(at.Child("type"), string(c.Type), fmt.Sprintf("the type of the condition is not unique, it also appears in conditions[%d]", before)))
		} else {
			first[c.Type] = n
		}
		for _, msg := range validation.IsQualifiedName(string(c.Status)) {
			errs = append(errs, field.Invalid(at.Child("status"), string(c.Status), msg))
		}
		if c.Reason == "" {
			errs = append(errs, field.Required(at.Child("reason"), ""))
		}
		if c.Message == "" {
			errs = append(errs, field.Required(at.Child("message"), ""))
		}
	}
	return errs
}

func validateCommon(s *internalv1alpha1.StorageVersionStatus, at *field.Path) field.ErrorList {
	common, agreed := "", len(s.StorageVersions) > 0
	for n, server := range s.StorageVersions {
		if n == 0 {
			common = server.EncodingVersion
		}
		agreed = agreed && server.EncodingVersion == common
	}
	switch got := s.CommonEncodingVersion; {
	case !agreed && got != nil:
		return field.ErrorList{field.Invalid(at, *got, "should be nil if servers do not agree on the same encoding version, or if there is no server reporting the supported versions yet")}
	case agreed && got == nil:
		return field.ErrorList{field.Invalid(at, got, "the common encoding version is "+common)}
	case agreed && *got != common:
		return field.ErrorList{field.Invalid(at, got, "the actual common encoding version is "+common)}
	}
	return nil
}

// validateAPIVersion checks "v1" or "apps/v1".
func validateAPIVersion(text string, at *field.Path) (errs field.ErrorList) {
	group, version, grouped := strings.Cut(text, "/")
	switch {
	case strings.Count(text, "/") > 1:
		return append(errs, field.Invalid(at, text, "an apiVersion is a DNS-1035 label, which must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "+
			"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyVersion')"))
	case !grouped:
		group, version = "", text
	case group == "":
		errs = append(errs, field.Invalid(at, text, "group part: must be non-empty"))
	default:
		for _, msg := range validation.IsDNS1123Subdomain(group) {
			errs = append(errs, field.Invalid(at, text, "group part: "+msg))
		}
	}
	if version == "" {
		return append(errs, field.Invalid(at, text, "version part: must be non-empty"))
	}
	for _, msg := range validation.IsDNS1035Label(version) {
		errs = append(errs, field.Invalid(at, text, "version part: "+msg))
	}
	return errs
}
