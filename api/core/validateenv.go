package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/lighter-k8s/lighter/api"
)

func validateEnv(c *corev1.Container, volumes map[string]*corev1.VolumeSource, path *field.Path) (errs field.ErrorList) {
	for i, e := range c.Env {
		at := path.Child("env").Index(i)
		if e.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, each(at.Child("name"), e.Name, validation.IsRelaxedEnvVarName(e.Name))...)
		}
		if e.ValueFrom != nil {
			errs = append(errs, validateEnvSource(&e, at.Child("valueFrom"))...)
			if f := e.ValueFrom.FileKeyRef; f != nil {
				if v := volumes[f.VolumeName]; v == nil {
					errs = append(errs, field.NotFound(at.Child("valueFrom", "fileKeyRef", "volumeName"), f.VolumeName))
				} else if v.EmptyDir == nil {
					errs = append(errs, field.Invalid(at.Child("valueFrom", "fileKeyRef", "volumeName"), f.VolumeName, "referenced volume must be of type emptyDir"))
				}
			}
		}
	}
	for i, e := range c.EnvFrom {
		at := path.Child("envFrom").Index(i)
		if e.Prefix != "" {
			errs = append(errs, each(at.Child("prefix"), e.Prefix, validation.IsRelaxedEnvVarName(e.Prefix))...)
		}
		named := func(name string, at *field.Path) {
			if name == "" {
				errs = append(errs, field.Required(at, ""))
			} else {
				errs = append(errs, each(at, name, api.DNSSubdomain(name))...)
			}
		}
		if r := e.ConfigMapRef; r != nil {
			named(r.Name, at.Child("configMapRef", "name"))
		}
		if r := e.SecretRef; r != nil {
			named(r.Name, at.Child("secretRef", "name"))
		}
		list := path.Child("envFrom")
		switch {
		case e.ConfigMapRef == nil && e.SecretRef == nil:
			errs = append(errs, field.Invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"))
		case e.ConfigMapRef != nil && e.SecretRef != nil:
			errs = append(errs, field.Invalid(list, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

var envFields = []string{"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
	"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}

func validateEnvSource(e *corev1.EnvVar, path *field.Path) (errs field.ErrorList) {
	v, n := e.ValueFrom, 0
	if v.FieldRef != nil {
		n++
		errs = append(errs, validateFieldRef(v.FieldRef, envFields, path.Child("fieldRef"))...)
	}
	if v.ResourceFieldRef != nil {
		n++
		errs = append(errs, validateResourceRef(v.ResourceFieldRef, false, path.Child("resourceFieldRef"))...)
	}
	key := func(name, key string, at *field.Path) {
		n++
		errs = append(errs, each(at.Child("name"), name, api.DNSSubdomain(name))...)
		if key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		} else {
			errs = append(errs, each(at.Child("key"), key, api.ConfigMapKey(key))...)
		}
	}
	if r := v.ConfigMapKeyRef; r != nil {
		key(r.Name, r.Key, path.Child("configMapKeyRef"))
	}
	if r := v.SecretKeyRef; r != nil {
		key(r.Name, r.Key, path.Child("secretKeyRef"))
	}
	if r := v.FileKeyRef; r != nil {
		n++
		at := path.Child("fileKeyRef")
		if r.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), ""))
		} else {
			errs = append(errs, each(at.Child("key"), r.Key, validation.IsRelaxedEnvVarName(r.Key))...)
		}
		errs = append(errs, needDNSLabel(r.VolumeName, at.Child("volumeName"))...)
		if r.Path == "" {
			errs = append(errs, field.Required(at.Child("path"), ""))
		} else {
			errs = append(errs, localFile(r.Path, at.Child("path"))...)
		}
	}
	switch {
	case n == 0:
		errs = append(errs, field.Invalid(path, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case e.Value != "":
		errs = append(errs, field.Invalid(path, "", "may not be specified when `value` is not empty"))
	case n > 1:
		errs = append(errs, field.Invalid(path, "", "may not have more than one field specified at a time"))
	}
	return errs
}

// validateFieldRef checks a reference to the pod's own fields; allowed are those without a key in brackets.
func validateFieldRef(r *corev1.ObjectFieldSelector, allowed []string, path *field.Path) (errs field.ErrorList) {
	if r.APIVersion == "" {
		return required(path.Child("apiVersion"), "")
	}
	at := path.Child("fieldPath")
	if r.FieldPath == "" {
		return required(at, "")
	}
	if r.APIVersion != "v1" {
		return field.ErrorList{field.Invalid(at, r.FieldPath, "error converting fieldPath: unsupported pod version: "+r.APIVersion)}
	}
	if open := strings.Index(r.FieldPath, "["); open > 0 && strings.HasSuffix(r.FieldPath, "']") && strings.HasPrefix(r.FieldPath[open:], "['") {
		base, key := r.FieldPath[:open], r.FieldPath[open+2:len(r.FieldPath)-2]
		switch base {
		case "metadata.annotations":
			return each(path, key, validation.IsQualifiedName(strings.ToLower(key)))
		case "metadata.labels":
			return each(path, key, validation.IsQualifiedName(key))
		}
		return field.ErrorList{field.Invalid(path, base, "does not support subscript")}
	}
	if !knownField(r.FieldPath) {
		return field.ErrorList{field.Invalid(at, r.FieldPath, fmt.Sprintf("error converting fieldPath: field label not supported: %v", r.FieldPath))}
	}
	return OneOf(r.FieldPath, at, allowed...)
}

// knownField tells whether a pod has the field at all, whatever it may be used for.
func knownField(name string) bool {
	return slices.Contains(envFields, name) || slices.Contains([]string{"metadata.annotations", "metadata.labels", "metadata.generateName",
		"spec.restartPolicy", "spec.schedulerName", "spec.hostNetwork", "spec.host", "status.phase", "status.nominatedNodeName"}, name)
}

var containerResources = []string{"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"}

func validateResourceRef(r *corev1.ResourceFieldSelector, volume bool, path *field.Path) (errs field.ErrorList) {
	switch {
	case volume && r.ContainerName == "":
		return required(path.Child("containerName"), "")
	case r.Resource == "":
		return required(path.Child("resource"), "")
	case strings.HasPrefix(r.Resource, "limits.hugepages-"), strings.HasPrefix(r.Resource, "requests.hugepages-"):
	default:
		errs = append(errs, OneOf(r.Resource, path.Child("resource"), containerResources...)...)
	}
	if d := r.Divisor.String(); d != "0" {
		valid := []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
		text := "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"
		switch {
		case strings.HasSuffix(r.Resource, ".cpu"):
			valid, text = []string{"1m", "1"}, "only divisor's values 1m and 1 are supported with the cpu resource"
		case strings.HasSuffix(r.Resource, ".ephemeral-storage"):
			text = strings.Replace(text, "memory resource", "local ephemeral storage resource", 1)
		}
		if !slices.Contains(valid, d) {
			errs = append(errs, field.Invalid(path.Child("divisor"), r.Resource, text))
		}
	}
	return errs
}
