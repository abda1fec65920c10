package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
	"github.com/lighter-k8s/lighter/api/equal"
)

// ConfigMap holds settings for pods, at most 1 MiB per object.
var ConfigMap = api.Define(api.Resource[*corev1.ConfigMap]{
	Version: "v1", Plural: "configmaps", Short: []string{"cm"}, Scope: api.Namespaced,
	Validate: validateConfigMap,
	Columns: []api.Column[*corev1.ConfigMap]{{Name: "Data", Help: corev1.ConfigMap{}.SwaggerDoc()["data"],
		Show: func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) }}},
})

const frozen = "field is immutable when `immutable` is set"

func validateConfigMap(c, old *corev1.ConfigMap) (errs field.ErrorList) {
	total := 0
	errs = entries(c.Data, field.NewPath("data"), func(key, _ string, at *field.Path) field.ErrorList {
		errs := each(at, key, api.ConfigMapKey(key))
		if _, twice := c.BinaryData[key]; twice {
			errs = append(errs, field.Invalid(at, key, "duplicate of key present in binaryData"))
		}
		return errs
	})
	errs = append(errs, entries(c.BinaryData, field.NewPath("binaryData"), func(key string, _ []byte, at *field.Path) field.ErrorList {
		return each(at, key, api.ConfigMapKey(key))
	})...)
	for _, value := range c.Data {
		total += len(value)
	}
	for _, value := range c.BinaryData {
		total += len(value)
	}
	if total > corev1.MaxSecretSize {
		// The empty path is upstream's: the size is of no single field.
		errs = append(errs, field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	if old == nil || !IsTrue(old.Immutable) {
		return errs
	}
	if !IsTrue(c.Immutable) {
		errs = append(errs, field.Forbidden(field.NewPath("immutable"), frozen))
	}
	if !equal.Semantic(c.Data, old.Data) {
		errs = append(errs, field.Forbidden(field.NewPath("data"), frozen))
	}
	if !equal.Semantic(c.BinaryData, old.BinaryData) {
		errs = append(errs, field.Forbidden(field.NewPath("binaryData"), frozen))
	}
	return errs
}

// IsTrue tells whether b is there and true.
func IsTrue(b *bool) bool { return b != nil && *b }

// SortedKeys gives a map's keys in order, so that errors come in the same order each time.
func SortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
