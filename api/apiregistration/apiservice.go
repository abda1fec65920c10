// Package apiregistration holds the record of apiregistration.k8s.io/v1: which server serves a group in a version. Package
// aggregate acts on it.
package apiregistration

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"github.com/lighter-k8s/lighter/api"
)

// All lists the group's resources.
var All = []*api.Info{APIService}

// APIService says who serves a group's version: this server, or another one behind a Service.
var APIService = api.Define(api.Resource[*apiregistrationv1.APIService]{
	Group: apiregistrationv1.GroupName, Version: "v1", Plural: "apiservices", Categories: []string{"api-extensions"}, Scope: api.Cluster,
	Key: apiregistrationv1.GroupName + "/apiservices",
	Default: func(s *apiregistrationv1.APIService) {
		if s.Spec.Service != nil {
			apiregistrationv1.SetDefaults_ServiceReference(s.Spec.Service)
		}
	},
	Prepare: func(s, old *apiregistrationv1.APIService) {
		s.Status = apiregistrationv1.APIServiceStatus{}
		if old != nil {
			s.Status = old.Status
		} else if s.Spec.Service == nil { // what this server serves is there
			s.Status.Conditions = []apiregistrationv1.APIServiceCondition{Local(metav1.Now().Rfc3339Copy())}
		}
	},
	ValidateName: func(string, bool) []string { return nil }, // it is made of others, which are checked
	Validate:     validate,
	Status: &api.Status[*apiregistrationv1.APIService]{
		Alone:    true,
		Copy:     func(dst, src *apiregistrationv1.APIService) { dst.Status = src.Status },
		Validate: func(s, _ *apiregistrationv1.APIService) field.ErrorList { return validateStatus(s) },
	},
	Columns: []api.Column[*apiregistrationv1.APIService]{
		{Name: "Name"},
		{Name: "Service", Help: "The reference to the service that hosts this API endpoint.", Show: func(s *apiregistrationv1.APIService) any {
			if s.Spec.Service == nil {
				return "Local"
			}
			return s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
		}},
		{Name: "Available", Help: "Whether this service is available.", Show: func(s *apiregistrationv1.APIService) any {
			for _, c := range s.Status.Conditions {
				if c.Type != apiregistrationv1.Available {
					continue
				}
				if c.Status != apiregistrationv1.ConditionTrue {
					return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
				}
				return string(c.Status)
			}
			return "Unknown"
		}},
		{Name: "Age"},
	},
})

// Local is the condition of what this server serves itself.
func Local(at metav1.Time) apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: at,
		Reason: "Local", Message: "Local APIServices are always available"}
}

// validate holds an APIService against its fields' comments and what its name is made of.
func validate(s, _ *apiregistrationv1.APIService) (errs field.ErrorList) {
	if want := s.Spec.Version + "." + s.Spec.Group; s.Name != want && s.Name != "" && len(path.IsValidPathSegmentName(s.Name)) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), s.Name, fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", want)))
	}
	spec := field.NewPath("spec")
	if s.Spec.Group != "" {
		for _, msg := range utilvalidation.IsDNS1123Subdomain(s.Spec.Group) {
			errs = append(errs, field.Invalid(spec.Child("group"), s.Spec.Group, msg))
		}
	} else if s.Spec.Version != "v1" {
		errs = append(errs, field.Required(spec.Child("group"), "only v1 may have an empty group and it better be legacy kube"))
	}
	for _, msg := range utilvalidation.IsDNS1035Label(s.Spec.Version) {
		errs = append(errs, field.Invalid(spec.Child("version"), s.Spec.Version, msg))
	}
	if p := s.Spec.GroupPriorityMinimum; p <= 0 || p > 20000 {
		errs = append(errs, field.Invalid(spec.Child("groupPriorityMinimum"), p, "must be positive and less than 20000"))
	}
	if p := s.Spec.VersionPriority; p <= 0 || p > 1000 {
		errs = append(errs, field.Invalid(spec.Child("versionPriority"), p, "must be positive and less than 1000"))
	}
	if s.Spec.Service == nil {
		if len(s.Spec.CABundle) > 0 {
			errs = append(errs, field.Invalid(spec.Child("caBundle"), fmt.Sprintf("%d bytes", len(s.Spec.CABundle)), "local APIServices may not have a caBundle"))
		}
		if s.Spec.InsecureSkipTLSVerify {
			errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), true, "local APIServices may not have insecureSkipTLSVerify"))
		}
		return errs
	}
	service := spec.Child("service")
	if s.Spec.Service.Namespace == "" {
		errs = append(errs, field.Required(service.Child("namespace"), ""))
	}
	if s.Spec.Service.Name == "" {
		errs = append(errs, field.Required(service.Child("name"), ""))
	}
	if p := s.Spec.Service.Port; p != nil {
		for _, msg := range utilvalidation.IsValidPortNum(int(*p)) {
			errs = append(errs, field.Invalid(service.Child("port"), *p, "port is not valid: "+msg))
		}
	}
	if s.Spec.InsecureSkipTLSVerify && len(s.Spec.CABundle) > 0 {
		errs = append(errs, field.Invalid(spec.Child("insecureSkipTLSVerify"), true, "may not be true if caBundle is present"))
	}
	return errs
}

func validateStatus(s *apiregistrationv1.APIService) (errs field.ErrorList) {
	known := map[apiregistrationv1.ConditionStatus]bool{apiregistrationv1.ConditionTrue: true, apiregistrationv1.ConditionFalse: true, apiregistrationv1.ConditionUnknown: true}
	for n, c := range s.Status.Conditions {
		at := field.NewPath("status", "conditions").Index(n)
		if !known[c.Status] {
			errs = append(errs, field.NotSupported(at.Child("status"), c.Status, []string{string(corev1.ConditionFalse), string(corev1.ConditionTrue), string(corev1.ConditionUnknown)}))
		}
	}
	return append(validation.ValidateObjectMeta(&s.ObjectMeta, false, func(string, bool) []string { return nil }, field.NewPath("metadata")), errs...)
}
