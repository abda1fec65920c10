package core

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/equal"
)

// Secret holds what must not be read by all, at most 1 MiB per object. StringData
// is for writing only: Default moves it into Data.
var Secret = api.Define(api.Resource[*corev1.Secret]{
	Version: "v1", Plural: "secrets", Scope: api.Namespaced,
	Default: defaultSecret,
	Prepare: func(s, old *corev1.Secret) {
		if old != nil {
			OrSet(&s.Type, old.Type)
		}
	},
	Validate: validateSecret,
	Fields:   map[string]func(*corev1.Secret) string{"type": func(s *corev1.Secret) string { return string(s.Type) }},
	Columns: []api.Column[*corev1.Secret]{
		{Name: "Type", Help: corev1.Secret{}.SwaggerDoc()["type"], Show: func(s *corev1.Secret) any { return string(s.Type) }},
		{Name: "Data", Help: corev1.Secret{}.SwaggerDoc()["data"], Show: func(s *corev1.Secret) any { return int64(len(s.Data)) }},
	},
})

func defaultSecret(s *corev1.Secret) {
	OrSet(&s.Type, corev1.SecretTypeOpaque)
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(s, old *corev1.Secret) (errs field.ErrorList) {
	data := field.NewPath("data")
	errs = entries(s.Data, data, func(key string, _ []byte, at *field.Path) field.ErrorList {
		return each(at, key, api.ConfigMapKey(key))
	})
	total := 0
	for _, value := range s.Data {
		total += len(value)
	}
	if total > corev1.MaxSecretSize {
		errs = append(errs, field.TooLong(data, "", corev1.MaxSecretSize))
	}
	need := func(key string) []byte {
		value, ok := s.Data[key]
		if !ok {
			errs = append(errs, field.Required(data.Key(key), ""))
		}
		return value
	}
	needJSON := func(key string) {
		value := need(key)
		if _, ok := s.Data[key]; !ok {
			return
		}
		var any map[string]any
		if err := json.Unmarshal(value, &any); err != nil {
			errs = append(errs, field.Invalid(data.Key(key), "<secret contents redacted>", err.Error()))
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			errs = append(errs, field.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), ""))
		}
	case corev1.SecretTypeDockercfg:
		needJSON(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		needJSON(corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, name := s.Data[corev1.BasicAuthUsernameKey]
		_, word := s.Data[corev1.BasicAuthPasswordKey]
		if !name && !word {
			need(corev1.BasicAuthUsernameKey)
			need(corev1.BasicAuthPasswordKey)
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			errs = append(errs, field.Required(data.Key(corev1.SSHAuthPrivateKey), ""))
		}
	case corev1.SecretTypeTLS:
		need(corev1.TLSCertKey)
		need(corev1.TLSPrivateKeyKey)
	}
	if old == nil {
		return errs
	}
	errs = append(errs, apivalidation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type"))...)
	if IsTrue(old.Immutable) {
		if !IsTrue(s.Immutable) {
			errs = append(errs, field.Forbidden(field.NewPath("immutable"), frozen))
		}
		if !equal.Semantic(s.Data, old.Data) {
			errs = append(errs, field.Forbidden(field.NewPath("data"), frozen))
		}
	}
	return errs
}
